"""`DrivingSample`: one key frame of a car with a LiDAR and cameras."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ...scene.cameras import Cameras
from ..sample import Sample


@dataclass(frozen=True)
class CameraObjects:
    """M sightings: an annotated box in a camera that has its centre in the image. A box has 0, 1 or 2 of them."""

    views: Tensor  # [M] int64, which camera of the sample
    boxes: Tensor  # [M] int64, row of the sample's `boxes`
    labels: Tensor  # [M] int64 into CLASS_NAMES
    centers_px: Tensor  # [M, 2] float32, the projected 3D centre (u, v) in pixels of the original image
    depths_m: Tensor  # [M] float32, of the 3D centre along the optical axis
    rects_px: Tensor  # [M, 4] float32: centre x, y, width, height of the projected corners' bounds, cut at the image
    # [M, 9] float32: centre x, y, z, length, height, width, yaw, velocity x, z in the camera's axes. The yaw is about
    # the camera's y: the heading is (cos yaw, 0, -sin yaw).
    boxes_cam: Tensor

    def __len__(self) -> int:
        return self.views.shape[0]

    def __getitem__(self, index: Tensor) -> CameraObjects:
        return CameraObjects(*(value[index] for value in vars(self).values()))

    def visible(self, n_boxes: int) -> Tensor:
        """bool [n_boxes], true for those of the sample's boxes that some camera sees."""
        seen = torch.zeros(n_boxes, dtype=torch.bool)
        seen[self.boxes] = True
        return seen


@dataclass(frozen=True, kw_only=True)
class DrivingSample(Sample):
    """One key frame. All coordinates are in the LiDAR's frame at the key sweep's time: z up, metres.

    `boxes` are float32, labels into CLASS_NAMES: only annotations that a detector can learn from, of the ten classes
    and with a LiDAR point inside. Unknown velocities are 0.
    """

    # `field()`: not optional here.
    points: Tensor = field()  # [P, 5] float32: x, y, z, intensity 0..255, seconds before the key frame; key sweep first
    # [V], those of CAMERA_ORDER first, in its order; none where they were not asked for.
    # "World" is the LiDAR's frame, so cam_from_world is lidar2cam, with the car's motion between
    # the two shutters accounted for.
    cameras: Cameras = field()
    load_images: Callable[[], np.ndarray] = field()
    timestamp_us: int
    ego_from_lidar: Tensor  # [4, 4] float64
    global_from_ego: Tensor  # [4, 4] float64, at the key time
    camera_objects: CameraObjects | None = None  # of `boxes`

    @property
    def num_lidar_pts(self) -> Tensor:
        """int64 [N]: LiDAR points in each of `boxes`, as the data set counted them."""
        assert self.boxes is not None
        assert self.boxes.point_counts is not None
        return self.boxes.point_counts[:, 0]

    @property
    def global_from_lidar(self) -> Tensor:
        """[4, 4] float64: coordinates in the global frame are kilometres, too large for float32."""
        return self.global_from_ego @ self.ego_from_lidar

    @property
    def lidar_from_global(self) -> Tensor:
        """[4, 4] float64"""
        return torch.linalg.inv(self.global_from_lidar)
