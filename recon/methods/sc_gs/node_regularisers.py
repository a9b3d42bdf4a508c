"""Losses of the first stage: control points that keep their distances and move evenly (SC-GS, as released)."""

from __future__ import annotations

from torch import Tensor


def elastic_loss(trajectories: Tensor, index: Tensor, weights: Tensor) -> Tensor:
    """Variance over time of the edges to the neighbours [M, K], of trajectories [T, M, 3], each by its own size."""
    lengths = (trajectories[:, :, None] - trajectories[:, index]).norm(dim=-1)
    variance = lengths.var(dim=0, unbiased=False)
    return (weights * variance / (variance.detach() + 1e-5)).sum(-1).mean()


def acceleration_loss(before: Tensor, now: Tensor, after: Tensor) -> Tensor:
    """Length of the second difference of places [M, 3] at evenly spaced moments, each by its own size."""
    size = (before + after - 2 * now).norm(dim=-1)
    return (size / (size.detach() + 1e-5)).mean()
