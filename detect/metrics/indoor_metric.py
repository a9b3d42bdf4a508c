"""The metric of indoor detection: average precision at 3D overlaps of 0.25 and 0.5, by class and as a mean.

The rules are those of ScanNet's and ARKitScenes' detectors (VoteNet, MMDetection3D's `indoor_eval`): of a class, boxes
of all rooms are taken by falling score; each belongs to the true box of its room that it overlaps most, and is right
where the overlap is above the threshold and no box before has taken that true box. Precision is made to fall with the
recall, and AP is the area under it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...scene.boxes import Boxes
from ...scene.errors import BadInputError
from ..common.iou_3d import aligned_iou_3d, iou_3d
from ..sample import Sample

THRESHOLDS = (0.25, 0.5)
MOST_BOXES = 1000  # of a room


@dataclass(frozen=True)
class IndoorScores:
    """AP and recall [classes with true boxes] for each threshold."""

    names: tuple[str, ...]  # of the classes that have true boxes
    counts: tuple[int, ...]  # true boxes of each
    precision: dict[float, np.ndarray]  # AP by threshold
    recall: dict[float, np.ndarray]  # of all boxes, however low their score

    def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for threshold in THRESHOLDS:
            found[f"mAP@{threshold:g}"] = float(self.precision[threshold].mean())
            found[f"mAR@{threshold:g}"] = float(self.recall[threshold].mean())
        classes: dict[str, dict[str, float]] = {}
        for row, name in enumerate(self.names):
            classes[name] = {"boxes": self.counts[row]}
            for threshold in THRESHOLDS:
                classes[name][f"AP@{threshold:g}"] = float(self.precision[threshold][row])
                classes[name][f"AR@{threshold:g}"] = float(self.recall[threshold][row])
        return {**found, "classes": classes}

    def lines(self) -> list[str]:
        columns = [(self.precision[t], self.recall[t]) for t in THRESHOLDS]
        head = "".join(f"{f'AP@{t:g}':>9}{f'AR@{t:g}':>9}" for t in THRESHOLDS)
        lines = [f"{'':<16}{'boxes':>7}{head}"]
        for row, name in enumerate(self.names):
            numbers = "".join(f"{ap[row]:>9.3f}{ar[row]:>9.3f}" for ap, ar in columns)
            lines.append(f"{name:<16}{self.counts[row]:>7}{numbers}")
        means = "".join(f"{ap.mean():>9.3f}{ar.mean():>9.3f}" for ap, ar in columns)
        return [*lines, f"{'mean':<16}{sum(self.counts):>7}{means}"]


@dataclass(frozen=True)
class IndoorMetric:
    """True boxes by room. `yaw` compares boxes as they are turned, else as they lie along the axes."""

    truth: Mapping[str, Boxes]
    yaw: bool = False

    def __post_init__(self) -> None:
        if not any(len(boxes) for boxes in self.truth.values()):
            raise BadInputError(
                f"None of the {len(self.truth)} rooms has a true box of the classes that are looked for, so there is "
                "nothing to measure; give annotated rooms."
            )

    def submitted(self, sample: Sample, boxes: Boxes) -> Boxes:
        """The boxes with the highest scores."""
        assert boxes.scores is not None
        return boxes[boxes.scores.argsort(descending=True, stable=True)[:MOST_BOXES]]

    def evaluate(self, found: Mapping[str, Boxes]) -> IndoorScores:
        """Measure the boxes of all rooms, by token. Raises BadInputError when rooms are missing or classes differ."""
        missing = sorted(set(self.truth) - set(found))
        if missing:
            raise BadInputError(
                f"{len(missing)} of the {len(self.truth)} rooms have no entry, the first is {missing[0]!r}; a room "
                "without boxes needs an empty one."
            )
        rooms = [(found[token], truth) for token, truth in self.truth.items()]
        names = rooms[0][1].names
        for token, truth in self.truth.items():
            if found[token].names != names or truth.names != names:
                raise BadInputError(
                    f"The boxes of {token!r} are of the classes {list(found[token].names)[:4]} ..., the true ones of "
                    f"{list(names)[:4]} ...; both should be the same."
                )
        counts = np.bincount(np.concatenate([t.labels.cpu().numpy() for _, t in rooms]), minlength=len(names))
        present = [label for label in range(len(names)) if counts[label]]
        results = [_measure_class(rooms, label, int(counts[label]), self.yaw) for label in present]
        return IndoorScores(
            tuple(names[label] for label in present),
            tuple(int(counts[label]) for label in present),
            {t: np.array([r[t][0] for r in results]) for t in THRESHOLDS},
            {t: np.array([r[t][1] for r in results]) for t in THRESHOLDS},
        )


def _measure_class(
    rooms: Sequence[tuple[Boxes, Boxes]], label: int, true_count: int, yaw: bool
) -> dict[float, tuple[float, float]]:
    """(average precision, recall) by threshold."""
    scores, overlaps, taken = [np.zeros(0)], [np.zeros(0)], [np.zeros(0, np.int64)]
    first = 0
    for found, truth in rooms:
        f, t = found[found.labels == label], truth[truth.labels == label]
        assert f.scores is not None
        best, row = _best(f, t, yaw)
        scores.append(f.scores.double().cpu().numpy())
        overlaps.append(best)
        taken.append(row + first)
        first += len(t)
    order = np.argsort(-np.concatenate(scores), kind="stable")  # equal scores in the order of rooms and boxes
    overlap, row = np.concatenate(overlaps)[order], np.concatenate(taken)[order]
    return {threshold: _precision_and_recall(overlap > threshold, row, true_count) for threshold in THRESHOLDS}


def _best(found: Boxes, truth: Boxes, yaw: bool) -> tuple[np.ndarray, np.ndarray]:
    """(overlap with the true box that each box overlaps most [N], that box's row; 0 and 0 without true boxes)."""
    if not len(truth) or not len(found):
        return np.zeros(len(found)), np.zeros(len(found), np.int64)
    a, b = rows_of(found), rows_of(truth)
    iou = iou_3d(a, b) if yaw else aligned_iou_3d(a[:, None, :6], b[None, :, :6])
    best = iou.max(dim=1)
    return best.values.numpy(), best.indices.numpy()


def rows_of(boxes: Boxes) -> Tensor:
    """[N, 7] float64: centre, size, yaw."""
    return torch.cat([boxes.centers, boxes.sizes, boxes.yaws[:, None]], dim=1).double().cpu()


def _precision_and_recall(above: np.ndarray, row: np.ndarray, true_count: int) -> tuple[float, float]:
    """For boxes by falling score: bool [N] above the threshold, int [N] the true box of each."""
    right = np.zeros(len(above), bool)
    candidates = np.flatnonzero(above)
    right[candidates[np.unique(row[candidates], return_index=True)[1]]] = True  # the first that takes a true box
    hits = np.cumsum(right)
    recall = hits / true_count
    precision = hits / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.diff(recall, prepend=0.0)
    return float((steps * envelope).sum()), float(recall[-1]) if len(recall) else 0.0
