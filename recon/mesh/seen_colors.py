"""Colours of places on a surface, from the pictures of the splat that see them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from ...scene.geometry import transform_points
from .depth_views import DepthView

OTHERS = 0.05  # weight of a picture from where no photograph was taken
_LEAST_COSINE = 0.05
_CHUNK = 2**19
_GREY = 0.5


def seen_colors(
    xyz: Tensor,  # [n, 3] world
    normals: Tensor,  # [n, 3] unit, outward
    views: Sequence[DepthView],
    tolerance: float,  # world units: how far from the depth of a pixel what it shows may be
) -> Tensor:
    """sRGB [n, 3] in [0, 1]: the mean of the pictures that see each place, those that face it counting most.

    A place that none of them sees gets the colour of the nearest that one does.
    """
    total, weights = torch.zeros(len(xyz), 3), torch.zeros(len(xyz))
    for view in views:
        for begin in range(0, len(xyz), _CHUNK):
            part = slice(begin, begin + _CHUNK)
            rgb, weight = _seen_in(view, xyz[part], normals[part], tolerance)
            total[part] += rgb * weight[:, None]
            weights[part] += weight
    seen = weights > 0
    colors = total / weights.clamp_min(1e-20)[:, None]
    if not bool(seen.any()):
        return torch.full_like(colors, _GREY)
    if not bool(seen.all()):
        nearest = cKDTree(xyz[seen].numpy()).query(xyz[~seen].numpy())[1]
        colors[~seen] = colors[seen][torch.from_numpy(np.asarray(nearest))]
    return colors.clamp(0, 1)


def _seen_in(view: DepthView, xyz: Tensor, normals: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """(colours [n, 3], weights [n], 0 where the view does not see the place)."""
    pose, K = view.camera.cam_from_world.double(), view.camera.K.double()
    in_camera = transform_points(pose, xyz.double())
    z = in_camera[:, 2]
    pixel = (in_camera @ K.T)[:, :2] / z.clamp_min(1e-12)[:, None]
    height, width = view.depth.shape
    there = (z > 0) & (pixel >= 0).all(1) & (pixel[:, 0] < width) & (pixel[:, 1] < height)
    column, row = torch.where(there[:, None], pixel, 0).long().unbind(1)
    near = (view.depth[row, column].double() - z).abs() < tolerance
    rays = torch.nn.functional.normalize(xyz.double() - view.camera.centers.double(), dim=1)
    facing = -(rays * normals.double()).sum(1)
    nearness = (tolerance / z.clamp_min(1e-12)) ** 2  # pixels for an area go with the square of the distance
    weight = torch.where(there & near & (facing > _LEAST_COSINE), facing.clamp_min(0) ** 4 * nearness, 0).float()
    weight = weight * view.weight[row, column] * (1.0 if view.is_photograph else OTHERS)
    grid = (2 * pixel / pixel.new_tensor([width, height]) - 1).float().clamp(-2, 2)
    picture = view.rgb.permute(2, 0, 1)[None]
    rgb = torch.nn.functional.grid_sample(picture, grid[None, None], padding_mode="border", align_corners=False)
    return rgb[0, :, 0].T, weight
