"""Dense stereo, whichever provider computed it: cameras, and for each view depth and confidence."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...scene.cameras import Cameras
from ...scene.geometry import Similarity, transform_points

MAX_CONFIDENCE = 20.0  # providers clip here: beyond it the position rates of InstantSplat no longer change


@dataclass(frozen=True)
class DepthMap:
    """Depth of every pixel of one view; pixel centres at +0.5.

    Confidence follows the pointmap networks: at least 1, and exactly 1 where the depth is only a guess.
    """

    depth: Tensor  # [H, W] float32 > 0, z in the camera frame, world units
    confidence: Tensor  # [H, W] float32 in [1, MAX_CONFIDENCE]

    def __post_init__(self) -> None:
        if self.depth.ndim != 2 or self.depth.shape != self.confidence.shape:
            raise ValueError(
                f"expected depth and confidence [H, W], found {tuple(self.depth.shape)} and "
                f"{tuple(self.confidence.shape)}"
            )


@dataclass(frozen=True)
class Stereo:
    """Cameras at the sizes of the maps, and one map for each."""

    cameras: Cameras  # [V]
    maps: tuple[DepthMap, ...]  # V of them, sizes may differ

    def __post_init__(self) -> None:
        sizes = [tuple(m.depth.shape) for m in self.maps]
        wanted = list(zip(self.cameras.height.tolist(), self.cameras.width.tolist(), strict=True))
        if sizes != wanted:
            raise ValueError(f"expected one map for each camera, of its size {wanted}, found {sizes}")

    def __len__(self) -> int:
        return len(self.maps)

    def points(self, view: int) -> Tensor:
        """The pointmap [H, W, 3] of a view in the world frame."""
        in_camera = unproject(self.maps[view].depth, self.cameras.K[view])
        return transform_points(self.cameras.world_from_cam[view], in_camera.reshape(-1, 3)).reshape(in_camera.shape)

    def transformed(self, new_from_world: Similarity) -> Stereo:
        """The same in another world frame, with depths in its unit."""
        maps = tuple(replace(m, depth=m.depth * float(new_from_world.scale)) for m in self.maps)
        return Stereo(self.cameras.transformed(new_from_world), maps)


def unproject(
    depth: Tensor,  # [H, W]
    K: Tensor,  # [3, 3] pixels
) -> Tensor:
    """Points [H, W, 3] in the camera frame behind the pixels' centres."""
    height, width = depth.shape
    x = (torch.arange(width, dtype=depth.dtype, device=depth.device) + 0.5 - K[0, 2]) / K[0, 0]
    y = (torch.arange(height, dtype=depth.dtype, device=depth.device) + 0.5 - K[1, 2]) / K[1, 1]
    rays = torch.stack(
        [x[None].expand(height, width), y[:, None].expand(height, width), torch.ones_like(depth)], dim=-1
    )
    return rays * depth[..., None]
