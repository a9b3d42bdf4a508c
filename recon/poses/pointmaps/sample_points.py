"""Sparse points out of dense depth, each with the views that agree on it, as structure from motion would give them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ....scene.geometry import transform_points
from ....scene.point_cloud import PointCloud
from ...evidence.depth_maps import Stereo

MAX_POINTS = 6000  # of all views together: enough for a world frame, an extent and a picture of the scene
SAME_DEPTH = 0.03  # relative difference up to which a view's own depth confirms a point; networks err by 1 to 3 %


def sample_points(
    stereo: Stereo,
    colors: Sequence[Tensor],  # V of uint8 [H, W, 3], at the sizes of the maps
    seed: int = 0,
) -> PointCloud:
    """Points behind the more confident half of each view's trusted pixels, with observations.

    A point is seen by the view it comes from and by those whose depth agrees with it. Pixels of confidence 1 give none.
    """
    generator = torch.Generator().manual_seed(seed)
    xyz, rgb, own = [], [], []
    for view, depth_map in enumerate(stereo.maps):
        trusted = depth_map.confidence > 1
        if not trusted.any():
            continue
        confident = trusted & (depth_map.confidence >= depth_map.confidence[trusted].median())
        candidates = confident.flatten().nonzero()[:, 0]
        chosen = candidates[torch.randperm(len(candidates), generator=generator)[: MAX_POINTS // len(stereo)]]
        xyz.append(stereo.points(view).reshape(-1, 3)[chosen])
        rgb.append(colors[view].reshape(-1, 3)[chosen])
        own.append(torch.full_like(chosen, view))
    if not xyz:
        return PointCloud.empty()
    points, origin = torch.cat(xyz), torch.cat(own)
    seen = torch.stack([_agrees(stereo, view, points) | (origin == view) for view in range(len(stereo))], dim=1)
    seen_point, seen_view = seen.nonzero().unbind(1)
    return PointCloud(points, torch.cat(rgb), seen_point, seen_view)


def _agrees(stereo: Stereo, view: int, xyz: Tensor) -> Tensor:
    """Mask [N] of the points [N, 3] that a view shows at the depth that they have."""
    camera, depth_map = stereo.cameras[view], stereo.maps[view]
    height, width = depth_map.depth.shape
    in_camera = transform_points(camera.cam_from_world, xyz)
    z = in_camera[:, 2]
    pixel = (in_camera @ camera.K.T)[:, :2] / z.clamp_min(1e-9)[:, None]
    inside = (z > 0) & (pixel >= 0).all(1) & (pixel[:, 0] < width) & (pixel[:, 1] < height)
    column, row = torch.where(inside[:, None], pixel, 0).long().unbind(1)
    there = depth_map.depth[row, column]
    return inside & (depth_map.confidence[row, column] > 1) & ((z - there).abs() < SAME_DEPTH * there)
