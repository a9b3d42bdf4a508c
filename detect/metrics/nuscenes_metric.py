"""The nuScenes detection metric (mAP, true positive errors, NDS) for whole data sets in seconds.

Same numbers as the official `DetectionEval` with its configuration detection_cvpr_2019, without its loops over boxes.
Source: H. Caesar et al., "nuScenes: A multimodal dataset for autonomous driving", CVPR 2020, section 3.1, and where
that is silent the official devkit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...scene.boxes import Boxes
from ...scene.datasets.nuscenes_classes import DETECTION_NAMES
from ..tasks.driving_sample import DrivingSample
from ..tasks.driving_samples import NuScenesSamples
from .greedy_matching import by_score, match, near_pairs
from .nuscenes_submission import check_tokens, submission_boxes
from .nuscenes_truth import FlatBoxes, Truth

DISTANCES_M = (0.5, 1.0, 2.0, 4.0)
ERROR_DISTANCE_M = 2.0  # matches below are true positives whose errors count
MIN_RECALL = MIN_PRECISION = 0.1
FIRST = round(100 * MIN_RECALL) + 1  # of the 101 recalls that count
MEAN_AP_WEIGHT = 5.0
RECALLS = np.linspace(0, 1, 101)
# Translation (m), scale (1 - IoU), orientation (rad), velocity (m/s), attribute (1 - accuracy), as the devkit names
# and orders them.
ERRORS = ("trans_err", "scale_err", "orient_err", "vel_err", "attr_err")
ERROR_SHORT = {"trans_err": "ATE", "scale_err": "ASE", "orient_err": "AOE", "vel_err": "AVE", "attr_err": "AAE"}
UNDEFINED = {"traffic_cone": ("attr_err", "vel_err", "orient_err"), "barrier": ("attr_err", "vel_err")}


@dataclass(frozen=True)
class Curve:
    """One class at one matching distance, over the 101 recalls."""

    precision: np.ndarray  # [101]
    confidence: np.ndarray  # [101] 0 beyond the highest recall
    errors: Mapping[str, np.ndarray]  # [101] for each of ERRORS: the mean over all matches of at least this confidence

    @classmethod
    def of_nothing(cls) -> Curve:
        return cls(np.zeros(101), np.zeros(101), {name: np.ones(101) for name in ERRORS})

    @property
    def ap(self) -> float:
        """Mean precision above the least one, over recalls above the least one, scaled to reach 1."""
        return float(np.mean(np.maximum(self.precision[FIRST:] - MIN_PRECISION, 0))) / (1 - MIN_PRECISION)

    def error(self, name: str) -> float:
        """Mean over the recalls that were reached; 1 where these end before the least one."""
        reached = np.flatnonzero(self.confidence)
        last = int(reached[-1]) if len(reached) else 0
        return 1.0 if last < FIRST else float(np.mean(self.errors[name][FIRST : last + 1]))


@dataclass(frozen=True)
class Evaluation:
    """The scores of all samples. Errors that are not defined for a class are NaN and stay out of means."""

    curves: Mapping[tuple[str, float], Curve]  # by class and matching distance
    label_aps: Mapping[str, Mapping[float, float]]
    label_tp_errors: Mapping[str, Mapping[str, float]]
    eval_time_s: float

    @property
    def mean_dist_aps(self) -> dict[str, float]:
        """AP of each class: the mean over the matching distances."""
        return {name: float(np.mean(list(aps.values()))) for name, aps in self.label_aps.items()}

    @property
    def mean_ap(self) -> float:
        return float(np.mean(list(self.mean_dist_aps.values())))

    @property
    def tp_errors(self) -> dict[str, float]:
        return {e: float(np.nanmean([errors[e] for errors in self.label_tp_errors.values()])) for e in ERRORS}

    @property
    def tp_scores(self) -> dict[str, float]:
        return {name: max(0.0, 1.0 - error) for name, error in self.tp_errors.items()}

    @property
    def nd_score(self) -> float:
        """NDS, the nuScenes detection score."""
        return (MEAN_AP_WEIGHT * self.mean_ap + sum(self.tp_scores.values())) / (MEAN_AP_WEIGHT + len(ERRORS))

    def summary(self) -> dict[str, Any]:
        """The keys of the devkit's metrics_summary.json; null instead of NaN, which JSON does not have."""
        return {
            "label_aps": {name: {str(d): ap for d, ap in aps.items()} for name, aps in self.label_aps.items()},
            "mean_dist_aps": self.mean_dist_aps,
            "mean_ap": self.mean_ap,
            "label_tp_errors": {
                name: {e: None if math.isnan(value) else value for e, value in errors.items()}
                for name, errors in self.label_tp_errors.items()
            },
            "tp_errors": self.tp_errors,
            "tp_scores": self.tp_scores,
            "nd_score": self.nd_score,
            "eval_time": self.eval_time_s,
        }

    def details(self) -> dict[str, Any]:
        """The keys of the devkit's metrics_details.json: all curves by `class:distance`."""
        return {
            f"{name}:{distance}": {
                "recall": RECALLS.tolist(),
                "precision": curve.precision.tolist(),
                "confidence": curve.confidence.tolist(),
                **{error: values.tolist() for error, values in curve.errors.items()},
            }
            for (name, distance), curve in self.curves.items()
        }

    def lines(self) -> list[str]:
        """The official table."""
        return table(self.summary())


