"""Kernel maps: for every slot of a kernel, the pairs of input and output rows that it joins.

Every kind of convolution here finds, for a voxel of one set, the voxel `position * scale + offset[slot]` of another.
With the sets in sorted order these targets ascend too, slot by slot, so that a map is a row of merges.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor

from ... import _native
from ...scene.errors import BadInputError
from . import reference_search
from .coordinates import PACKINGS, Axes, CoordinateSet


@dataclass(frozen=True)
class Search:
    """The place where a slot of the kernel looks: position * scale + offsets[axis][slot of that axis]."""

    scale: Axes
    offsets: tuple[tuple[int, ...], ...]  # [axes]

    def __post_init__(self) -> None:
        reach = max(abs(offset) for axis in self.offsets for offset in axis)
        most = PACKINGS[len(self.offsets)].reach
        if reach > most:
            raise BadInputError(f"The kernel looks {reach} cells away; {most} at most can be held.")

    @property
    def volume(self) -> int:
        return math.prod(len(axis) for axis in self.offsets)

    def slots(self) -> list[Axes]:
        """The offset of each slot, the first axis slowest."""
        return list(product(*self.offsets))


Pairs = tuple[Tensor, Tensor, tuple[int, ...]]


class KernelMap:
    """Pairs of input and output rows, slot by slot; on the CPU also in the tiles that the native kernels run over.

    `symmetric`: slot k holds the pairs of slot K - 1 - k with the roles swapped, as in a submanifold convolution.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        volume: int,
        pairs: Pairs | None = None,
        tiles: _native.SparseMap | None = None,
        symmetric: bool = False,
    ) -> None:
        self.n_in, self.n_out, self.volume, self.symmetric = n_in, n_out, volume, symmetric
        self._pairs = pairs
        self._tiles = tiles
        self._transposed: KernelMap | None = None
        self._counts: Tensor | None = None
        self.padded: tuple[Tensor, Tensor] | None = None  # the pairs as a GPU's products take them, once made

    @property
    def n_pairs(self) -> int:
        return self._tiles.n_pairs if self._tiles is not None else self.pairs()[2][-1]

    @property
    def tiles(self) -> _native.SparseMap:
        """The pairs by tiles of the output (maps of sets on the CPU)."""
        assert self._tiles is not None
        return self._tiles

    def pairs(self) -> Pairs:
        """Input rows [P], output rows [P] (int64), and where each slot begins [K + 1]."""
        if self._pairs is None:
            in_rows, out_rows = torch.empty(2, self.tiles.n_pairs, dtype=torch.int64).unbind(0)
            start = torch.empty(self.volume + 1, dtype=torch.int64)
            self.tiles.write_pairs(in_rows.numpy(), out_rows.numpy(), start.numpy())
            self._pairs = in_rows, out_rows, tuple(start.tolist())
        return self._pairs

    def slot(self, k: int) -> tuple[Tensor, Tensor]:
        """The input and output rows of slot `k`."""
        in_rows, out_rows, start = self.pairs()
        return in_rows[start[k] : start[k + 1]], out_rows[start[k] : start[k + 1]]

    def counts(self) -> Tensor:
        """Inputs of each output, int64 [N_out], at least 1."""
        if self._counts is None:
            self._counts = self._count()
        return self._counts

    def _count(self) -> Tensor:
        out_rows = self.pairs()[1]
        counts = torch.zeros(self.n_out, dtype=torch.int64, device=out_rows.device)
        return counts.index_add_(0, out_rows, torch.ones_like(out_rows)).clamp(min=1)  # bincount waits for a GPU

    def transposed(self) -> KernelMap:
        """The same pairs with the roles of input and output swapped, each in its slot (an inverse convolution)."""
        if self._transposed is None:
            if self._tiles is not None:
                made = KernelMap(self.n_out, self.n_in, self.volume, tiles=self._tiles.transposed())
            else:
                in_rows, out_rows, start = self.pairs()
                made = KernelMap(self.n_out, self.n_in, self.volume, (out_rows, in_rows, start))
            self._transposed = made
        return self._transposed


def build_map(out_set: CoordinateSet, in_set: CoordinateSet, search: Search, symmetric: bool = False) -> KernelMap:
    """The map whose output voxel at p takes input from p * scale + offset."""
    if out_set.is_native:
        found = _native.SparseMap(out_set.voxels(), in_set.voxels(), search.scale, search.offsets)
        return KernelMap(len(in_set), len(out_set), search.volume, tiles=found, symmetric=symmetric)
    out_rows, in_rows, start = reference_search.find_pairs(out_set, in_set, search.scale, search.slots())
    tiles = None
    if out_set.indices.is_cpu:  # four axes: found in plain PyTorch, multiplied by the native kernels
        rows = in_rows.numpy(), out_rows.numpy(), np.array(start, dtype=np.int64)
        tiles = _native.SparseMap.of_pairs(*rows, len(in_set), len(out_set))
    return KernelMap(len(in_set), len(out_set), search.volume, (in_rows, out_rows, start), tiles, symmetric)


