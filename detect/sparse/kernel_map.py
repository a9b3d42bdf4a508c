"""Kernel maps: for every slot of a kernel, which input row contributes to which output row.

Every kind of convolution here finds, for a voxel of one set, the voxel `position * scale + offset[slot]` of another. With
the sets in sorted order these targets ascend too, slot by slot, so that a map is a row of merges.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product

import torch
from torch import Tensor

from ...scene.errors import BadInputError
from . import reference
from .coordinates import CoordinateSet, Triple, unpack


@dataclass(frozen=True)
class Search:
    """Where a slot of the kernel looks: position * scale + offsets[axis][slot of that axis]."""

    scale: Triple
    offsets: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]

    @property
    def volume(self) -> int:
        return len(self.offsets[0]) * len(self.offsets[1]) * len(self.offsets[2])

    def slots(self) -> list[Triple]:
        """The offset of each slot, the first axis slowest."""
        return list(product(*self.offsets))


@dataclass(frozen=True, eq=False)
class KernelMap:
    """Pairs of input and output rows, slot by slot.

    `in_rows` and `out_rows` [P] int64, of slot k at [slot_start[k], slot_start[k + 1]), ascending in the sorted order of
    the output set. `symmetric`: slot k holds the pairs of slot K - 1 - k with the roles swapped, as in a submanifold
    convolution.
    """

    n_in: int
    n_out: int
    in_rows: Tensor
    out_rows: Tensor
    slot_start: tuple[int, ...]
    symmetric: bool = False
    cache: dict[str, KernelMap] = field(default_factory=dict, repr=False)

    @property
    def volume(self) -> int:
        return len(self.slot_start) - 1

    @property
    def n_pairs(self) -> int:
        return self.slot_start[-1]

    def slot(self, k: int) -> tuple[Tensor, Tensor]:
        """The input and output rows of slot `k`."""
        span = slice(self.slot_start[k], self.slot_start[k + 1])
        return self.in_rows[span], self.out_rows[span]

    def transposed(self) -> KernelMap:
        """The same pairs with the roles of input and output swapped, each in its slot (an inverse convolution)."""
        if "transposed" not in self.cache:
            self.cache["transposed"] = KernelMap(
                self.n_out, self.n_in, self.out_rows, self.in_rows, self.slot_start, self.symmetric, {}
            )
        return self.cache["transposed"]


def build_map(out_set: CoordinateSet, in_set: CoordinateSet, search: Search, symmetric: bool = False) -> KernelMap:
    """The map whose output voxel at p takes input from p * scale + offset."""
    out_rows, in_rows, start = reference.find_pairs(out_set, in_set, search.scale, search.slots())
    return KernelMap(len(in_set), len(out_set), in_rows, out_rows, start, symmetric)


def build_scattering_map(in_set: CoordinateSet, out_set: CoordinateSet, search: Search) -> KernelMap:
    """The map whose input voxel at p gives to the output at p * scale + offset."""
    in_rows, out_rows, start = reference.find_pairs(in_set, out_set, search.scale, search.slots())
    return KernelMap(len(in_set), len(out_set), in_rows, out_rows, start)


# ---- which voxels a convolution looks at ----------------------------------------------------------------------------


def centred_offsets(kernel: int, step: int) -> tuple[int, ...]:
    """Odd kernels are centred; even ones look at 0 .. k - 1 (MinkowskiEngine)."""
    first = -(kernel // 2) if kernel % 2 else 0
    return tuple((first + k) * step for k in range(kernel))


def centred_search(kernel: Triple, step: Triple) -> Search:
    a, b, c = (centred_offsets(k, s) for k, s in zip(kernel, step, strict=True))
    return Search((1, 1, 1), (a, b, c))


def padded_search(kernel: Triple, stride: Triple, padding: Triple, dilation: Triple) -> Search:
    """spconv's and dense convolution's rule: in = out * stride - padding + slot * dilation."""
    a, b, c = (
        tuple(k * d - p for k in range(n)) for n, p, d in zip(kernel, padding, dilation, strict=True)
    )  # fmt: skip
    return Search(stride, (a, b, c))


def strided_shape(shape: Triple, kernel: Triple, stride: Triple, padding: Triple, dilation: Triple) -> Triple:
    """Cells of the output grid: floor((n + 2 p - d (k - 1) - 1) / s) + 1."""
    a, b, c = (
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(shape, kernel, stride, padding, dilation, strict=True)
    )
    if min(a, b, c) < 1:
        raise BadInputError(f"A kernel of {kernel} does not fit into a grid of {shape} cells with padding {padding}.")
    return a, b, c


# ---- the sets and maps of each kind of convolution, kept in the set they start from ---------------------------------


def submanifold_map(voxels: CoordinateSet, kernel: Triple, dilation: Triple) -> KernelMap:
    """Outputs are the inputs; odd kernels, centred, in steps of dilation * tensor stride."""
    if any(k % 2 == 0 for k in kernel):
        raise BadInputError(f"A submanifold convolution has an odd kernel, but {kernel} was given.")
    step = _times(dilation, voxels.stride)
    search = centred_search(kernel, step)
    return voxels.cached(("submanifold", search), lambda: build_map(voxels, voxels, search, symmetric=True))


def spconv_strided(
    voxels: CoordinateSet, kernel: Triple, stride: Triple, padding: Triple, dilation: Triple
) -> tuple[CoordinateSet, KernelMap]:
    """Outputs wherever at least one input contributes, on the contracted grid (spconv's rule)."""
    if voxels.spatial_shape is None:
        raise BadInputError("spconv's strided rule needs a tensor with a spatial shape; this one has no bounds.")
    shape = strided_shape(voxels.spatial_shape, kernel, stride, padding, dilation)
    search = padded_search(kernel, stride, padding, dilation)

    def build() -> tuple[CoordinateSet, KernelMap]:
        keys = reference.strided_keys(voxels, search.scale, search.slots(), shape)
        out = _from_keys(keys, voxels.batch_size, shape, voxels.stride)
        return out, build_map(out, voxels, search)

    return voxels.cached(("spconv", search), build)


def minkowski_strided(
    voxels: CoordinateSet, kernel: Triple, stride: Triple, dilation: Triple
) -> tuple[CoordinateSet, KernelMap]:
    """Outputs at floor(c / s) s of the inputs, s the new tensor stride (MinkowskiEngine's rule)."""
    out = minkowski_coarser(voxels, stride)
    search = centred_search(kernel, _times(dilation, voxels.stride))
    return out, voxels.cached(("minkowski", stride, search), lambda: build_map(out, voxels, search))


def minkowski_coarser(voxels: CoordinateSet, stride: Triple) -> CoordinateSet:
    """The voxels of the `stride` times coarser tensor stride that hold any of these."""
    if stride == (1, 1, 1):
        return voxels
    step = _times(voxels.stride, stride)

    def build() -> CoordinateSet:
        return _from_keys(reference.floored_keys(voxels, step), voxels.batch_size, voxels.spatial_shape, step)

    return voxels.cached(("coarser", step), build)


def generative_map(voxels: CoordinateSet, kernel: Triple, stride: Triple) -> tuple[CoordinateSet, KernelMap]:
    """Every input gives to all voxels under the kernel at the `stride` times finer tensor stride (MinkowskiEngine)."""
    if any(t % s for t, s in zip(voxels.stride, stride, strict=True)):
        raise BadInputError(f"The tensor stride {voxels.stride} cannot be divided by the stride {stride}.")
    if voxels.spatial_shape is not None:
        raise BadInputError("A generative convolution makes voxels anywhere, but this tensor has a spatial shape.")
    a, b, c = (t // s for t, s in zip(voxels.stride, stride, strict=True))
    search = centred_search(kernel, (a, b, c))

    def build() -> tuple[CoordinateSet, KernelMap]:
        out = _from_keys(
            reference.scattered_keys(voxels, search.scale, search.slots(), None), voxels.batch_size, None, (a, b, c)
        )
        return out, build_scattering_map(voxels, out, search)

    return voxels.cached(("generative", stride, search), build)


def spconv_transposed(
    voxels: CoordinateSet, kernel: Triple, stride: Triple, padding: Triple, dilation: Triple, output_padding: Triple
) -> tuple[CoordinateSet, KernelMap]:
    """Every input gives to out = in * stride - padding + slot * dilation inside the grid (dense conv_transpose3d's rule)."""
    if voxels.spatial_shape is None:
        raise BadInputError("spconv's transposed rule needs a tensor with a spatial shape; this one has no bounds.")
    a, b, c = (
        (n - 1) * s - 2 * p + d * (k - 1) + e + 1
        for n, k, s, p, d, e in zip(
            voxels.spatial_shape, kernel, stride, padding, dilation, output_padding, strict=True
        )
    )
    search = padded_search(kernel, stride, padding, dilation)

    def build() -> tuple[CoordinateSet, KernelMap]:
        keys = reference.scattered_keys(voxels, search.scale, search.slots(), (a, b, c))
        out = _from_keys(keys, voxels.batch_size, (a, b, c), voxels.stride)
        return out, build_scattering_map(voxels, out, search)

    return voxels.cached(("transposed", search, (a, b, c)), build)


def _times(a: Triple, b: Triple) -> Triple:
    return a[0] * b[0], a[1] * b[1], a[2] * b[2]


def _from_keys(keys: Tensor, batch_size: int, shape: Triple | None, stride: Triple) -> CoordinateSet:
    made = CoordinateSet(unpack(keys), batch_size, shape, stride)
    made.cache["sorted"] = (keys, None)
    return made
