"""Searches among voxels in plain PyTorch: the reference implementation of the native ones, and the way on a GPU.

Voxels are packed into sorted keys, which a binary search finds. All slots of a kernel are searched at once, so that a
GPU is waited for once a map: for the number of its pairs.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from .coordinates import PACKINGS, Axes, CoordinateSet, pack

AT_ONCE = 1 << 25  # places that are searched together; larger maps are found in parts
NOWHERE = -1  # below every packed voxel


def find_pairs(
    query: CoordinateSet, searched: CoordinateSet, scale: Axes, offsets: Sequence[Axes]
) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """Rows [P] of `query` and of `searched` where position * scale + offset is present, and where each slot begins."""
    keys, rows = searched.sorted_keys()
    _, query_order = query.sorted_keys()
    here = query.indices if query_order is None else query.indices[query_order]
    query_rows, found_rows, start = [], [], [0]
    for some in _parts(offsets, len(here)):
        target, inside = _moved(here, scale, some, None)  # [k, N]
        if len(keys) == 0:
            start += [start[-1]] * len(some)
            continue
        at = torch.searchsorted(keys, target).clamp(max=len(keys) - 1)
        hit = inside & (keys[at] == target)
        ends = hit.sum(1).cumsum(0).tolist()  # the one wait
        # The place of each hit in slots' order; all others go to one place behind the last.
        place = torch.where(hit.flatten(), hit.flatten().cumsum(0) - 1, ends[-1])
        source = torch.empty(ends[-1] + 1, dtype=torch.int64, device=place.device)
        source[place] = torch.arange(len(place), device=place.device)
        source = source[:-1]
        ours, theirs = source % len(here), at.flatten()[source]
        query_rows.append(ours if query_order is None else query_order[ours])
        found_rows.append(theirs if rows is None else rows[theirs])
        start += [start[-1] + end for end in ends]
    nothing = here.new_zeros(0, dtype=torch.int64)
    return torch.cat([nothing, *query_rows]), torch.cat([nothing, *found_rows]), tuple(start)


def strided_keys(voxels: CoordinateSet, scale: Axes, offsets: Sequence[Axes], shape: Axes) -> Tensor:
    """Packed voxels, ascending and unique, of the outputs in `shape` for which output * scale + offset is present."""
    found = []
    for some in _parts(offsets, len(voxels)):
        moved = (
            voxels.indices[None, :, 1:].long() - on_device(tuple(some), voxels.indices.device)[:, None]
        )  # [k, N, axes]
        axes = [torch.div(moved[..., axis], scale[axis], rounding_mode="floor") for axis in range(len(scale))]
        fits = _all_of([(out * s == moved[..., i]) & (out >= 0) & (out < shape[i])
                        for i, (out, s) in enumerate(zip(axes, scale, strict=True))])  # fmt: skip
        found.append(_unique_packed(voxels.indices[:, 0], axes, fits))
    return found[0] if len(found) == 1 else torch.unique(torch.cat(found))


def scattered_keys(voxels: CoordinateSet, scale: Axes, offsets: Sequence[Axes], shape: Axes | None) -> Tensor:
    """Packed voxels, ascending and unique, of all position * scale + offset, those inside `shape` where it is given."""
    found = []
    for some in _parts(offsets, len(voxels)):
        target, inside = _moved(voxels.indices, scale, some, shape)
        found.append(_unique(torch.where(inside, target, NOWHERE)))
    return found[0] if len(found) == 1 else torch.unique(torch.cat(found))


def floored_keys(voxels: CoordinateSet, step: Axes) -> Tensor:
    """Packed voxels, ascending and unique, at floor(c / step) step."""
    axes = [torch.div(voxels.indices[:, i + 1].long(), s, rounding_mode="floor") * s for i, s in enumerate(step)]
    return torch.unique(pack(torch.stack([voxels.indices[:, 0].long(), *axes], dim=1)))


@functools.lru_cache(maxsize=1024)
def on_device(values: tuple[Axes, ...] | Axes, device: torch.device) -> Tensor:
    """A kernel's numbers as int64 on the device, copied there once."""
    return torch.tensor(values, dtype=torch.int64, device=device)


def _parts(offsets: Sequence[Axes], count: int) -> list[Sequence[Axes]]:
    """The slots in groups of at most AT_ONCE places with `count` voxels each; one at least."""
    size = max(1, AT_ONCE // max(count, 1))
    return [offsets[i : i + size] for i in range(0, len(offsets), size)]


def _moved(indices: Tensor, scale: Axes, offsets: Sequence[Axes], shape: Axes | None) -> tuple[Tensor, Tensor]:
    """Voxels [N, 1 + axes] at position * scale + offset, packed [k, N], and which lie in `shape`, or can be packed."""
    count, limit = len(scale), PACKINGS[len(scale)].limit
    steps = on_device(tuple(offsets), indices.device)  # [k, axes]
    axes = [indices[:, i + 1].long() * scale[i] + steps[:, i, None] for i in range(count)]
    low, high = ((-limit,) * count, (limit,) * count) if shape is None else ((0,) * count, shape)
    inside = _all_of([(axis >= low[i]) & (axis < high[i]) for i, axis in enumerate(axes)])
    return _packed(indices[:, 0], axes), inside


def _packed(batch: Tensor, axes: Sequence[Tensor]) -> Tensor:
    """Packed voxels [k, N] of batch items [N] and the coordinates [k, N] of each axis."""
    rows = torch.stack([batch.long().expand_as(axes[0]), *axes], dim=-1)
    return pack(rows.flatten(0, -2)).view(axes[0].shape)


def _unique_packed(batch: Tensor, axes: Sequence[Tensor], fits: Tensor) -> Tensor:
    # What does not fit may not even be packable; it becomes the one key below all others.
    inside = [torch.where(fits, axis, 0) for axis in axes]
    return _unique(torch.where(fits, _packed(batch, inside), NOWHERE))


def _unique(keys: Tensor) -> Tensor:
    """The keys [...] but NOWHERE, ascending and each once; one wait on a GPU, for their number."""
    return torch.unique(torch.cat([keys.new_full((1,), NOWHERE), keys.flatten()]))[1:]


def _all_of(conditions: Sequence[Tensor]) -> Tensor:
    return functools.reduce(torch.logical_and, conditions)
