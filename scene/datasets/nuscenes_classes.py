"""The ten classes of the nuScenes detection task, and the annotated categories that they merge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from ..boxes import Boxes

# In the order of the nuScenes devkit; trained models have orders of their own and match by name.
DETECTION_NAMES = (
    "car", "truck", "bus", "trailer", "construction_vehicle", "pedestrian", "motorcycle", "bicycle", "traffic_cone",
    "barrier",
)  # fmt: skip
CLASS_OF_CATEGORY = {
    "vehicle.car": "car",
    "vehicle.truck": "truck",
    "vehicle.bus.bendy": "bus",
    "vehicle.bus.rigid": "bus",
    "vehicle.trailer": "trailer",
    "vehicle.construction": "construction_vehicle",
    "human.pedestrian.adult": "pedestrian",
    "human.pedestrian.child": "pedestrian",
    "human.pedestrian.construction_worker": "pedestrian",
    "human.pedestrian.police_officer": "pedestrian",
    "vehicle.motorcycle": "motorcycle",
    "vehicle.bicycle": "bicycle",
    "movable_object.trafficcone": "traffic_cone",
    "movable_object.barrier": "barrier",
}
ATTRIBUTES = (
    "vehicle.moving", "vehicle.stopped", "vehicle.parked", "cycle.with_rider", "cycle.without_rider",
    "pedestrian.sitting_lying_down", "pedestrian.standing", "pedestrian.moving",
)  # fmt: skip


def detection_labels(names: Sequence[str]) -> list[int]:
    """For each name of a class or category its label into DETECTION_NAMES, -1 for what is not of the task."""
    found = [CLASS_OF_CATEGORY.get(name, name) for name in names]
    return [DETECTION_NAMES.index(name) if name in DETECTION_NAMES else -1 for name in found]


def as_detection_classes(boxes: Boxes) -> Boxes:
    """The same boxes with labels into DETECTION_NAMES, found by name or category; all other classes become -1."""
    table = torch.tensor([*detection_labels(boxes.names), -1], device=boxes.labels.device)  # label -1 picks the last
    return replace(boxes, labels=table[boxes.labels], names=DETECTION_NAMES)
