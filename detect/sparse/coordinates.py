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

# A voxel as one integer that sorts like (batch, z, y, x): 9 bits of batch, then 18 bits an axis with an offset.
AXIS_BITS = 18
PACK_LIMIT = 1 << (AXIS_BITS - 1)  # what fits, [-limit, limit)
REACH_LIMIT = 1 << 12  # how far a kernel may look
COORDINATE_LIMIT = PACK_LIMIT - REACH_LIMIT  # voxels lie in [-limit, limit), so that their neighbours fit
BATCH_LIMIT = 1 << 9
_AXIS_MASK = (1 << AXIS_BITS) - 1

Triple = tuple[int, int, int]
_T = TypeVar("_T")


class DuplicateVoxelError(BadInputError):
    """Two rows name the same voxel, so that results would depend on the order of the rows."""


def triple(value: int | Sequence[int], ndim: int = 3, rest: int = 1) -> Triple:
    """One number for all axes, or one for each of `ndim`, as three: the axes that are not there come first, `rest`."""
    numbers = (value,) * ndim if isinstance(value, int) else tuple(int(v) for v in value)
    if len(numbers) != ndim:
        raise BadInputError(
            f"Found {len(numbers)} numbers ({numbers}) where one or {ndim}, one an axis, were expected."
        )
    a, b, c = (rest,) * (3 - ndim) + numbers
    return a, b, c


def embedded(indices: Tensor, ndim: int) -> Tensor:
    """Voxels [N, 1 + ndim] of one, two or three axes as [N, 4]: the axes that are not there come first, all 0."""
    if not 1 <= ndim <= 3:
        raise BadInputError(f"Voxels of {ndim} axes were given; sparse tensors here have one, two or three.")
    if indices.ndim != 2 or indices.shape[1] != 1 + ndim:
        raise BadInputError(
            f"Voxel indices are {list(indices.shape)}; expected [N, {1 + ndim}], the batch item and {ndim} axes."
        )
    if ndim == 3:
        return indices
    return torch.cat([indices[:, :1], indices.new_zeros(len(indices), 3 - ndim), indices[:, 1:]], dim=1)


def pack(indices: Tensor) -> Tensor:
    """Voxels [N, 4] (batch and three axes) as int64 [N] that sort row by row."""
    batch, a, b, c = indices.long().unbind(1)
    key = (batch << AXIS_BITS) | (a + PACK_LIMIT)
    key = (key << AXIS_BITS) | (b + PACK_LIMIT)
    return (key << AXIS_BITS) | (c + PACK_LIMIT)


def unpack(keys: Tensor) -> Tensor:
    """The voxels [N, 4] int32 that `keys` [N] were packed from."""
    axes = [((keys >> shift) & _AXIS_MASK) - PACK_LIMIT for shift in (2 * AXIS_BITS, AXIS_BITS, 0)]
    return torch.stack([keys >> (3 * AXIS_BITS), *axes], dim=1).int()


@dataclass(frozen=True, eq=False)
class CoordinateSet:
    """Unique voxels `indices` [N, 4] int32: the batch item, then three axes, slowest first (spconv: z, y, x).

    `spatial_shape` bounds the axes to [0, n), or is None for a set without bounds, where coordinates may be negative
    and are multiples of `stride` (MinkowskiEngine's tensor stride). Build sets that come from outside with `checked`.
    """

    indices: Tensor
    batch_size: int
    spatial_shape: Triple | None = None
    stride: Triple = (1, 1, 1)
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
        if not 1 <= batch_size <= BATCH_LIMIT:
            raise BadInputError(f"The batch size is {batch_size}; expected 1 to {BATCH_LIMIT}.")
        shape = None if spatial_shape is None else triple(spatial_shape, ndim)
        step = triple(stride, ndim)
        _check_ranges(indices, batch_size, shape, step, ndim)
        made = CoordinateSet(indices.int().contiguous(), batch_size, shape, step)
        made._refuse_duplicates()
        return made

    @staticmethod
    def of_voxels(
        voxels: _native.VoxelSet, batch_size: int, spatial_shape: Triple | None, stride: Triple
    ) -> CoordinateSet:
        """The set that a native kernel made."""
        indices = torch.empty(len(voxels), 4, dtype=torch.int32)
        voxels.write_indices(indices.numpy())
        return CoordinateSet(indices, batch_size, spatial_shape, stride, {"voxels": voxels})

    @staticmethod
    def of_keys(keys: Tensor, batch_size: int, spatial_shape: Triple | None, stride: Triple) -> CoordinateSet:
        """The set of packed voxels `keys` [N], ascending and unique."""
        return CoordinateSet(unpack(keys), batch_size, spatial_shape, stride, {"sorted": (keys, None)})

    def _refuse_duplicates(self) -> None:
        keys, _ = self.sorted_keys()
        twice = (keys[1:] == keys[:-1]).nonzero()
        if len(twice):
            where = unpack(keys[twice[0]])[0].tolist()
            raise DuplicateVoxelError(
                f"The voxel {where[1:]} of batch item {where[0]} is named more than once ({len(twice)} repeats in all);"
                " merge the points of a voxel before building the tensor."
            )

    def __len__(self) -> int:
        return len(self.indices)

    def sorted_keys(self) -> tuple[Tensor, Tensor | None]:
        """Packed voxels int64 [N] in ascending order, and the row int64 [N] of each (None: the rows are in order)."""

        def build() -> tuple[Tensor, Tensor | None]:
            if self.indices.is_cpu:
                return _sorted_keys_of(self.voxels())
            return torch.sort(pack(self.indices))  # to ask whether it is sorted already would wait for the GPU

        return self.cached("sorted", build)

    def voxels(self) -> _native.VoxelSet:
        """The set as the native kernels take it (a set on the CPU)."""
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


def _check_ranges(indices: Tensor, batch_size: int, shape: Triple | None, stride: Triple, ndim: int) -> None:
    if len(indices) == 0:
        return
    low, high = torch.stack(indices.aminmax(dim=0)).tolist()
    if low[0] < 0 or high[0] >= batch_size:
        raise BadInputError(
            f"Batch items {low[0]} to {high[0]} are named in the voxel indices, but the batch size is {batch_size}."
        )
    for axis in range(3 - ndim, 3):
        name = f"spatial axis {axis - 3 + ndim}"
        least, most = low[axis + 1], high[axis + 1]
        if shape is not None and (least < 0 or most >= shape[axis]):
            raise BadInputError(f"Voxels lie at {least} to {most} on {name}, outside the grid of {shape[axis]} cells.")
        if least < -COORDINATE_LIMIT or most >= COORDINATE_LIMIT:
            raise BadInputError(
                f"Voxels lie at {least} to {most} on {name}; coordinates from {-COORDINATE_LIMIT} to "
                f"{COORDINATE_LIMIT - 1} can be held, so use larger voxels."
            )
        if stride[axis] > 1 and bool((indices[:, axis + 1] % stride[axis] != 0).any()):
            raise BadInputError(f"Some voxels are no multiples of the tensor stride {stride[axis]} on {name}.")
