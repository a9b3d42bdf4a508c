"""As-rigid-as-possible losses on control points: what is near moves like one body (Sorkine and Alexa 2007)."""

from __future__ import annotations

from torch import Tensor

from ....scene.fitted_rotations import fitted_rotations
from .node_weights import nearest_points

NEIGHBOURS, ALWAYS, RADIUS = 10, 3, 0.1  # released: beyond the third only within the radius, network units
WIDE_NEIGHBOURS, WIDE_SHARE = 50, 1 / 8  # paper: within this share of the bounding box's diagonal, in trajectories


def released_neighbours(points: Tensor) -> tuple[Tensor, Tensor]:
    """(index [M, K], weights [M, K]) of the nearest points [M, 3]: one for each that is near, else zero."""
    index = nearest_points(points, points, NEIGHBOURS + 1)[:, 1:].long()
    far = (points[:, None] - points[index]).norm(dim=-1) > RADIUS
    far[:, :ALWAYS] = False
    return index, (~far).to(points)


def trajectory_neighbours(trajectories: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    """(index [M, K], weights [M, K] that sum to one) by distance of trajectories [M, T, 3] (SC-GS, equation 9)."""
    points = trajectories[:, 0]
    diagonal = (points.amax(0) - points.amin(0)).norm()
    flat = trajectories.flatten(1)
    index = nearest_points(flat, flat, WIDE_NEIGHBOURS + 1)[:, 1:].long()
    mean_square = (flat[:, None] - flat[index]).square().sum(-1) / trajectories.shape[1]
    weights = (-mean_square / (2 * radius.detach()[index].square())).exp() * (
        mean_square.sqrt() < WIDE_SHARE * diagonal
    )
    return index, weights / weights.sum(-1, keepdim=True).clamp_min(1e-7)


def arap_energy(before: Tensor, after: Tensor, index: Tensor, weights: Tensor) -> Tensor:
    """Energies [M] of points [M, 3] that went from `before` to `after`, after each one's own best rotation."""
    edges_before, edges_after = before[:, None] - before[index], after[:, None] - after[index]
    rotations = fitted_rotations(edges_before, edges_after, weights).to(edges_before)
    moved = (rotations[:, None] @ edges_before[..., None])[..., 0]
    return (weights * (edges_after - moved).square().sum(-1)).sum(-1)
