"""The sparse tensor: features in the voxels that are present, with spconv 2's name and fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...scene.errors import BadInputError
from .coordinates import CoordinateSet, Triple, pack, triple
from .kernel_map import KernelMap


@dataclass(frozen=True, eq=False)
class SavedMap:
    """Sets and map that a strided convolution leaves under its `indice_key` for the inverse one."""

    fine: CoordinateSet
    coarse: CoordinateSet
    kernel: Triple
    kernel_map: KernelMap


class SparseConvTensor:
    """Features [N, C] at voxels `indices` [N, 4] int32 (batch, z, y, x) of a grid of `spatial_shape` (D, H, W) cells.

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
        *,
        stride: int | Sequence[int] = 1,
        indice_dict: dict[str, SavedMap] | None = None,
    ) -> None:
        self._set(features, CoordinateSet.checked(indices, batch_size, spatial_shape, stride), indice_dict)

    @classmethod
    def at(
        cls, features: Tensor, coordinates: CoordinateSet, indice_dict: dict[str, SavedMap] | None = None
    ) -> SparseConvTensor:
        """Features [N, C] at the voxels of a set that is there already; its maps are shared."""
        made = cls.__new__(cls)
        made._set(features, coordinates, indice_dict)
        return made

    def _set(self, features: Tensor, coordinates: CoordinateSet, indice_dict: dict[str, SavedMap] | None) -> None:
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
        self.indice_dict: dict[str, SavedMap] = {} if indice_dict is None else indice_dict

    @property
    def indices(self) -> Tensor:
        return self.coordinates.indices

    @property
    def batch_size(self) -> int:
        return self.coordinates.batch_size

    @property
    def spatial_shape(self) -> list[int] | None:
        shape = self.coordinates.spatial_shape
        return None if shape is None else list(shape)

    @property
    def stride(self) -> Triple:
        return self.coordinates.stride

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
        return SparseConvTensor.at(feature, self.coordinates, self.indice_dict)

    def batch_rows(self) -> list[Tensor]:
        """The rows int64 [n_b] of each item of the batch, ascending."""
        return self.coordinates.batch_rows()

    def dense(
        self, channels_first: bool = True, shape: Sequence[int] | None = None, origin: Sequence[int] = (0, 0, 0)
    ) -> Tensor:
        """[B, C, D, H, W] (or [B, D, H, W, C]) with zeros elsewhere.

        A tensor without bounds needs the `shape` in cells of its stride and where the first cell lies, `origin`.
        """
        cells = self.coordinates.spatial_shape if shape is None else triple(shape)
        if cells is None:
            raise BadInputError("A sparse tensor without a spatial shape needs the shape of the dense one.")
        indices = self.indices.long()
        step = torch.tensor(self.stride, device=indices.device)
        at = torch.div(indices[:, 1:] - torch.tensor(origin, device=indices.device), step, rounding_mode="floor")
        if len(at) and bool(((at < 0) | (at >= torch.tensor(cells, device=at.device))).any()):
            raise BadInputError(f"Some voxels lie outside the dense grid of {cells} cells from {tuple(origin)}.")
        flat = ((indices[:, 0] * cells[0] + at[:, 0]) * cells[1] + at[:, 1]) * cells[2] + at[:, 2]
        rows = self.batch_size * cells[0] * cells[1] * cells[2]
        out = self.features.new_zeros(rows, self.features.shape[1]).index_copy(0, flat, self.features)
        out = out.view(self.batch_size, *cells, -1) if self.features.shape[1] else out.view(self.batch_size, *cells, 0)
        return out.permute(0, 4, 1, 2, 3).contiguous() if channels_first else out

    def __add__(self, other: SparseConvTensor) -> SparseConvTensor:
        """The sum over all voxels of either tensor, absent ones as 0, in sorted order; on one set, row by row."""
        if self.coordinates is other.coordinates:
            return self.replace_feature(self.features + other.features)
        self._require_same_grid(other)
        channels = self.features.shape[1]
        if channels != other.features.shape[1]:
            raise BadInputError(f"Tensors of {channels} and {other.features.shape[1]} channels cannot be added.")
        keys = torch.cat([pack(self.indices), pack(other.indices)])
        union, row = torch.unique(keys, return_inverse=True)
        features = self.features.new_zeros(len(union), channels).index_add(0, row[: len(self)], self.features)
        features = features.index_add(0, row[len(self) :], other.features)
        mine = self.coordinates
        found = CoordinateSet.of_keys(union, mine.batch_size, mine.spatial_shape, mine.stride)
        return SparseConvTensor.at(features, found)

    def _require_same_grid(self, other: SparseConvTensor) -> None:
        a, b = self.coordinates, other.coordinates
        if (a.stride, a.spatial_shape, a.batch_size) != (b.stride, b.spatial_shape, b.batch_size):
            raise BadInputError(
                f"Tensors of stride {a.stride}, shape {a.spatial_shape}, batch {a.batch_size} and "
                f"{b.stride}, {b.spatial_shape}, {b.batch_size} do not lie on one grid."
            )
