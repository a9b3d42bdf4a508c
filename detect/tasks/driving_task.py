"""`DRIVING`: the ten classes of nuScenes around a car, upright boxes with velocities."""

from __future__ import annotations

from ..detector import BoxCode, Task

# Metres from the car within which each class counts: the configuration detection_cvpr_2019 of the nuScenes devkit. The
# order is that of MMDetection3D, SparseFusion and their released weights, which is not the devkit's DETECTION_NAMES.
CLASS_RANGE_M = {
    "car": 50.0, "truck": 50.0, "construction_vehicle": 50.0, "bus": 50.0, "trailer": 50.0, "barrier": 30.0,
    "motorcycle": 40.0, "bicycle": 40.0, "pedestrian": 40.0, "traffic_cone": 30.0,
}  # fmt: skip
CLASS_NAMES = tuple(CLASS_RANGE_M)
DRIVING = Task("driving", CLASS_NAMES, tuple(CLASS_RANGE_M.values()), BoxCode(yaw=True, velocity=True))
