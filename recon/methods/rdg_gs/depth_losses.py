"""Losses between a rendered depth map and a prior that is right up to scale and offset.

All of them stay as they are when either map is scaled or shifted, but for `absolute_loss`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

FAR_OFFSET = 0.1  # of the largest disparity: the released code adds 200 to MiDaS' numbers, which reach about 2000
WHOLE_TILE = 0.5  # share of a tile's pixels that have to count
FLAT = 1e-3  # of the map's spread: a tile of the prior that varies less has no shape to compare


def correlation_loss(
    a: Tensor,  # [M]
    b: Tensor,  # [M]
) -> Tensor:
    """1 - Pearson's correlation, a scalar in [0, 2]; 1 where one of the two does not vary."""
    a, b = a - a.mean(), b - b.mean()
    scale = a.square().sum() * b.square().sum()
    return 1 - (a * b).sum() / scale.clamp_min(1e-30).sqrt()


def released_correlation_loss(
    depth: Tensor,  # [M] rendered z
    disparity: Tensor,  # [M] >= 0, relative inverse depth
) -> Tensor:
    """The loss of FSGS's released code: z against -m or against 1 / (m + offset), whichever it fits better."""
    far = disparity + FAR_OFFSET * disparity.max().clamp_min(1e-12)
    return torch.minimum(correlation_loss(depth, -disparity), correlation_loss(depth, 1 / far))


def local_correlation_loss(
    a: Tensor,  # [H, W]
    prior: Tensor,  # [H, W]
    mask: Tensor,  # [H, W] bool
    side: int,  # of the tiles, pixels
    offset: tuple[int, int],  # of the first tile from the upper left corner, less than a side
) -> Tensor:
    """Mean of 1 - Pearson's correlation over tiles, a scalar; 0 where no tile counts.

    Tiles count where half of their pixels do and the prior is not flat.
    """
    height, width = (a.shape[k] - offset[k] - (a.shape[k] - offset[k]) % side for k in (0, 1))
    if height <= 0 or width <= 0:
        return a.sum() * 0
    x, y, m = (_tiles(t, side, offset, height, width) for t in (a, prior, mask.to(a.dtype)))
    count = m.sum(1).clamp_min(1)
    x = (x - ((x * m).sum(1) / count)[:, None]) * m
    y = (y - ((y * m).sum(1) / count)[:, None]) * m
    counts = (m.mean(1) >= WHOLE_TILE) & ((y.square().sum(1) / count).sqrt() > FLAT * prior[mask].std())
    if not bool(counts.any()):
        return a.sum() * 0
    x, y = x[counts], y[counts]
    scale = x.square().sum(1) * y.square().sum(1)
    return (1 - (x * y).sum(1) / scale.clamp_min(1e-30).sqrt()).mean()


def edge_loss(
    a: Tensor,  # [H, W]
    prior: Tensor,  # [H, W]
    edges: Tensor,  # [H, W] bool, pixels at edges of the photograph
) -> Tensor:
    """Mean absolute difference of the gradients of both maps, each in units of its own spread, at edges of the picture.

    A scalar; 0 where there is no edge.
    """
    right, down = edges[:-1, :-1] & edges[:-1, 1:], edges[:-1, :-1] & edges[1:, :-1]
    count = right.sum() + down.sum()
    if int(count) == 0:
        return a.sum() * 0
    x, y = (t / t[edges].std().clamp_min(1e-12) for t in (a, prior))
    off = x - y
    across = (off[:-1, 1:] - off[:-1, :-1]).abs() * right
    along = (off[1:, :-1] - off[:-1, :-1]).abs() * down
    return (across.sum() + along.sum()) / count


def absolute_loss(
    a: Tensor,  # [M]
    prior: Tensor,  # [M]
) -> Tensor:
    """Mean absolute difference in units of the prior's spread, a scalar: what relative guidance does without."""
    return (a - prior).abs().mean() / prior.std().clamp_min(1e-12)


def picture_edges(rgb: Tensor, share: float = 0.1) -> Tensor:
    """bool [H, W]: the `share` of a picture [H, W, 3] where colours change most from pixel to pixel."""
    padded = F.pad(rgb.permute(2, 0, 1)[None], (0, 1, 0, 1), mode="replicate")[0]
    change = (padded[:, :-1, 1:] - padded[:, :-1, :-1]).abs().amax(0)
    change = change + (padded[:, 1:, :-1] - padded[:, :-1, :-1]).abs().amax(0)
    order = change.flatten().sort().values
    return (change > 0) & (change >= order[int((1 - share) * (len(order) - 1))])


def _tiles(values: Tensor, side: int, offset: tuple[int, int], height: int, width: int) -> Tensor:
    """[T, side * side] of a map [H, W]."""
    part = values[offset[0] : offset[0] + height, offset[1] : offset[1] + width]
    return part.reshape(height // side, side, width // side, side).transpose(1, 2).reshape(-1, side * side)
