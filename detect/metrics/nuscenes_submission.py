"""Detections to and from the nuScenes submission layout, with the checks of the official server."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from ...scene.boxes import Boxes
from ...scene.datasets.nuscenes_classes import DETECTION_NAMES, as_detection_classes
from ...scene.datasets.nuscenes_results import Results, read_results, write_results
from ...scene.errors import BadInputError
from ...scene.readers.safe_paths import listed
from ..detector import Inputs
from .nuscenes_truth import RANGE_M

MAX_BOXES = 500  # of one sample
MOVING_MPS = 0.2  # slower is standing
# (moving, standing): the rule by which detectors without a head for attributes choose them.
ATTRIBUTE_OF_SPEED = {
    "car": ("vehicle.moving", "vehicle.parked"),
    "truck": ("vehicle.moving", "vehicle.parked"),
    "bus": ("vehicle.moving", "vehicle.stopped"),
    "trailer": ("vehicle.moving", "vehicle.parked"),
    "construction_vehicle": ("vehicle.moving", "vehicle.parked"),
    "pedestrian": ("pedestrian.moving", "pedestrian.standing"),
    "motorcycle": ("cycle.with_rider", "cycle.without_rider"),
    "bicycle": ("cycle.with_rider", "cycle.without_rider"),
    "traffic_cone": ("", ""),
    "barrier": ("", ""),
}


class Placed(Protocol):
    """A key frame whose place in the world is known."""

    @property
    def ego_from_lidar(self) -> Tensor: ...

    @property
    def global_from_lidar(self) -> Tensor: ...


def submission_boxes(sample: Placed, boxes: Boxes) -> Boxes:
    """Detections in a sample's LiDAR frame as they are submitted: float64, global frame, with attributes.

    What lies beyond the range of its class is dropped, then all but the best 500.
    """
    boxes = as_detection_classes(boxes).to(torch.float64)
    boxes = boxes[boxes.labels >= 0]
    if boxes.scores is None:
        raise ValueError("expected boxes with scores")
    away_m = boxes.moved(sample.ego_from_lidar).centers[:, :2].norm(dim=1)
    boxes = boxes[away_m <= torch.tensor(RANGE_M)[boxes.labels]]
    assert boxes.scores is not None
    boxes = boxes[torch.argsort(boxes.scores, descending=True, stable=True)[:MAX_BOXES]]
    velocities = torch.zeros_like(boxes.centers) if boxes.velocities is None else boxes.velocities.nan_to_num()
    moving = (velocities[:, :2].norm(dim=1) > MOVING_MPS).tolist()
    attributes = tuple(
        ATTRIBUTE_OF_SPEED[DETECTION_NAMES[label]][0 if fast else 1]
        for label, fast in zip(boxes.labels.tolist(), moving, strict=True)
    )
    return replace(boxes, velocities=velocities, attributes=attributes).moved(sample.global_from_lidar)


def used_modalities(inputs: Inputs) -> tuple[str, ...]:
    """The names that submissions have for what a detector looks at."""
    return tuple(n for n, on in (("use_camera", inputs.images), ("use_lidar", inputs.points)) if on)


def write_submission(
    path: Path | str, results: Mapping[str, Boxes], tokens: Iterable[str], used: tuple[str, ...]
) -> None:
    """Write boxes of `submission_boxes` for all `tokens`, in their order; a sample that has none gets an empty list.

    `used` lists those of "use_camera", "use_lidar", "use_radar", "use_map", "use_external" that were.
    """
    tokens = tuple(tokens)
    foreign = [token for token in results if token not in set(tokens)]
    if foreign:
        raise ValueError(f"expected results of the given samples only, found {foreign[0]}")
    empty = replace(Boxes.empty(DETECTION_NAMES), scores=torch.zeros(0))
    check_counts(results, str(path))
    write_results(path, {token: results.get(token, empty) for token in tokens}, used)


def read_submission(path: Path | str, tokens: Collection[str]) -> Results:
    """A submission for exactly the samples `tokens`, read one sample at a time.

    Raises BadInputError that names file, sample, box and field for what the official evaluation would refuse: missing
    or foreign samples, more than 500 boxes in one, unknown classes or attributes, sizes that are not positive, numbers
    that are not finite, negative scores.
    """
    results = read_results(path)
    check_tokens(results, tokens, str(path))
    check_counts(results, str(path))
    scores = results.boxes.scores
    assert scores is not None
    if len(scores) and float(scores.min()) < 0:
        row = int(scores.argmin())
        token = next(t for t, rows in results.rows.items() if rows.start <= row < rows.stop)
        raise BadInputError(
            f"{path}: sample {token!r} has a box with the score {float(scores[row]):g}; scores from 0 on are expected, "
            "as the metric takes 0 for the end of all predictions."
        )
    return results


def check_tokens(found: Collection[str], expected: Collection[str], what: str) -> None:
    """Raise BadInputError unless both have the same tokens; `what` starts its sentence."""
    have, want = set(found), set(expected)
    missing, foreign = sorted(want - have), sorted(have - want)
    if missing:
        raise BadInputError(
            f"{what} lacks {len(missing)} of the {len(want)} samples that are measured, e.g. {missing[0]}; each needs "
            "a list of boxes, an empty one where nothing was found, unless another split was meant."
        )
    if foreign:
        named = listed([repr(token[:60]) for token in foreign], 2)
        which = "samples that are" if len(foreign) > 1 else "sample that is"
        raise BadInputError(
            f"{what} has {len(foreign)} {which} not among the {len(want)} that are measured ({named}); leave them out, "
            "or name the split that it is for."
        )


def check_counts(results: Mapping[str, Boxes], what: str) -> None:
    """Raise BadInputError for a sample with more boxes than may be submitted."""
    for token, boxes in results.items():
        if len(boxes) > MAX_BOXES:
            raise BadInputError(
                f"{what}: sample {token!r} has {len(boxes)} boxes; at most {MAX_BOXES} are allowed, so keep those "
                "with the highest scores."
            )
