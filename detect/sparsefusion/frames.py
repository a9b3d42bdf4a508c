"""Where samples come from: a nuScenes-format folder, or an info file with single key frames."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ...scene.boxes import Boxes
from ...scene.capture import Capture
from ...scene.driving import DrivingFrame, DrivingLog
from ...scene.errors import BadInputError
from ...scene.nuscenes_classes import DETECTION_NAMES, as_detection_classes
from ...scene.readers.driving import read_driving_log
from ...scene.readers.nuscenes import CAMERA_ORDER
from ..nuscenes.camera_objects import camera_objects
from ..nuscenes.dataset import DetectionData
from ..nuscenes.sample import CLASS_NAMES, DetectionSample
from .config import SparseFusionConfig


@dataclass(frozen=True)
class LogSamples:
    """The key frames of a log as samples. What cannot be used is said when it is read."""

    log: DrivingLog

    @property
    def tokens(self) -> tuple[str, ...]:
        return self.log.tokens

    def __len__(self) -> int:
        return len(self.log)

    def __getitem__(self, index: int) -> DetectionSample:
        return sample_of(self.log[index])

    def class_balanced(self, seed: int) -> list[int]:
        """Single frames are not balanced: each once."""
        return list(range(len(self)))


def open_samples(path: Path, config: SparseFusionConfig, split: str = "all") -> DetectionData | LogSamples:
    """The samples at `path`. An info file has no splits, and one sweep a sample. Raises BadInputError."""
    if path.is_dir():
        return DetectionData(path, split, sweeps=config.sweeps - 1)
    if split != "all":
        raise BadInputError(f"{path} is no folder in the nuScenes format, so it has no split {split!r}; leave it out.")
    return LogSamples(read_driving_log(path))


def sample_of(frame: DrivingFrame) -> DetectionSample:
    """Raises BadInputError for a frame without the six cameras."""
    cameras = frame.capture.cameras
    if cameras is None or tuple(frame.capture.names) != CAMERA_ORDER:
        found = ", ".join(frame.capture.names) or "none"
        raise BadInputError(
            f"The frame {frame.token} has these cameras: {found}; a detector needs {', '.join(CAMERA_ORDER)}."
        )
    points = frame.points
    boxes = None if frame.truth is None else learnable(frame.truth)
    return DetectionSample(
        frame.token,
        frame.timestamp_us,
        torch.cat([points.xyz, points.intensity[:, None], points.lag_s[:, None]], dim=1),
        partial(_images, frame.capture),
        cameras,
        frame.ego_from_lidar,
        frame.global_from_ego,
        boxes,
        None if boxes is None else camera_objects(boxes, cameras),
    )


def learnable(truth: Boxes) -> Boxes:
    """Annotations of the ten classes with a LiDAR point inside, labels into CLASS_NAMES, unknown velocities 0."""
    new_label = torch.tensor([*(CLASS_NAMES.index(name) for name in DETECTION_NAMES), -1])
    boxes = as_detection_classes(truth)
    boxes = replace(boxes, labels=new_label[boxes.labels], names=CLASS_NAMES)
    counted = torch.ones(len(boxes)) if boxes.point_counts is None else boxes.point_counts[:, 0]
    velocities = torch.zeros_like(boxes.centers) if boxes.velocities is None else boxes.velocities.nan_to_num()
    return replace(boxes, velocities=velocities)[(boxes.labels >= 0) & (counted > 0)]


def _images(capture: Capture) -> np.ndarray:
    """uint8 [6, H, W, 3] RGB"""
    images = [frame.load()[..., :3] for frame in capture.frames]
    if len({image.shape for image in images}) > 1:
        shown = ", ".join(f"{w} x {h}" for h, w in sorted({image.shape[:2] for image in images}))
        raise BadInputError(f"The photographs of one sample in {capture.source} differ in size: {shown} pixels.")
    return np.stack(images)
