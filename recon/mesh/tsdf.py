"""Truncated signed distance fusion of depth maps (Curless and Levoy 1996), in blocks near the surface only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...scene.errors import BadInputError
from ...scene.progress import Progress, silent
from .depth_views import DepthView
from .marching_cubes import marching_cubes

TRUNCATION = 4.0  # voxels
LEAST_WEIGHT = 0.5  # of the views that have seen a voxel: less is not known
_BLOCK = 4  # voxels a side, as many as the truncation has: its neighbours hold all that a point has a say in
_CHUNK = 2**19  # voxels looked up together
_OUTLIERS = 0.005  # share of the points that may lie outside of the room, at each end of each axis
_MARGIN = 0.03  # of the longest side, around them


@dataclass(frozen=True)
class Grid:
    """A box of cubes: voxel (i, j, k) has its centre at origin + voxel * (i, j, k)."""

    origin: Tensor  # [3] float64 world
    voxel: float  # its side, world units
    shape: tuple[int, int, int]


def grid_around(points: Tensor, voxels: int) -> Grid:
    """A grid with `voxels` along its longest side that holds the bulk of points [n, 3].

    Raises BadInputError where there are too few of them to be a surface.
    """
    points = points[points.isfinite().all(1)].double()
    if len(points) < 100:
        raise BadInputError(
            f"The cameras see {len(points)} points of a surface in the splat, too few for a mesh: it is empty, "
            "transparent, or the cameras look elsewhere."
        )
    some = points[:: max(1, len(points) // 2**20)].sort(dim=0).values
    low, high = (some[int(share * (len(some) - 1))] for share in (_OUTLIERS, 1 - _OUTLIERS))
    side = float((high - low).max())
    if not side > 0:
        raise BadInputError("All points of the splat's surface are in one place, so there is no mesh in it.")
    low, high = low - _MARGIN * side, high + _MARGIN * side
    voxel = float((high - low).max()) / (voxels - 1)
    return Grid(low, voxel, tuple((((high - low) / voxel).ceil().long() + 1).clamp(min=2).tolist()))  # type: ignore[arg-type]


def fused_surface(views: Sequence[DepthView], grid: Grid, progress: Progress = silent) -> tuple[Tensor, Tensor]:
    """(vertices float32 [V, 3] in the world, faces int64 [F, 3]) of the zero level of all depth maps together.

    It ends where no camera has looked. Voxels far from every measured point are not visited, so time and memory go with
    the surface, but for five bytes a voxel of the grid.
    """
    values, weights = fused_distances(views, grid, progress)
    vertices, faces = marching_cubes(values, weights >= LEAST_WEIGHT)
    world = grid.origin + grid.voxel * torch.from_numpy(vertices).double()
    return world.float(), torch.from_numpy(faces)


def fused_distances(
    views: Sequence[DepthView], grid: Grid, progress: Progress = silent
) -> tuple[np.ndarray, np.ndarray]:
    """(signed distances float32 [X, Y, Z] over the truncation, -1 to 1, positive outside; weights float32)."""
    active = _voxels_near(views, grid)
    place = torch.stack(torch.unravel_index(active, grid.shape), dim=1).float()
    total, weights = torch.zeros(len(active)), torch.zeros(len(active))
    for done, view in enumerate(views, start=1):
        for begin in range(0, len(active), _CHUNK):
            part = slice(begin, begin + _CHUNK)
            distance, weight = _seen(view, grid, place[part])
            total[part] += weight * distance
            weights[part] += weight
        progress("fusing", done, len(views))
    values = np.ones(grid.shape, np.float32)
    known = np.zeros(grid.shape, np.float32)
    values.reshape(-1)[active.numpy()] = (total / weights.clamp_min(1e-9)).numpy()
    known.reshape(-1)[active.numpy()] = weights.numpy()
    return values, known


def _seen(view: DepthView, grid: Grid, place: Tensor) -> tuple[Tensor, Tensor]:
    """(signed distance over the truncation [n], weight [n], 0 where nothing is known) of voxels (i, j, k) [n, 3]."""
    pose, K = view.camera.cam_from_world.double(), view.camera.K.double()
    start = K @ (pose[:3, :3] @ grid.origin + pose[:3, 3])
    image = torch.addmm(start.float(), place, (grid.voxel * K @ pose[:3, :3]).T.float())
    z = image[:, 2]
    height, width = view.depth.shape
    column, row = image[:, 0] / z, image[:, 1] / z
    there = (z > 0) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    pixel = torch.where(there, row, 0).long() * width + torch.where(there, column, 0).long()
    distance = ((view.depth.reshape(-1)[pixel] - z) / (TRUNCATION * grid.voxel)).clamp(max=1)
    weight = view.weight.reshape(-1)[pixel] * (there & (distance > -1))
    return torch.where(weight > 0, distance, 0), weight


def _voxels_near(views: Sequence[DepthView], grid: Grid) -> Tensor:
    """int64 [n]: voxels in blocks that hold a measured point, or are beside one that does."""
    blocks = tuple(-(-side // _BLOCK) for side in grid.shape)
    hit = torch.zeros(blocks, dtype=torch.bool)
    limits = torch.tensor(grid.shape)
    for view in views:
        place = ((view.points().double() - grid.origin) / grid.voxel).round()
        inside = ((place >= 0) & (place < limits)).all(1)
        block = place[inside].long() // _BLOCK
        hit[block[:, 0], block[:, 1], block[:, 2]] = True
    near = torch.nn.functional.max_pool3d(hit[None].float(), 3, stride=1, padding=1)[0] > 0
    corner = near.nonzero() * _BLOCK
    within = torch.cartesian_prod(*[torch.arange(_BLOCK)] * 3)
    place = (corner[:, None] + within).reshape(-1, 3)
    place = place[(place < limits).all(1)]
    flat = (place[:, 0] * grid.shape[1] + place[:, 1]) * grid.shape[2] + place[:, 2]
    return flat.sort().values
