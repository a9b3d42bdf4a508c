"""More points to start from, where structure from motion has few: one for each cell of a grid on every photograph."""

from __future__ import annotations

import torch
from torch import Tensor

from ....scene.geometry import transform_points
from ....scene.point_cloud import PointCloud
from ...evidence.between_points import inverse_depth_between
from ...optimise.dataset import Dataset

MIN_POINTS = 4  # that a photograph must see before depths between them mean anything


def fill_points(dataset: Dataset, cells: int) -> PointCloud | None:
    """Points behind the cells of a grid of `cells` along the longer side of each training photograph.

    Depths are interpolated between the sparse points that the photograph sees: linearly in inverse depth inside
    their hull, the nearest one's outside. They are guesses, good enough for Gaussians to start from, and they cover
    what only one photograph shows. None where no photograph sees enough points. Transparent and masked pixels get none.
    """
    points = dataset.points
    if points is None or points.seen_point is None or points.seen_view is None:
        return None
    xyz, rgb = [], []
    for index in dataset.train:
        seen = torch.unique(points.seen_point[points.seen_view == index])
        in_camera = transform_points(dataset.cameras.cam_from_world[index].cpu(), points.xyz[seen].cpu())
        in_camera = in_camera[in_camera[:, 2] > 1e-6]
        if len(in_camera) < MIN_POINTS:
            continue
        view = dataset.view(index)
        K, pixels = view.K.cpu(), view.pixels.cpu()
        columns, rows = _grid(view.width, view.height, cells)
        counts = view.counts()
        if counts is not None:
            kept = counts[rows, columns]
            columns, rows = columns[kept], rows[kept]
        rays = torch.stack([(columns + 0.5 - K[0, 2]) / K[0, 0], (rows + 0.5 - K[1, 2]) / K[1, 1]], dim=1)
        known, inverse_depth = in_camera[:, :2] / in_camera[:, 2:], 1 / in_camera[:, 2]
        between = inverse_depth_between(known.double().numpy(), inverse_depth.double().numpy(), rays.double().numpy())
        depth = torch.from_numpy(1 / between).float()
        filled = torch.cat([rays, torch.ones(len(rays), 1)], dim=1) * depth[:, None]
        xyz.append(transform_points(dataset.cameras.world_from_cam[index].cpu(), filled))
        rgb.append(pixels[rows, columns, :3])
    return PointCloud(torch.cat(xyz), torch.cat(rgb)) if xyz else None


def _grid(width: int, height: int, cells: int) -> tuple[Tensor, Tensor]:
    """Columns and rows [M] of the pixels at the middle of square cells."""
    spacing = max(1.0, max(width, height) / cells)
    across, down = max(1, round(width / spacing)), max(1, round(height / spacing))
    columns = ((torch.arange(across) + 0.5) * width / across).long()
    rows = ((torch.arange(down) + 0.5) * height / down).long()
    grid_rows, grid_columns = torch.meshgrid(rows, columns, indexing="ij")
    return grid_columns.flatten(), grid_rows.flatten()
