"""Searches among voxels in plain PyTorch: the reference implementation of the native ones, and the way on a GPU.

Voxels are packed into sorted keys, which a binary search finds.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .coordinates import PACKINGS, Axes, CoordinateSet, pack


def find_pairs(
    query: CoordinateSet, searched: CoordinateSet, scale: Axes, offsets: Sequence[Axes]
) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """Rows [P] of `query` and of `searched` where position * scale + offset is present, and where each slot begins."""
    keys, rows = searched.sorted_keys()
    _, query_order = query.sorted_keys()
    here = query.indices if query_order is None else query.indices[query_order]
    query_rows, found_rows, start = [], [], [0]
    for offset in offsets:
        target, inside = _moved(here, scale, offset, None)
        at = torch.searchsorted(keys, pack(target)).clamp(max=max(len(keys) - 1, 0))
        hit = (inside & (keys[at] == pack(target))).nonzero()[:, 0] if len(keys) else at[:0]
        query_rows.append(hit if query_order is None else query_order[hit])
        found_rows.append(at[hit] if rows is None else rows[at[hit]])
        start.append(start[-1] + len(hit))
    return torch.cat(query_rows), torch.cat(found_rows), tuple(start)


def strided_keys(voxels: CoordinateSet, scale: Axes, offsets: Sequence[Axes], shape: Axes) -> Tensor:
    """Packed voxels, ascending and unique, of the outputs in `shape` for which output * scale + offset is present."""
    steps = torch.tensor(scale, dtype=torch.int32, device=voxels.indices.device)
    keys = []
    for offset in offsets:
        moved = voxels.indices[:, 1:] - torch.tensor(offset, dtype=torch.int32, device=steps.device)
        out = torch.div(moved, steps, rounding_mode="floor")
        fits = (out * steps == moved).all(1) & (out >= 0).all(1)
        fits &= (out < torch.tensor(shape, device=steps.device)).all(1)
        keys.append(pack(torch.cat([voxels.indices[:, :1], out], dim=1)[fits]))
    return torch.unique(torch.cat(keys))


def scattered_keys(voxels: CoordinateSet, scale: Axes, offsets: Sequence[Axes], shape: Axes | None) -> Tensor:
    """Packed voxels, ascending and unique, of all position * scale + offset, those inside `shape` where it is given."""
    keys = []
    for offset in offsets:
        target, inside = _moved(voxels.indices, scale, offset, shape)
        keys.append(pack(target[inside]))
    return torch.unique(torch.cat(keys))


def floored_keys(voxels: CoordinateSet, step: Axes) -> Tensor:
    """Packed voxels, ascending and unique, at floor(c / step) step."""
    steps = torch.tensor(step, dtype=torch.int32, device=voxels.indices.device)
    coarse = torch.div(voxels.indices[:, 1:], steps, rounding_mode="floor") * steps
    return torch.unique(pack(torch.cat([voxels.indices[:, :1], coarse], dim=1)))


def _moved(indices: Tensor, scale: Axes, offset: Axes, shape: Axes | None) -> tuple[Tensor, Tensor]:
    """Voxels [N, 1 + axes] at position * scale + offset, and which of them [N] lie inside `shape`, or can be packed."""
    steps = torch.tensor(scale, dtype=torch.int32, device=indices.device)
    target = indices[:, 1:] * steps + torch.tensor(offset, dtype=torch.int32, device=indices.device)
    if shape is None:
        limit = PACKINGS[len(scale)].limit
        inside = ((target >= -limit) & (target < limit)).all(1)
    else:
        inside = ((target >= 0) & (target < torch.tensor(shape, device=indices.device))).all(1)
    return torch.cat([indices[:, :1], target], dim=1), inside
