"""The ten classes of the nuScenes detection task, and the annotated categories that they merge."""

from __future__ import annotations

from dataclasses import replace

import torch

from .boxes import Boxes

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


def as_detection_classes(boxes: Boxes) -> Boxes:
    """The same boxes with labels into DETECTION_NAMES, found by name or category; all other classes become -1."""
    new = [
        DETECTION_NAMES.index(name) if (name := CLASS_OF_CATEGORY.get(old, old)) in DETECTION_NAMES else -1
        for old in boxes.names
    ]
    table = torch.tensor([*new, -1], device=boxes.labels.device)  # label -1 picks the last
    return replace(boxes, labels=table[boxes.labels], names=DETECTION_NAMES)
