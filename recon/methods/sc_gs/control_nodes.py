"""The tables of control points: as round Gaussians while they are found, then as what carries the dense ones."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ....scene.gaussians import Gaussians
from ...optimise.adaptive_density_control import AdaptiveDensityControl
from ...optimise.table import Column, Table
from .node_weights import nearest_points

RADIUS_SHARE = 0.1  # of the longest extent: how far a control point reaches at the start
GAUSSIAN_HYPER, NODE_HYPER = -0.01, 0.01  # all further dimensions at the start
GROW_GRADIENT = 2e-4
SPACING_NEIGHBOURS = 3  # by whose mean distance a control point that is told apart reaches at the start


def node_table(points: Tensor, hyper_dim: int) -> Table:
    """Control points at [M, 3], all alike."""
    extent = float(points.max() - points.min()) if len(points) > 1 else 1.0
    count = len(points)
    return Table(
        {
            "points": points,
            "hyper": points.new_full((count, hyper_dim), NODE_HYPER),
            "log_radius": points.new_full((count,), math.log(max(RADIUS_SHARE * extent, 1e-6))),
            "strength_logits": points.new_zeros(count),
        }
    )


def told_apart(points: Tensor, shifts: Tensor, hyper_dim: int) -> Table:
    """Control points at [M, 3] whose further dimensions say how differently they move, by their shifts [T, M, 3].

    What is near at rest and moves otherwise, such as one leg beside another, is far then; and each reaches about as
    far as its neighbours are, so that thin parts are not carried by what passes them.
    """
    table = node_table(points, hyper_dim)
    hyper = table["hyper"].detach().clone()
    moved = shifts.transpose(0, 1).flatten(1) / math.sqrt(len(shifts))  # distances: root mean square over the moments
    u, s, _ = torch.linalg.svd(moved - moved.mean(0), full_matrices=False)
    count = min(hyper_dim, s.numel())
    hyper[:, :count] = (u * s)[:, :count]
    where = torch.cat([points, hyper], dim=-1)
    near = nearest_points(where, where, SPACING_NEIGHBOURS + 1)[:, 1:].long()
    if near.shape[1] > 0:
        spacing = (where[:, None] - where[near]).norm(dim=-1).mean(-1)
        table.columns["log_radius"] = Column(spacing.clamp_min(1e-6).log())
    table.columns["hyper"] = Column(hyper)
    return table


def round_gaussians(table: Table, means: Tensor) -> Gaussians:
    """Round Gaussians at `means` [M, 3], all of the one size that is the mean of their log-scales."""
    count = len(means)
    return Gaussians(
        means,
        means.new_tensor([1.0, 0, 0, 0]).expand(count, 4),
        table["log_scales"].mean().expand(count, 3),
        table["opacity_logits"],
        table["sh"],
    )


@torch.no_grad()
def adapted_nodes(
    points: Tensor,  # [M, 3]
    hyper: Tensor,  # [M, H]
    means: Tensor,  # [N, 3] of the Gaussians
    mean_hyper: Tensor,  # [N, H]
    index: Tensor,  # [N, K]
    weights: Tensor,  # [N, K]
    gradient: Tensor,  # [N] mean length of the screen gradient
    least_mass: float = 0.0,  # control points that carry no more than this go
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(rows that stay [S], parents of new rows [A], new points [A, 3], new hyper [A, H]) (SC-GS, section 3.4).

    Where the Gaussians that a control point carries are pulled at, one is added in the middle of that pull.
    """
    count, flat = len(points), index.long().flatten()

    def gathered(values: Tensor) -> Tensor:
        """[N, K, C] summed for each control point: [M, C]."""
        return points.new_zeros(count, values.shape[-1]).index_add_(0, flat, values.flatten(0, 1))

    mass = gathered(weights[..., None])[:, 0]
    pull = weights * gradient[:, None]
    total_pull = gathered(pull[..., None])
    where = torch.cat([means, mean_hyper], dim=-1)
    middle = gathered(pull[..., None] * where[:, None]) / total_pull
    importance = total_pull[:, 0] / (mass + 1e-7)
    parents = ((importance > GROW_GRADIENT) & middle.isfinite().all(-1)).nonzero().squeeze(-1)
    stay = (mass > least_mass).nonzero().squeeze(-1)
    return stay, parents, middle[parents, :3], middle[parents, 3:]


def screen_gradient(control: AdaptiveDensityControl) -> Tensor:
    """Mean length [N] of the screen gradients that densification has gathered so far."""
    return control.gradient_sum / control.seen.clamp_min(1)