def build_scattering_map(in_set: CoordinateSet, out_set: CoordinateSet, search: Search) -> KernelMap:
    """The map whose input voxel at p gives to the output at p * scale + offset."""
    return build_map(in_set, out_set, search).transposed()


def strided_set(voxels: CoordinateSet, search: Search, shape: Axes) -> CoordinateSet:
    """The outputs inside `shape` for which output * scale + offset is present."""
    if voxels.is_native:
        made = voxels.voxels().strided(search.scale, search.offsets, shape)
        return CoordinateSet.of_voxels(made, voxels.batch_size, shape, voxels.stride)
    keys = reference_search.strided_keys(voxels, search.scale, search.slots(), shape)
    return CoordinateSet.of_keys(keys, voxels.batch_size, shape, voxels.stride)


def scattered_set(voxels: CoordinateSet, search: Search, shape: Axes | None, stride: Axes) -> CoordinateSet:
    """All position * scale + offset, those inside `shape` where it is given."""
    if voxels.is_native:
        made = voxels.voxels().scattered(search.scale, search.offsets, shape)
        return CoordinateSet.of_voxels(made, voxels.batch_size, shape, stride)
    keys = reference_search.scattered_keys(voxels, search.scale, search.slots(), shape)
    return CoordinateSet.of_keys(keys, voxels.batch_size, shape, stride)


def floored_set(voxels: CoordinateSet, step: Axes) -> CoordinateSet:
    """The voxels at floor(c / step) step."""
    if voxels.is_native:
        return CoordinateSet.of_voxels(voxels.voxels().floored(step), voxels.batch_size, voxels.spatial_shape, step)
    return CoordinateSet.of_keys(
        reference_search.floored_keys(voxels, step), voxels.batch_size, voxels.spatial_shape, step
    )


# ---- which voxels a convolution looks at ----------------------------------------------------------------------------


def centred_offsets(kernel: int, step: int) -> tuple[int, ...]:
    """Odd kernels are centred; even ones look at 0 .. k - 1 (MinkowskiEngine)."""
    first = -(kernel // 2) if kernel % 2 else 0
    return tuple((first + k) * step for k in range(kernel))


def centred_search(kernel: Axes, step: Axes) -> Search:
    offsets = tuple(centred_offsets(k, s) for k, s in zip(kernel, step, strict=True))
    return Search((1,) * len(offsets), offsets)


def padded_search(kernel: Axes, stride: Axes, padding: Axes, dilation: Axes) -> Search:
    """spconv's and dense convolution's rule: in = out * stride - padding + slot * dilation."""
    offsets = tuple(tuple(k * d - p for k in range(n)) for n, p, d in zip(kernel, padding, dilation, strict=True))
    return Search(stride, offsets)


def strided_shape(shape: Axes, kernel: Axes, stride: Axes, padding: Axes, dilation: Axes) -> Axes:
    """Cells of the output grid: floor((n + 2 p - d (k - 1) - 1) / s) + 1."""
    cells = tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(shape, kernel, stride, padding, dilation, strict=True)
    )
    if min(cells) < 1:
        raise BadInputError(f"A kernel of {kernel} does not fit into a grid of {shape} cells with padding {padding}.")
    return cells


# ---- the sets and maps of each kind of convolution, kept in the set they start from ---------------------------------


def submanifold_map(voxels: CoordinateSet, kernel: Axes, dilation: Axes) -> KernelMap:
    """Outputs are the inputs; odd kernels, centred, in steps of dilation * tensor stride."""
    if any(k % 2 == 0 for k in kernel):
        raise BadInputError(f"A submanifold convolution has an odd kernel, but {kernel} was given.")
    step = _times(dilation, voxels.stride)
    search = centred_search(kernel, step)
    return voxels.cached(("submanifold", search), lambda: build_map(voxels, voxels, search, symmetric=True))


