"""Masks over what stands in one photograph alone, such as people who walk through, told by the residuals.

What the other photographs do not confirm stays far from the picture: pixels whose residual is among the largest of
their view are left out of the loss (RobustNeRF, Sabour et al. 2023, section 4; SpotLessSplats, Sabour et al. 2024).
Their rules take a fixed share of every photograph, and cannot tell a passer-by from detail that is not learned yet, and
never is when it is left out. Here the residual is averaged with its sign over a window: a blurred picture of the
lasting scene has the right mean colour, a passer-by has another one. And a pixel must stand out from its view.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW = 1 / 16  # side of the window, in the photograph's longer side: people are larger, detail is smaller
STANDS_OUT = 4.0  # times the median of the averaged residuals of the view
CELLS = 4  # to half a window: finer ones take longer and tell no more
LEAST = 0.06  # of full scale: averaged residuals below are no reason


def lasting_pixels(
    residual: Tensor,  # [H, W, 3] picture minus photograph
    share: float,  # of the pixels at most to leave out, in [0, 1)
    counts: Tensor | None = None,  # [H, W] bool, the pixels that count at all; all when None
) -> Tensor:
    """Mask [H, W] of the pixels to train on: False where the averaged residual is too large for the lasting scene."""
    height, width = residual.shape[:2]
    radius = max(1, round(WINDOW * max(height, width) / 2))
    cell = max(1, radius // CELLS)  # windows are looked at in cells of so many pixels a side
    residual = residual.detach().permute(2, 0, 1)
    weight = residual.new_ones(1, height, width) if counts is None else counts.to(residual)[None]
    residual, weight = _cells(residual * weight, cell), _cells(weight, cell)
    averaged = (_box(residual, radius // cell) / _box(weight, radius // cell).clamp_min(1e-6)).abs().mean(0)
    known = averaged[weight[0] > 0]
    most = int(share * (height * width if counts is None else int(counts.sum())) / cell**2)
    if most == 0 or len(known) <= most:
        return torch.ones(height, width, dtype=torch.bool, device=residual.device)
    # kthvalue and not quantile, which refuses more than 2^24 values.
    largest = known.kthvalue(len(known) - most).values
    lasting = averaged <= torch.maximum(largest, STANDS_OUT * known.median()).clamp_min(LEAST)
    return lasting.repeat_interleave(cell, 0).repeat_interleave(cell, 1)[:height, :width]


def _cells(values: Tensor, cell: int) -> Tensor:
    """Means [C, ceil(H / cell), ceil(W / cell)] over cells, of the part that is inside the picture."""
    return F.avg_pool2d(values, cell, ceil_mode=True)


def _box(values: Tensor, radius: int) -> Tensor:
    """Means [C, H, W] over squares of 2 * radius + 1, of the part that is inside the picture."""
    side = 2 * radius + 1
    values = F.avg_pool2d(values, (side, 1), stride=1, padding=(radius, 0), count_include_pad=False)
    return F.avg_pool2d(values, (1, side), stride=1, padding=(0, radius), count_include_pad=False)
