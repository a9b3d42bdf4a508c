"""Monocular depth brought to scale in one go: the line that takes disparity to measured inverse depth.

Ours, where the released code descends on the distance of matching points in the world. Depth that is 0 everywhere makes
that distance small, too, and smaller than rough depth of the right scale; inverse depth has no such way out, and is
what networks give to a scale and an offset.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .pixel_lattice import MeasuredDepth

ROUNDS, RIDGE = 30, 1e-6  # of reweighting; keeps flat disparity solvable
LEAST_MEASURED = 30  # pixels from which on a view has a line of its own
BEYOND = 2.0  # so many times nearer or farther than anything measured a pixel may lie


def inverse_aligned(
    disparities: list[Tensor],  # V of [H, W] in [0, 1]
    measured: list[MeasuredDepth],
) -> list[Tensor]:
    """Depth [H, W] of each view, 1 / (a d + b), by the least absolute error of inverse depth times parallax.

    A view with little measured, or where disparity contradicts it, takes the line of all views together.
    """
    of_all = _line(
        torch.cat([d.flatten()[m.pixel] for d, m in zip(disparities, measured, strict=True)]),
        torch.cat([1 / m.depth for m in measured]),
        torch.cat([m.parallax for m in measured]),
    )
    every = torch.cat([1 / m.depth for m in measured])
    low, high = (float(every.quantile(q)) for q in (0.01, 0.99))
    if of_all[0] <= 0:  # disparity says nothing: one plane
        of_all = 0.0, float(every.median())
    aligned = []
    for disparity, own in zip(disparities, measured, strict=True):
        slope, offset = of_all
        if len(own.pixel) >= LEAST_MEASURED:
            found = _line(disparity.flatten()[own.pixel], 1 / own.depth, own.parallax)
            slope, offset = found if found[0] > 0 else of_all
        aligned.append(1 / (slope * disparity + offset).clamp(low / BEYOND, high * BEYOND))
    return aligned


def _line(x: Tensor, y: Tensor, weight: Tensor) -> tuple[float, float]:
    """Slope and offset of least weighted absolute error, by reweighted least squares."""
    x, y, weight = x.double(), y.double(), weight.double()
    rows = torch.stack([x, torch.ones_like(x)], dim=1)
    w, line = weight, rows.new_zeros(2)
    for _ in range(ROUNDS):
        normal = rows.T @ (w[:, None] * rows) + RIDGE * w.sum() * torch.eye(2, dtype=torch.float64)
        line = torch.linalg.solve(normal, rows.T @ (w * y))
        residual = (y - rows @ line).abs()
        w = weight / residual.clamp_min(1e-3 * float(y.median()))
    return float(line[0]), float(line[1])