def spconv_strided(
    voxels: CoordinateSet, kernel: Axes, stride: Axes, padding: Axes, dilation: Axes
) -> tuple[CoordinateSet, KernelMap]:
    """Outputs wherever at least one input contributes, on the contracted grid (spconv's rule)."""
    if voxels.spatial_shape is None:
        raise BadInputError("spconv's strided rule needs a tensor with a spatial shape; this one has no bounds.")
    shape = strided_shape(voxels.spatial_shape, kernel, stride, padding, dilation)
    search = padded_search(kernel, stride, padding, dilation)

    def build() -> tuple[CoordinateSet, KernelMap]:
        out = strided_set(voxels, search, shape)
        return out, build_map(out, voxels, search)

    return voxels.cached(("spconv", search), build)


def minkowski_strided(
    voxels: CoordinateSet, kernel: Axes, stride: Axes, dilation: Axes
) -> tuple[CoordinateSet, KernelMap]:
    """Outputs at floor(c / s) s of the inputs, s the new tensor stride (MinkowskiEngine's rule)."""
    out = minkowski_coarser(voxels, stride)
    search = centred_search(kernel, _times(dilation, voxels.stride))
    return out, voxels.cached(("minkowski", stride, search), lambda: build_map(out, voxels, search))


def minkowski_coarser(voxels: CoordinateSet, stride: Axes) -> CoordinateSet:
    """The voxels of the `stride` times coarser tensor stride that hold any of these."""
    if set(stride) == {1}:
        return voxels
    step = _times(voxels.stride, stride)

    return voxels.cached(("coarser", step), lambda: floored_set(voxels, step))


def generative_map(voxels: CoordinateSet, kernel: Axes, stride: Axes) -> tuple[CoordinateSet, KernelMap]:
    """Every input gives to all voxels under the kernel at the `stride` times finer tensor stride (MinkowskiEngine)."""
    if any(t % s for t, s in zip(voxels.stride, stride, strict=True)):
        raise BadInputError(f"The tensor stride {voxels.stride} cannot be divided by the stride {stride}.")
    if voxels.spatial_shape is not None:
        raise BadInputError("A generative convolution makes voxels anywhere, but this tensor has a spatial shape.")
    finer = tuple(t // s for t, s in zip(voxels.stride, stride, strict=True))
    search = centred_search(kernel, finer)
    limit = voxels.packing.coordinate_limit

    def build() -> tuple[CoordinateSet, KernelMap]:
        out = scattered_set(voxels, search, None, finer)
        if len(out) and int(out.indices[:, 1:].abs().max()) >= limit:
            raise BadInputError(f"The convolution makes voxels beyond {limit}, which cannot be held.")
        return out, build_scattering_map(voxels, out, search)

    return voxels.cached(("generative", stride, search), build)


def onto_map(voxels: CoordinateSet, kernel: Axes, out: CoordinateSet) -> KernelMap:
    """Every input gives to those of the voxels `out`, of a finer tensor stride, that lie under its kernel."""
    if voxels.batch_size != out.batch_size or any(a % b for a, b in zip(voxels.stride, out.stride, strict=True)):
        raise BadInputError(
            f"The tensor has stride {voxels.stride} and {voxels.batch_size} batch items, the voxels asked for "
            f"{out.stride} and {out.batch_size}; expected a stride that divides it, and as many items."
        )
    search = centred_search(kernel, out.stride)
    return out.cached(("onto", voxels, search), lambda: build_scattering_map(voxels, out, search))


def spconv_transposed(
    voxels: CoordinateSet, kernel: Axes, stride: Axes, padding: Axes, dilation: Axes, output_padding: Axes
) -> tuple[CoordinateSet, KernelMap]:
    """Every input gives to in * stride - padding + slot * dilation inside the grid (dense conv_transpose3d's rule)."""
    if voxels.spatial_shape is None:
        raise BadInputError("spconv's transposed rule needs a tensor with a spatial shape; this one has no bounds.")
    cells = tuple(
        (n - 1) * s - 2 * p + d * (k - 1) + e + 1
        for n, k, s, p, d, e in zip(
            voxels.spatial_shape, kernel, stride, padding, dilation, output_padding, strict=True
        )
    )
    limit = voxels.packing.coordinate_limit
    if max(cells) > limit:
        raise BadInputError(f"The convolution makes a grid of {cells} cells; {limit} an axis can be held.")
    search = padded_search(kernel, stride, padding, dilation)

    def build() -> tuple[CoordinateSet, KernelMap]:
        out = scattered_set(voxels, search, cells, voxels.stride)
        return out, build_scattering_map(voxels, out, search)

    return voxels.cached(("transposed", search, cells), build)


def _times(a: Axes, b: Axes) -> Axes:
    return tuple(x * y for x, y in zip(a, b, strict=True))
