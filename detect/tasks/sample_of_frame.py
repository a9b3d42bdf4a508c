"""`DrivingSample` of a key frame, wherever that was read from."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import torch

from ...scene.boxes import Boxes
from ...scene.cameras import Cameras
from ...scene.capture import Capture
from ...scene.datasets.nuscenes_classes import DETECTION_NAMES, as_detection_classes
from ...scene.driving import DrivingFrame
from ...scene.errors import BadInputError
from .camera_objects import camera_objects
from .driving_sample import DrivingSample
from .driving_task import CLASS_NAMES

NO_CAMERAS = Cameras(
    torch.zeros(0, 4, 4), torch.zeros(0, 3, 3), torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)
)
# From labels into DETECTION_NAMES to those into CLASS_NAMES; -1 stays, as it picks the last.
NEW_LABELS = (*(CLASS_NAMES.index(name) for name in DETECTION_NAMES), -1)


def sample_of(frame: DrivingFrame) -> DrivingSample:
    """The same for any number of cameras."""
    cameras, points = frame.capture.cameras or NO_CAMERAS, frame.points
    boxes = None if frame.truth is None else learnable(frame.truth)
    return DrivingSample(
        token=frame.token,
        points=torch.cat([points.xyz, points.intensity[:, None], points.lag_s[:, None]], dim=1),
        cameras=cameras,
        load_images=partial(load_images, frame.capture),
        boxes=boxes,
        timestamp_us=frame.timestamp_us,
        ego_from_lidar=frame.ego_from_lidar,
        global_from_ego=frame.global_from_ego,
        camera_objects=None if boxes is None else camera_objects(boxes, cameras),
    )


def learnable(truth: Boxes) -> Boxes:
    """Annotations of the ten classes that a LiDAR point has hit, labels into CLASS_NAMES, unknown velocities 0.

    Where points were not counted (no table of counts, or -1), all boxes stay.
    """
    boxes = as_detection_classes(truth)
    boxes = replace(
        boxes,
        labels=torch.tensor(NEW_LABELS)[boxes.labels],
        names=CLASS_NAMES,
        velocities=torch.zeros_like(boxes.centers) if boxes.velocities is None else boxes.velocities.nan_to_num(),
    )
    hit = torch.ones(len(boxes), dtype=torch.bool) if boxes.point_counts is None else boxes.point_counts[:, 0] != 0
    return boxes[(boxes.labels >= 0) & hit]


def load_images(capture: Capture) -> np.ndarray:
    """uint8 [V, H, W, 3] RGB of all photographs. Raises BadInputError when they differ in size or are damaged."""
    if not len(capture):
        return np.zeros((0, 1, 1, 3), np.uint8)
    images = [frame.load()[..., :3] for frame in capture.frames]
    sizes = {image.shape[:2] for image in images}
    if len(sizes) > 1:
        shown = ", ".join(f"{width} x {height}" for height, width in sorted(sizes))
        raise BadInputError(f"The photographs of one sample in {capture.source} differ in size: {shown} pixels.")
    return np.stack(images)
