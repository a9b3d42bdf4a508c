"""Random changes of a sample for training, the same for points, boxes, cameras and pictures."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...scene.boxes import Boxes
from ...scene.geometry import Similarity
from .config import SparseFusionConfig


@dataclass(frozen=True)
class ImageChange:
    """A change of the pictures: mirrored, scaled, and cut to their own size again at the upper left `crop_px`."""

    mirrored: bool
    scales: tuple[float, ...]  # one for each view
    crops: tuple[tuple[float, float], ...]  # 0..1 of the room that a larger picture leaves, x and y, for each view

    def matrix(self, view: int, width_px: int, height_px: int) -> Tensor:
        """[3, 3] new pixels from old ones, both of the network's size before padding."""
        scale, room = self.scales[view], max(self.scales[view] - 1, 0.0)
        x, y = self.crops[view]
        matrix = torch.tensor(
            [[scale, 0, -x * room * width_px], [0, scale, -y * room * height_px], [0, 0, 1]], dtype=torch.float64
        )
        if self.mirrored:
            matrix = matrix @ torch.tensor([[-1.0, 0, width_px], [0, 1, 0], [0, 0, 1]], dtype=torch.float64)
        return matrix

    def valid_px(self, view: int, width_px: int, height_px: int) -> tuple[float, float]:
        """The part that shows the world: all of it, unless the picture became smaller."""
        shown = min(self.scales[view], 1.0)
        return shown * width_px, shown * height_px


@dataclass(frozen=True)
class Augmentation:
    """A rotation about z, a scale, a shift, then flips. Pictures are mirrored iff exactly one flip is, which keeps
    the camera's pose a rotation."""

    rotation_rad: float
    scale: float
    shift_m: tuple[float, float, float]
    flip_x: bool  # x becomes -x
    flip_y: bool
    image_scales: tuple[float, ...]
    image_crops: tuple[tuple[float, float], ...]

    @classmethod
    def none(cls, n_views: int) -> Augmentation:
        return cls(0.0, 1.0, (0.0, 0.0, 0.0), False, False, (1.0,) * n_views, ((0.0, 0.0),) * n_views)

    @classmethod
    def draw(cls, random: np.random.Generator, config: SparseFusionConfig, n_views: int) -> Augmentation:
        """As the paper's code draws it, in its order."""
        turn = config.max_rotation_rad
        x, y, z = random.normal(0, config.shift_std_m, 3).tolist()
        return cls(
            float(random.uniform(-turn, turn)),
            float(random.uniform(*config.scale_range)),
            (x, y, z),
            bool(random.random() < 0.5),
            bool(random.random() < 0.5),
            tuple(random.uniform(*config.scale_range, n_views).tolist()),
            tuple((float(a), float(b)) for a, b in random.random((n_views, 2))),
        )

    @property
    def images(self) -> ImageChange:
        return ImageChange(self.flip_x != self.flip_y, self.image_scales, self.image_crops)

    @property
    def _rotation(self) -> Tensor:
        cos, sin = math.cos(self.rotation_rad), math.sin(self.rotation_rad)
        return torch.tensor([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]], dtype=torch.float64)

    @property
    def _flips(self) -> Tensor:
        return torch.tensor([-1.0 if self.flip_x else 1.0, -1.0 if self.flip_y else 1.0, 1.0], dtype=torch.float64)

    @property
    def _shift(self) -> Tensor:
        return torch.tensor(self.shift_m, dtype=torch.float64)

    def points(self, points: Tensor) -> Tensor:
        """[P, 5] with x, y, z moved."""
        moved = (self.scale * points[:, :3].double() @ self._rotation.T + self._shift) * self._flips
        return torch.cat([moved.to(points.dtype), points[:, 3:]], dim=1)

    def boxes(self, boxes: Boxes) -> Boxes:
        """Moved, and upright; sizes and velocities scale, too."""
        moved = boxes.moved(Similarity(torch.tensor(self.scale).double(), self._rotation, self._shift))
        flips = self._flips.to(moved.centers)
        yaws = torch.atan2(moved.yaws.sin() * flips[1], moved.yaws.cos() * flips[0])
        velocities = None if moved.velocities is None else moved.velocities * flips
        return Boxes.upright(moved.centers * flips, moved.sizes, yaws, moved.labels, moved.names, velocities=velocities)

    def cam_from_lidar(self, pose: Tensor) -> Tensor:
        """[V, 4, 4] float64 for poses of the cameras. The world's scale multiplies distances to the camera, too."""
        pose = pose.double()
        rotation = pose[:, :3, :3] @ self._rotation.T
        new = pose.clone()
        new[:, :3, :3] = rotation * self._flips
        new[:, :3, 3] = self.scale * pose[:, :3, 3] - rotation @ self._shift
        if self.images.mirrored:
            new[:, 0] = -new[:, 0]
        return new
