"""The sparse tensor: features in the voxels that are present, with spconv 2's name and fields."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...scene.errors import BadInputError
from .coordinates import Axes, CoordinateSet, pack, per_axis
from .kernel_map import KernelMap


@dataclass(frozen=True, eq=False)
class SavedMap:
    """Sets and map that a strided convolution leaves under its `indice_key` for the inverse one."""

    fine: CoordinateSet
    coarse: CoordinateSet
    kernel: Axes
    kernel_map: KernelMap


class SparseConvTensor:
    """Features [N, C] at voxels `indices` [N, 4] int32 (batch, z, y, x) of a grid of `spatial_shape` (D, H, W) cells.

    One, two or four axes do as well: [N, 2] of (L,), [N, 3] of (H, W), [N, 5] of (T, D, H, W). spconv's arguments
    `grid`, `voxel_num`, `benchmark` and the rest are taken and have no effect.
    `spatial_shape` None: a set without bounds, as MinkowskiEngine has it; coordinates may be negative and are multiples
    of the tensor `stride`. Columns may then mean (batch, x, y, z): the first spatial axis is the slowest of a kernel.
    A voxel that is named twice raises DuplicateVoxelError, a wrong shape or range BadInputError.
    """

    def __init__(
        self,
        features: Tensor,  # [N, C]
        indices: Tensor,  # [N, 4] int32
        spatial_shape: Sequence[int] | None,
        batch_size: int,
        grid: object = None,
        voxel_num: object = None,
        indice_dict: dict[str, SavedMap] | None = None,
        benchmark: bool = False,
        permanent_thrust_allocator: bool = False,
        enable_timer: bool = False,
        force_algo: object = None,
        *,
        stride: int | Sequence[int] = 1,
    ) -> None:
        ndim = indices.shape[-1] - 1 if spatial_shape is None else len(spatial_shape)
        self._set(features, CoordinateSet.checked(indices, batch_size, spatial_shape, stride, ndim), indice_dict, ndim)

    @classmethod
    def at(
        cls,
        features: Tensor,
        coordinates: CoordinateSet,
        indice_dict: dict[str, SavedMap] | None = None,
        ndim: int = 3,
    ) -> SparseConvTensor:
        """Features [N, C] at the voxels of a set that is there already; its maps are shared."""
        made = cls.__new__(cls)
        made._set(features, coordinates, indice_dict, ndim)
        return made

    @classmethod
    def from_dense(cls, x: Tensor) -> SparseConvTensor:
        """The cells of `x` [B, *spatial, C] (channels last) in which any channel is not 0, in order; differentiable."""
        if not 3 <= x.ndim <= 6:
            raise BadInputError(f"The dense tensor is {list(x.shape)}; expected [B, *spatial, C] of one to four axes.")
        present = (x.detach() != 0).any(-1).nonzero()
        return cls(x[tuple(present.unbind(1))], present.int(), x.shape[1:-1], len(x))

    def _set(
        self, features: Tensor, coordinates: CoordinateSet, indice_dict: dict[str, SavedMap] | None, ndim: int
    ) -> None:
        if features.ndim != 2 or len(features) != len(coordinates):
            raise BadInputError(
                f"Features are {list(features.shape)}, but there are {len(coordinates)} voxels; expected [N, C]."
            )
        if features.device != coordinates.indices.device:
            raise BadInputError(
                f"Features are on {features.device}, but the voxel indices on {coordinates.indices.device}; "
                "move both to one device."
            )
        self.features = features
        self.coordinates = coordinates
        self.ndim = ndim
        self.indice_dict: dict[str, SavedMap] = {} if indice_dict is None else indice_dict

    @property
    def indices(self) -> Tensor:
        """Voxels [N, 1 + ndim] int32."""
        voxels = self.coordinates.indices
        return voxels if self.ndim >= 3 else torch.cat([voxels[:, :1], voxels[:, -self.ndim :]], dim=1)

    @property
    def batch_size(self) -> int:
        return self.coordinates.batch_size

    @property
    def spatial_shape(self) -> list[int] | None:
        shape = self.coordinates.spatial_shape
        return None if shape is None else list(shape[-self.ndim :])

    @property
    def stride(self) -> tuple[int, ...]:
        return self.coordinates.stride[-self.ndim :]

    def __len__(self) -> int:
        return len(self.features)

    def __repr__(self) -> str:
        n, channels = self.features.shape
        return (
            f"SparseConvTensor({n} voxels, {channels} channels, batch_size={self.batch_size}, "
            f"spatial_shape={self.spatial_shape}, stride={self.stride}, {self.features.dtype})"
        )

    def replace_feature(self, feature: Tensor) -> SparseConvTensor:
        """The same voxels with other features [N, C']; maps are shared."""
        return self.with_voxels(feature, self.coordinates)

    def with_voxels(
        self, features: Tensor, coordinates: CoordinateSet, indice_dict: dict[str, SavedMap] | None = None
    ) -> SparseConvTensor:
        """The tensor that a layer makes of this one: features [M, C] at other voxels; saved maps go along."""
        saved = self.indice_dict if indice_dict is None else indice_dict
        return SparseConvTensor.at(features, coordinates, saved, self.ndim)

    def select_by_index(self, valid_indices: Tensor) -> SparseConvTensor:
        """Only the rows `valid_indices` (int64 [M], or bool [N]); a new set, so that no map of the old one is used."""
        old = self.coordinates
        kept = CoordinateSet(old.indices[valid_indices], old.batch_size, old.spatial_shape, old.stride)
        return self.with_voxels(self.features[valid_indices], kept, {})

    def batch_rows(self) -> list[Tensor]:
        """The rows int64 [n_b] of each item of the batch, ascending."""
        return self.coordinates.batch_rows()

    def dense(
        self, channels_first: bool = True, shape: Sequence[int] | None = None, origin: int | Sequence[int] = 0
    ) -> Tensor:
        """[B, C, *spatial] (or [B, *spatial, C]) with zeros elsewhere.

        A tensor without bounds needs the `shape` in cells of its stride and where the first cell lies, `origin`.
        """
        cells = self.coordinates.spatial_shape if shape is None else per_axis(shape, self.ndim)
        if cells is None:
            raise BadInputError("A sparse tensor without a spatial shape needs the shape of the dense one.")
        indices = self.coordinates.indices.long()
        step = torch.tensor(self.coordinates.stride, device=indices.device)
        first = torch.tensor(per_axis(origin, self.ndim, 0), device=indices.device)
        at = torch.div(indices[:, 1:] - first, step, rounding_mode="floor")
        if len(at) and bool(((at < 0) | (at >= torch.tensor(cells, device=at.device))).any()):
            raise BadInputError(f"Some voxels lie outside the dense grid of {cells} cells from {origin}.")
        flat = indices[:, 0]
        for axis, count in enumerate(cells):
            flat = flat * count + at[:, axis]
        rows = self.batch_size * math.prod(cells)
        out = self.features.new_zeros(rows, self.features.shape[1]).index_copy(0, flat, self.features)
        out = out.view(self.batch_size, *cells[-self.ndim :], self.features.shape[1])
        return out.movedim(-1, 1).contiguous() if channels_first else out

    def __add__(self, other: SparseConvTensor | Tensor) -> SparseConvTensor:
        """The sum over all voxels of either tensor, absent ones as 0, in sorted order; on equal rows, row by row.

        A plain tensor [N, C] or of a shape that broadcasts to it is added to the features.
        """
        if isinstance(other, Tensor):
            return self.replace_feature(self.features + other)
        if self.coordinates is other.coordinates or self._has_rows_of(other):
            return self.replace_feature(self.features + other.features)
        self._require_same_grid(other)
        channels = self.features.shape[1]
        if channels != other.features.shape[1]:
            raise BadInputError(f"Tensors of {channels} and {other.features.shape[1]} channels cannot be added.")
        keys = torch.cat([pack(self.coordinates.indices), pack(other.coordinates.indices)])
        union, row = torch.unique(keys, return_inverse=True)
        features = self.features.new_zeros(len(union), channels).index_add(0, row[: len(self)], self.features)
        features = features.index_add(0, row[len(self) :], other.features)
        mine = self.coordinates
        found = CoordinateSet.of_keys(union, mine.batch_size, mine.spatial_shape, mine.stride)
        return self.with_voxels(features, found, {})

    __radd__ = __add__

    def _has_rows_of(self, other: SparseConvTensor) -> bool:
        a, b = self.coordinates, other.coordinates
        same_grid = (a.stride, a.spatial_shape, a.batch_size) == (b.stride, b.spatial_shape, b.batch_size)
        return same_grid and torch.equal(a.indices, b.indices)

    def _require_same_grid(self, other: SparseConvTensor) -> None:
        a, b = self.coordinates, other.coordinates
        if (a.stride, a.spatial_shape, a.batch_size) != (b.stride, b.spatial_shape, b.batch_size):
            raise BadInputError(
                f"Tensors of stride {a.stride}, shape {a.spatial_shape}, batch {a.batch_size} and "
                f"{b.stride}, {b.spatial_shape}, {b.batch_size} do not lie on one grid."
            )
