"""Masks over what stands in one photograph alone, such as people who walk through, told by the residuals.

What the other photographs do not confirm stays far from the picture: pixels whose residual, averaged over a window,
is among the largest of their view are left out of the loss (RobustNeRF, Sabour et al. 2023, section 4; SpotLessSplats,
Sabour et al. 2024). Their rules take a fixed share of every photograph; here a pixel must also stand out from the
view's median, so that photographs without transient things lose little.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW = 1 / 24  # side of the window, in the photograph's longer side: people are larger, edges are thinner
STANDS_OUT = 3.0  # times the median of the averaged residuals


def lasting_pixels(
    residual: Tensor,  # [H, W] >= 0, e.g. the mean absolute difference of the channels
    share: float,  # of the pixels at most to leave out, in [0, 1)
    counts: Tensor | None = None,  # [H, W] bool, the pixels that count at all; all when None
) -> Tensor:
    """Mask [H, W] of the pixels to train on: False where the averaged residual is too large for the lasting scene."""
    residual = residual.detach()
    if counts is not None:
        residual = residual * counts
    height, width = residual.shape
    radius = max(1, round(WINDOW * max(height, width) / 2))
    averaged = _box(residual, radius)
    if counts is not None:
        averaged = averaged / _box(counts.to(residual), radius).clamp_min(1e-6)
    known = averaged.flatten() if counts is None else averaged[counts]
    if len(known) == 0 or share <= 0:
        return torch.ones_like(residual, dtype=torch.bool)
    # kthvalue and not quantile, which refuses more than 2^24 values.
    rank = min(len(known), max(1, len(known) - int(share * len(known))))
    threshold = torch.maximum(known.kthvalue(rank).values, STANDS_OUT * known.median())
    return averaged <= threshold


def _box(values: Tensor, radius: int) -> Tensor:
    """Means [H, W] over squares of 2 * radius + 1, of the part that is inside the picture."""
    for size_at in (0, 1):
        shape = (2 * radius + 1, 1) if size_at == 0 else (1, 2 * radius + 1)
        pad = (radius, 0) if size_at == 0 else (0, radius)
        values = F.avg_pool2d(values[None, None], shape, stride=1, padding=pad, count_include_pad=False)[0, 0]
    return values
