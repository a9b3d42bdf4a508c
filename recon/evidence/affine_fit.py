"""Scale and offset of relative inverse depth, from pixels whose depth is known."""

from __future__ import annotations

import torch
from torch import Tensor

HUBER = 1.345  # residual in robust standard deviations from which it pulls no harder: 95 % efficiency on normal noise
MAD_TO_SIGMA = 1.4826
ROUNDS = 20


def fit_inverse_depth(
    disparity: Tensor,  # [N] relative inverse depth
    inverse: Tensor,  # [N] inverse depth in the unit of the cameras
    weight: Tensor,  # [N] > 0, how well it is known
) -> tuple[float, float]:
    """(s, t) with s > 0 for the least Huber residuals of s * disparity + t - inverse, weighted.

    Where the two contradict each other, or fewer than two different values are given, s is 0 and t the median: relative
    depth says nothing then. Iteratively reweighted least squares in double precision.
    """
    x, y, w = disparity.double(), inverse.double(), weight.double()
    if len(x) == 0:
        raise ValueError("expected at least one pixel of known depth")
    nothing = 0.0, float(y.median())
    spread = float(x.max() - x.min())
    if spread <= 1e-9 * max(1.0, float(x.abs().max())):
        return nothing
    s, t, pull = 0.0, 0.0, torch.ones_like(w)
    for _ in range(ROUNDS):
        share = w * pull
        total = share.sum()
        mean_x, mean_y = (share * x).sum() / total, (share * y).sum() / total
        variance = (share * (x - mean_x).square()).sum()
        if float(variance) <= 1e-18 * spread**2 * float(total):
            return nothing
        s = float((share * (x - mean_x) * (y - mean_y)).sum() / variance)
        t = float(mean_y - s * mean_x)
        residual = (s * x + t - y).abs()
        sigma = MAD_TO_SIGMA * float(residual.median())
        if sigma <= 1e-12 * float(y.abs().max()):
            break
        pull = (HUBER * sigma / residual.clamp_min(1e-30)).clamp(max=1)
    return (s, t) if s > 0 else nothing
