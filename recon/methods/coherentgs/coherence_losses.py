"""Losses of CoherentGS besides the image loss: smooth disparity within layers, and pictures alike at every size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def disparity_variation(
    depth: Tensor,  # [H, W] in units of the method
    layer: Tensor,  # [H, W] int64
    layers: int,
    within: float,  # share g that is taken within layers
) -> Tensor:
    """(1 - g) TV(d) + g TV(S d) of d = 1 / (1 + depth), a scalar (section 3.3).

    S d has a channel for each layer that is d inside and 0 elsewhere; TV is the mean absolute difference to the right
    plus that downwards.
    """
    disparity = 1 / (1 + depth)
    total = depth.new_zeros(())
    for axis in (0, 1):
        size = depth.shape[axis] - 1
        if size == 0:
            continue
        a, b = disparity.narrow(axis, 0, size), disparity.narrow(axis, 1, size)
        same = layer.narrow(axis, 0, size) == layer.narrow(axis, 1, size)
        apart = (a - b).abs()
        # Between layers one channel falls from d to 0, and another rises from 0 to the neighbour's.
        layered = torch.where(same, apart, a + b)
        total = total + (1 - within) * apart.mean() + within * layered.mean() / layers
    return total


def coarse_l1(image: Tensor, target: Tensor, sizes: int) -> Tensor:
    """Sum over the halved sizes 1 to `sizes` - 1 of L1 times 1/4, 1/8, 1/16, ... of pictures [H, W, 3].

    The full size, whose weight is 1, is the image loss's own.
    """
    difference, total = (image - target).permute(2, 0, 1)[None], image.new_zeros(())
    for size in range(1, sizes):
        if min(difference.shape[-2:]) < 2:
            break
        difference = F.avg_pool2d(difference, 2)
        total = total + difference.abs().mean() / 2 ** (size + 1)
    return total


def pooled(values: Tensor, factor: int) -> Tensor:
    """Means [h, w, ...] over squares of `factor` pixels of [factor h, factor w, ...]."""
    flat = values.reshape(*values.shape[:2], -1).permute(2, 0, 1)[None]
    return (
        F.avg_pool2d(flat, factor)[0]
        .permute(1, 2, 0)
        .reshape(values.shape[0] // factor, values.shape[1] // factor, *values.shape[2:])
    )
