"""`Cameras`: where photographs were taken from and through which lens."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .geometry import Similarity, se3_from, se3_inverse
from .unrounded import unrounded


@dataclass(frozen=True)
class Cameras:
    """Pinhole cameras, OpenCV axes (x right, y down, z forward), the upper-left pixel's centre at (0.5, 0.5).

    Readers deliver undistorted images, so there are no distortion coefficients here.
    """

    cam_from_world: Tensor  # [..., 4, 4] float32, rigid; float64 while a reader is at work on it
    K: Tensor  # [..., 3, 3] float32, pixels; the same
    width: Tensor  # [...] int64, pixels
    height: Tensor  # [...] int64, pixels
    times_s: Tensor | None = None  # [...] float32, the moment of the scene; seconds where the source says so
    exact: Tensor | None = None  # [..., 4, 4] float64, what cam_from_world was rounded from; see `unrounded_poses`

    def __post_init__(self) -> None:
        batch = self.cam_from_world.shape[:-2]
        found = (self.K.shape[:-2], self.width.shape, self.height.shape)
        if self.cam_from_world.shape[-2:] != (4, 4) or self.K.shape[-2:] != (3, 3) or any(f != batch for f in found):
            raise ValueError(
                "expected cam_from_world [..., 4, 4], K [..., 3, 3], width [...], height [...], found "
                f"{tuple(self.cam_from_world.shape)}, {tuple(self.K.shape)}, {tuple(self.width.shape)}, "
                f"{tuple(self.height.shape)}"
            )

    @classmethod
    def pinhole(
        cls,
        cam_from_world: Tensor,  # [..., 4, 4]
        focal_px: float | Tensor,  # [] or [...] or [..., 2]
        width: int,
        height: int,
        times_s: Tensor | None = None,
    ) -> Cameras:
        """Cameras of one image size with the principal point at the image centre.

        >>> camera = Cameras.pinhole(torch.eye(4), 500.0, 640, 480)  # one, batch shape []
        >>> camera.K.tolist()
        [[500.0, 0.0, 320.0], [0.0, 500.0, 240.0], [0.0, 0.0, 1.0]]
        >>> len(Cameras.pinhole(torch.eye(4).expand(3, 4, 4), torch.tensor([500.0, 510.0, 520.0]), 640, 480))
        3
        """
        batch = cam_from_world.shape[:-2]
        focal = torch.as_tensor(focal_px, dtype=cam_from_world.dtype)
        if focal.ndim == 0 or focal.shape == batch:
            focal = focal[..., None].expand(*batch, 2)
        K = torch.zeros(*batch, 3, 3, dtype=cam_from_world.dtype)
        K[..., 0, 0], K[..., 1, 1] = focal[..., 0], focal[..., 1]
        K[..., 0, 2], K[..., 1, 2], K[..., 2, 2] = width / 2, height / 2, 1
        size = torch.ones(batch, dtype=torch.int64)
        return cls(cam_from_world, K, size * width, size * height, times_s)

    def __len__(self) -> int:
        return self.cam_from_world.shape[0]

    def __getitem__(self, index: Any) -> Cameras:
        times_s = None if self.times_s is None else self.times_s[index]
        exact = None if self.exact is None else self.exact[index]
        return Cameras(self.cam_from_world[index], self.K[index], self.width[index], self.height[index], times_s, exact)

    def to(self, device: torch.device | str) -> Cameras:
        times_s = None if self.times_s is None else self.times_s.to(device)
        exact = None if self.exact is None else self.exact.to(device)
        return Cameras(
            self.cam_from_world.to(device), self.K.to(device), self.width.to(device), self.height.to(device), times_s,
            exact,
        )  # fmt: skip

    @property
    def unrounded_poses(self) -> Tensor:
        """`cam_from_world` float64 [..., 4, 4], as exactly as the source gave it."""
        return unrounded(self.cam_from_world, self.exact)

    @property
    def world_from_cam(self) -> Tensor:
        """[..., 4, 4]"""
        return se3_inverse(self.cam_from_world)

    @property
    def centers(self) -> Tensor:
        """Centres of projection in the world, [..., 3]."""
        return self.world_from_cam[..., :3, 3]

    def resized(self, width: int | Tensor, height: int | Tensor) -> Cameras:
        """The same cameras for images resized to width x height pixels.

        >>> half = Cameras.pinhole(torch.eye(4), 500.0, 640, 480).resized(320, 240)
        >>> float(half.K[0, 0]), float(half.K[0, 2])
        (250.0, 160.0)
        """
        new_w = torch.as_tensor(width).expand_as(self.width).to(self.width)
        new_h = torch.as_tensor(height).expand_as(self.height).to(self.height)
        K = self.K.clone()
        for row, ratio in enumerate((new_w / self.width, new_h / self.height)):
            # A number of the CPU scales what is on a GPU without a copy.
            K[..., row, :] *= ratio if ratio.ndim == 0 else ratio[..., None].to(K)
        return replace(self, K=K, width=new_w.clone(), height=new_h.clone())

    def transformed(self, new_from_world: Similarity) -> Cameras:
        """The same cameras in another world frame; camera axes stay rigid, distances scale.

        Positions pass through double precision, so that cameras far from their origin can be brought back to it.
        """
        world_from_cam = se3_inverse(self.unrounded_poses)
        move = Similarity(*(t.to(world_from_cam) for t in vars(new_from_world).values()))
        rotation = move.rotation @ world_from_cam[..., :3, :3]
        cam_from_new = se3_inverse(se3_from(rotation, move(world_from_cam[..., :3, 3])))
        return replace(self, cam_from_world=cam_from_new.to(self.cam_from_world), exact=None)

    @classmethod
    def stack(cls, cameras: list[Cameras]) -> Cameras:
        """One batch [len(cameras), ...] of cameras of equal shapes."""
        times_s = [c.times_s for c in cameras if c.times_s is not None]
        exact = [c.exact for c in cameras if c.exact is not None]
        return cls(
            torch.stack([c.cam_from_world for c in cameras]),
            torch.stack([c.K for c in cameras]),
            torch.stack([c.width for c in cameras]),
            torch.stack([c.height for c in cameras]),
            torch.stack(times_s) if cameras and len(times_s) == len(cameras) else None,
            torch.stack(exact) if cameras and len(exact) == len(cameras) else None,
        )
