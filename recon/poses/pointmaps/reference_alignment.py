"""The objective of global alignment in plain PyTorch: the reference implementation of the native kernel."""

from __future__ import annotations

import torch
from torch import Tensor

from .alignment_variables import Observations, Variables


def alignment_loss(
    variables: Variables,
    observations: Observations,
) -> Tensor:
    """sum_e sum_u log O(u) |P(u) - scale_e (R_e X(u) + t_e)| over both sides of all edges, each over its pixels.

    P is the world pointmap of the side's view: its depth map behind its pixels, moved into the world. The norm is not
    squared. Scalar, differentiable in the variables, any dtype.
    """
    rotations, translations = variables.pose()
    focal_px = variables.focal_px()
    scales, edge_rotations, edge_translations = variables.edge()
    depths = variables.log_depth.exp().split([h * w for h, w in observations.sizes])
    world = []
    for view, (height, width) in enumerate(observations.sizes):
        rays = pixel_rays(height, width, focal_px[view], variables.centers_px[view])
        in_camera = rays.reshape(-1, 3) * depths[view][:, None]
        world.append(in_camera @ rotations[view].T + translations[view])
    total = world[0].new_zeros(())
    for side, view in enumerate(observations.view_of_side):
        e = side // 2
        points = observations.points[side].reshape(-1, 3).to(world[0])
        moved = scales[e] * (points @ edge_rotations[e].T + edge_translations[e])
        weights = observations.weights[side].flatten().to(world[0])
        total = total + observations.share[side] * (weights * (world[view] - moved).norm(dim=1)).sum()
    return total


def pixel_rays(height: int, width: int, focal_px: Tensor, center_px: Tensor) -> Tensor:
    """Directions [H, W, 3] with z = 1 through the pixels' centres, for focal_px [2] and center_px [2]."""
    x = (torch.arange(width).to(center_px) + 0.5 - center_px[0]) / focal_px[0]
    y = (torch.arange(height).to(center_px) + 0.5 - center_px[1]) / focal_px[1]
    grid = torch.meshgrid(x, y, indexing="xy")
    return torch.stack([*grid, torch.ones_like(grid[0])], dim=-1)
