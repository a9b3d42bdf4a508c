"""Sets of voxels: the cells of a grid that are present, and the row of the features in which each one lies.

A set never changes after it was made, and kernel maps are kept inside the set they start from. Two layers that work on
one set therefore share one map, and a set made by pruning or striding can never meet the maps of another.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from ... import _native
from ...scene.errors import BadInputError


@dataclass(frozen=True)
class Packing:
    """A voxel as one integer below 2^63 that sorts like (batch, first axis, ..., last), each axis with an offset."""

    axis_bits: int
    batch_bits: int
    reach: int  # how far a kernel may look

    @property
    def limit(self) -> int:
        """Axes of [-limit, limit) fit."""
        return 1 << (self.axis_bits - 1)

    @property
    def coordinate_limit(self) -> int:
        """Voxels lie in [-coordinate_limit, coordinate_limit), so that their neighbours fit."""
        return self.limit - self.reach

    @property
    def batch_limit(self) -> int:
        return 1 << self.batch_bits


PACKINGS = {3: Packing(18, 9, 1 << 12), 4: Packing(14, 7, 1 << 9)}  # by axes; the first is that of the native kernels

Axes = tuple[int, ...]  # one number an axis: three, or four
_T = TypeVar("_T")


class DuplicateVoxelError(BadInputError):
    """Two rows name the same voxel, so that results would depend on the order of the rows."""


def per_axis(value: int | Sequence[int], ndim: int = 3, rest: int = 1) -> Axes:
    """One number for all axes, or one for each of `ndim`; fewer than three are preceded by `rest` for those missing."""
    numbers = (value,) * ndim if isinstance(value, int) else tuple(int(v) for v in value)
    if len(numbers) != ndim:
        raise BadInputError(
            f"Found {len(numbers)} numbers ({numbers}) where one or {ndim}, one an axis, were expected."
        )
    return (rest,) * (3 - ndim) + numbers


def embedded(indices: Tensor, ndim: int) -> Tensor:
    """Voxels [N, 1 + ndim] of one to four axes as [N, 4] or [N, 5]: axes missing to three come first, all 0."""
    if not 1 <= ndim <= 4:
        raise BadInputError(f"Voxels of {ndim} axes were given; sparse tensors here have one to four.")
    if indices.ndim != 2 or indices.shape[1] != 1 + ndim:
        raise BadInputError(
            f"Voxel indices are {list(indices.shape)}; expected [N, {1 + ndim}], the batch item and {ndim} axes."
        )
    if ndim >= 3:
        return indices
    return torch.cat([indices[:, :1], indices.new_zeros(len(indices), 3 - ndim), indices[:, 1:]], dim=1)


def pack(indices: Tensor) -> Tensor:
    """Voxels [N, 4] or [N, 5] (batch and three or four axes) as int64 [N] that sort row by row."""
    packing = PACKINGS[indices.shape[1] - 1]
    key, *axes = indices.long().unbind(1)
    for axis in axes:
        key = (key << packing.axis_bits) | (axis + packing.limit)
    return key


def unpack(keys: Tensor, axes: int = 3) -> Tensor:
    """The voxels [N, 1 + axes] int32 that `keys` [N] were packed from."""
    bits, limit = PACKINGS[axes].axis_bits, PACKINGS[axes].limit
    parts = [((keys >> axis * bits) & (2 * limit - 1)) - limit for axis in reversed(range(axes))]
    return torch.stack([keys >> axes * bits, *parts], dim=1).int()


@dataclass(frozen=True, eq=False)
class CoordinateSet:
    """Unique voxels `indices` [N, 4] int32: the batch item, then three axes, slowest first (spconv: z, y, x).

    Four axes are [N, 5]; one or two are held as three, and only three have native searches.

    `spatial_shape` bounds the axes to [0, n), or is None for a set without bounds, where coordinates may be negative
    and are multiples of `stride` (MinkowskiEngine's tensor stride). Build sets that come from outside with `checked`.
    """

    indices: Tensor
    batch_size: int
    spatial_shape: Axes | None = None
    stride: Axes = (1, 1, 1)  # as many as axes
    cache: dict[Hashable, object] = field(default_factory=dict, repr=False)

    @staticmethod
    def checked(
        indices: Tensor,
        batch_size: int,
        spatial_shape: Sequence[int] | None,
        stride: int | Sequence[int] = 1,
        ndim: int = 3,
    ) -> CoordinateSet:
        """The set of `indices` [N, 1 + ndim]; raises BadInputError, DuplicateVoxelError for a voxel named twice."""
        indices = embedded(indices, ndim)
        if indices.dtype not in (torch.int32, torch.int64):
            raise BadInputError(f"Voxel indices are {indices.dtype}; expected int32.")
        most = PACKINGS[indices.shape[1] - 1].batch_limit
        if not 1 <= batch_size <= most:
            raise BadInputError(f"The batch size is {batch_size}; expected 1 to {most} of {ndim} axes.")
        shape = None if spatial_shape is None else per_axis(spatial_shape, ndim)
        step = per_axis(stride, ndim)
        _check_ranges(indices, batch_size, shape, step, ndim)
        made = CoordinateSet(indices.int().contiguous(), batch_size, shape, step)
        made._refuse_duplicates()
        return made

    @staticmethod
    def of_voxels(voxels: _native.VoxelSet, batch_size: int, spatial_shape: Axes | None, stride: Axes) -> CoordinateSet:
        """The set that a native kernel made."""
        indices = torch.empty(len(voxels), 4, dtype=torch.int32)
        voxels.write_indices(indices.numpy())
        return CoordinateSet(indices, batch_size, spatial_shape, stride, {"voxels": voxels})

    @staticmethod
    def of_keys(keys: Tensor, batch_size: int, spatial_shape: Axes | None, stride: Axes) -> CoordinateSet:
        """The set of packed voxels `keys` [N], ascending and unique."""
        return CoordinateSet(unpack(keys, len(stride)), batch_size, spatial_shape, stride, {"sorted": (keys, None)})

    def _refuse_duplicates(self) -> None:
        keys, _ = self.sorted_keys()
        twice = (keys[1:] == keys[:-1]).nonzero()
        if len(twice):
            where = unpack(keys[twice[0]], self.axes)[0].tolist()
            raise DuplicateVoxelError(
                f"The voxel {where[1:]} of batch item {where[0]} is named more than once ({len(twice)} repeats in all);"
                " merge the points of a voxel before building the tensor."
            )

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def axes(self) -> int:
        """Three, or four; fewer are held as three."""
        return self.indices.shape[1] - 1

    @property
    def packing(self) -> Packing:
        return PACKINGS[self.axes]

    @property
    def is_native(self) -> bool:
        """True where the native kernels search in this set: three axes, on the CPU."""
        return self.indices.is_cpu and self.axes == 3

    def sorted_keys(self) -> tuple[Tensor, Tensor | None]:
        """Packed voxels int64 [N] in ascending order, and the row int64 [N] of each (None: the rows are in order)."""

        def build() -> tuple[Tensor, Tensor | None]:
            if self.is_native:
                return _sorted_keys_of(self.voxels())
            return torch.sort(pack(self.indices))  # to ask whether it is sorted already would wait for the GPU

        return self.cached("sorted", build)

    def voxels(self) -> _native.VoxelSet:
        """The set as the native kernels take it (where `is_native` holds)."""
        return self.cached("voxels", lambda: _native.VoxelSet(self.indices.numpy()))

    def cached(self, key: Hashable, build: Callable[[], _T]) -> _T:
        """The value that `build` gave the first time that `key` was asked for."""
        if key not in self.cache:
            self.cache[key] = build()
        return self.cache[key]  # type: ignore[return-value]

    def batch_rows(self) -> list[Tensor]:
        """The rows int64 [n_b] of each item of the batch, ascending."""
        return [(self.indices[:, 0] == b).nonzero()[:, 0] for b in range(self.batch_size)]


def _sorted_keys_of(voxels: _native.VoxelSet) -> tuple[Tensor, Tensor | None]:
    keys = torch.empty(len(voxels), dtype=torch.int64)
    order = None if voxels.in_order else torch.empty(len(voxels), dtype=torch.int64)
    voxels.write_sorted(keys.numpy(), None if order is None else order.numpy())
    return keys, order


def _check_ranges(indices: Tensor, batch_size: int, shape: Axes | None, stride: Axes, ndim: int) -> None:
    if len(indices) == 0:
        return
    low, high = torch.stack(indices.aminmax(dim=0)).tolist()
    if low[0] < 0 or high[0] >= batch_size:
        raise BadInputError(
            f"Batch items {low[0]} to {high[0]} are named in the voxel indices, but the batch size is {batch_size}."
        )
    axes = indices.shape[1] - 1
    limit = PACKINGS[axes].coordinate_limit
    for axis in range(axes - ndim, axes):
        name = f"spatial axis {axis - axes + ndim}"
        least, most = low[axis + 1], high[axis + 1]
        if shape is not None and (least < 0 or most >= shape[axis]):
            raise BadInputError(f"Voxels lie at {least} to {most} on {name}, outside the grid of {shape[axis]} cells.")
        if least < -limit or most >= limit:
            raise BadInputError(
                f"Voxels lie at {least} to {most} on {name}; coordinates from {-limit} to {limit - 1} can be held, "
                "so use larger voxels."
            )
        if stride[axis] > 1 and bool((indices[:, axis + 1] % stride[axis] != 0).any()):
            raise BadInputError(f"Some voxels are no multiples of the tensor stride {stride[axis]} on {name}.")