def table(summary: Mapping[str, Any]) -> list[str]:
    """The official table of a metrics summary, ours or the devkit's, as lines for people."""
    lines = [f"mAP: {summary['mean_ap']:.4f}"]
    lines += [f"m{ERROR_SHORT[name]}: {summary['tp_errors'][name]:.4f}" for name in ERRORS]
    lines += [f"NDS: {summary['nd_score']:.4f}", "", f"{'Object class':<22}{'AP':<8}"]
    lines[-1] += "".join(f"{short:<8}" for short in ERROR_SHORT.values()).rstrip()
    for name, ap in summary["mean_dist_aps"].items():
        errors = [summary["label_tp_errors"][name][e] for e in ERRORS]
        cells = ["-" if e is None or math.isnan(e) else f"{e:.3f}" for e in errors]
        lines.append((f"{name:<22}{ap:<8.3f}" + "".join(f"{cell:<8}" for cell in cells)).rstrip())
    return lines


def evaluate(truth: Truth, predictions: Mapping[str, Boxes]) -> Evaluation:
    """Measure predictions for all samples of `truth`: boxes with scores in the global frame, by sample token.

    Labels mean the boxes' own names. The order of `predictions` decides between equal scores, as the order of the
    file does in the devkit. Raises BadInputError when tokens are missing or foreign.
    """
    start = time.perf_counter()
    check_tokens(predictions, truth.tokens, "The set of predictions")
    boxes = by_score(truth.predictions(predictions))
    pairs = near_pairs(boxes, truth.boxes, max(DISTANCES_M))
    curves: dict[tuple[str, float], Curve] = {}
    rows = [np.flatnonzero(boxes.label == label) for label in range(len(DETECTION_NAMES))]
    positives = np.bincount(truth.boxes.label, minlength=len(DETECTION_NAMES))
    matches = {d: match(pairs.below(d), len(boxes), len(truth.boxes)) for d in DISTANCES_M}
    for label, name in enumerate(DETECTION_NAMES):
        mine = boxes[rows[label]]
        for distance in DISTANCES_M:
            found = matches[distance][rows[label]]
            curves[name, distance] = _curve(mine, truth.boxes, found, int(positives[label]), name == "barrier")
    aps = {name: {d: curves[name, d].ap for d in DISTANCES_M} for name in DETECTION_NAMES}
    errors = {
        name: {e: math.nan if e in UNDEFINED.get(name, ()) else curves[name, ERROR_DISTANCE_M].error(e) for e in ERRORS}
        for name in DETECTION_NAMES
    }
    return Evaluation(curves, aps, errors, time.perf_counter() - start)


def _curve(boxes: FlatBoxes, truth: FlatBoxes, found: np.ndarray, positives: int, half_turn: bool) -> Curve:
    """`found` [B] is the true box of each prediction, -1 for none; the boxes come by falling score."""
    hit = found >= 0
    if not hit.any():
        return Curve.of_nothing()
    true = np.cumsum(hit).astype(float)
    recall = true / float(positives)
    precision = np.interp(RECALLS, recall, true / np.arange(1, len(hit) + 1), right=0)
    confidence = np.interp(RECALLS, recall, boxes.score, right=0)
    errors = _errors(boxes[hit], truth[found[hit]], math.pi if half_turn else 2 * math.pi)
    # np.interp wants rising abscissas.
    scores = boxes.score[hit][::-1]
    resampled = {
        name: np.interp(confidence[::-1], scores, _running_mean(error)[::-1])[::-1] for name, error in errors.items()
    }
    return Curve(precision, confidence, resampled)


def _errors(a: FlatBoxes, b: FlatBoxes, period_rad: float) -> dict[str, np.ndarray]:
    """[M] of each kind between predictions and the true boxes that they found; NaN where the truth is unknown."""
    volume_a, volume_b = a.size_wlh.prod(axis=1), b.size_wlh.prod(axis=1)
    common = np.minimum(a.size_wlh, b.size_wlh).prod(axis=1)
    turn = (b.yaw - a.yaw + period_rad / 2) % period_rad - period_rad / 2
    return {
        "trans_err": np.linalg.norm(a.center[:, :2] - b.center[:, :2], axis=1),
        "scale_err": 1 - common / (volume_a + volume_b - common),
        "orient_err": np.abs(turn),
        "vel_err": np.linalg.norm(a.velocity - b.velocity, axis=1),
        "attr_err": np.where(b.attribute == 0, np.nan, (a.attribute != b.attribute).astype(float)),
    }


def _running_mean(values: np.ndarray) -> np.ndarray:
    """[M] mean of the known values so far, 0 before the first; ones where none is known at all."""
    known = ~np.isnan(values)
    if not known.any():
        return np.ones(len(values))
    count = np.cumsum(known)
    return np.divide(np.nancumsum(values), count, out=np.zeros(len(values)), where=count > 0)


@dataclass(frozen=True)
class NuScenesMetric:
    """A `Metric` for driving samples."""

    truth: Truth

    @classmethod
    def of(cls, samples: NuScenesSamples) -> NuScenesMetric:
        """The metric of a split. Raises BadInputError where it has no annotations."""
        return cls(Truth.of(samples.source, samples.samples))

    def submitted(self, sample: DrivingSample, boxes: Boxes) -> Boxes:
        return submission_boxes(sample, boxes)

    def evaluate(self, found: Mapping[str, Boxes]) -> Evaluation:
        return evaluate(self.truth, found)
