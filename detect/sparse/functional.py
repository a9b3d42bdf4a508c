"""Operators on sparse tensors. Weights are [Cout, k0, k1, k2, Cin] (spconv 2), the first spatial axis slowest.

Tensors of one, two or four axes have weights with as many sizes; those of one or two are tensors of three inside, with
axes of one cell.

`rule` of a strided operator: "spconv" puts outputs wherever the kernel reaches an input, on a contracted grid;
"minkowski" puts them at floor(c / s) s without contracting. Weights trained with one are not valid with the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ...scene.errors import BadInputError
from . import kernel_map as maps
from . import kernels
from .coordinates import Axes, CoordinateSet, pack, per_axis
from .kernel_map import KernelMap
from .tensor import SavedMap, SparseConvTensor

Rule = Literal["spconv", "minkowski"]
Size = int | Sequence[int]


def submanifold_conv(
    x: SparseConvTensor, weight: Tensor, bias: Tensor | None = None, dilation: Size = 1
) -> SparseConvTensor:
    """Convolution whose outputs are the voxels of the input; the kernel is odd and centred."""
    kernel = _kernel_of(weight, x)
    if set(kernel) == {1}:
        return pointwise_conv(x, weight, bias)
    found = maps.submanifold_map(x.coordinates, kernel, per_axis(dilation, x.ndim))
    return x.replace_feature(_convolve(x.features, weight, bias, found))


def pointwise_conv(x: SparseConvTensor, weight: Tensor, bias: Tensor | None = None) -> SparseConvTensor:
    """The 1 x 1 x 1 convolution, a matrix product."""
    return x.replace_feature(F.linear(x.features, weight.reshape(weight.shape[0], -1), bias))


def strided_conv(
    x: SparseConvTensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
    rule: Rule = "spconv",
    indice_key: str | None = None,
) -> SparseConvTensor:
    """Convolution onto a new set of voxels by one of the two rules; `indice_key` saves the map for `inverse_conv`."""
    kernel = _kernel_of(weight, x)
    out, found = _strided(x, kernel, stride, padding, dilation, rule)
    saved = _saved(x, indice_key, SavedMap(x.coordinates, out, kernel, found))
    return x.with_voxels(_convolve(x.features, weight, bias, found), out, saved)


def inverse_conv(x: SparseConvTensor, weight: Tensor, bias: Tensor | None, indice_key: str) -> SparseConvTensor:
    """Undoes the set of the strided convolution that was saved under `indice_key`: its pairs with the roles swapped."""
    saved = x.indice_dict.get(indice_key)
    if saved is None:
        raise BadInputError(
            f"No strided convolution before this one has the indice_key '{indice_key}'; "
            f"there are: {', '.join(sorted(x.indice_dict)) or 'none'}."
        )
    if saved.coarse is not x.coordinates:
        raise BadInputError(f"The tensor's voxels are not those that the convolution with key '{indice_key}' made.")
    if _kernel_of(weight, x) != saved.kernel:
        raise BadInputError(f"The convolution with key '{indice_key}' has the kernel {saved.kernel}, not this one.")
    features = _convolve(x.features, weight, bias, saved.kernel_map.transposed())
    return x.with_voxels(features, saved.fine)


def generative_conv(
    x: SparseConvTensor, weight: Tensor, bias: Tensor | None = None, stride: Size = 2
) -> SparseConvTensor:
    """Transposed convolution that makes voxels: all those under the kernel at the finer tensor stride."""
    out, found = maps.generative_map(x.coordinates, _kernel_of(weight, x), per_axis(stride, x.ndim))
    return x.with_voxels(_convolve(x.features, weight, bias, found), out)


def transposed_conv_onto(
    x: SparseConvTensor, weight: Tensor, bias: Tensor | None, coordinates: CoordinateSet
) -> SparseConvTensor:
    """Transposed convolution onto given voxels of a finer tensor stride, those of a skip connection for one.

    MinkowskiEngine's rule: an input gives to the voxels under the kernel at the finer stride, odd kernels centred.
    """
    found = maps.onto_map(x.coordinates, _kernel_of(weight, x), coordinates)
    return x.with_voxels(_convolve(x.features, weight, bias, found), coordinates)


def transposed_conv(
    x: SparseConvTensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
    output_padding: Size = 0,
) -> SparseConvTensor:
    """Transposed convolution on a bounded grid, with outputs wherever an input reaches (spconv's rule)."""
    kernel = _kernel_of(weight, x)
    n = x.ndim
    sizes = per_axis(stride, n), per_axis(padding, n, 0), per_axis(dilation, n), per_axis(output_padding, n, 0)
    out, found = maps.spconv_transposed(x.coordinates, kernel, *sizes)
    return x.with_voxels(_convolve(x.features, weight, bias, found), out)


def max_pool(
    x: SparseConvTensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    rule: Rule = "spconv",
    indice_key: str | None = None,
) -> SparseConvTensor:
    """The largest present input under the kernel; the gradient goes to the first slot that holds it."""
    return _pool(kernels.max_pool, x, kernel_size, stride, padding, dilation, rule, indice_key)


def avg_pool(
    x: SparseConvTensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    rule: Rule = "spconv",
    indice_key: str | None = None,
) -> SparseConvTensor:
    """The mean of the present inputs under the kernel."""
    return _pool(kernels.avg_pool, x, kernel_size, stride, padding, dilation, rule, indice_key)


def prune(x: SparseConvTensor, keep: Tensor) -> SparseConvTensor:
    """Only the voxels where `keep` [N] bool holds; a new set, so that no map of the old one is used."""
    if keep.dtype != torch.bool or keep.shape != (len(x),):
        raise BadInputError(
            f"The mask is {keep.dtype} {list(keep.shape)}; expected bool [{len(x)}], one for each voxel."
        )
    return x.select_by_index(keep)


def union_add(a: SparseConvTensor, b: SparseConvTensor) -> SparseConvTensor:
    """The sum `a + b` over all voxels of either tensor, absent ones as 0, in sorted order; on one set, row by row."""
    return a + b


def find_rows(voxels: CoordinateSet, indices: Tensor) -> Tensor:
    """The row int64 [M] of each voxel of `indices` [M, 1 + axes] in the set, -1 where it is absent."""
    keys, rows = voxels.sorted_keys()
    wanted = pack(indices)
    if len(keys) == 0:
        return torch.full_like(wanted, -1)
    at = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
    axes, limit = indices[:, 1:], voxels.packing.limit
    present = (keys[at] == wanted) & ((axes >= -limit) & (axes < limit)).all(1)
    return torch.where(present, at if rows is None else rows[at], -1)


def interpolate(x: SparseConvTensor, points: Tensor) -> Tensor:
    """Trilinear interpolation at `points` [M, 4] (batch item, three real coordinates) -> [M, C].

    Coordinates are in the units of the indices; the lattice is that of the tensor stride. Absent corners count as 0 and
    weights are not renormalised, as in MinkowskiEngine. Gradients go to the features.
    """
    if x.ndim != 3:
        raise BadInputError(f"Interpolation is trilinear, but the tensor has {x.ndim} axes; expected three.")
    if points.ndim != 2 or points.shape[1] != 4:
        raise BadInputError(f"Points are {list(points.shape)}; expected [M, 4], the batch item and three coordinates.")
    # Positions are compared with integers: float32 holds those within the limit exactly.
    position = points[:, 1:].detach() / torch.tensor(x.stride, dtype=points.dtype, device=points.device)
    lower = position.floor()
    part = position - lower
    step = torch.tensor(x.stride, device=points.device)
    out = x.features.new_zeros(len(points), x.features.shape[1])
    for corner in ((i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)):
        at = torch.tensor(corner, device=points.device)
        share = torch.where(at == 1, part, 1 - part).prod(1).to(x.features.dtype)
        voxel = (lower.long() + at) * step
        rows = find_rows(x.coordinates, torch.cat([points[:, :1].long(), voxel], dim=1))
        hit = (rows >= 0).nonzero()[:, 0]
        out = out.index_add(0, hit, x.features[rows[hit]] * share[hit, None])
    return out


def global_max_pool(x: SparseConvTensor) -> Tensor:
    """The largest feature of each batch item, [B, C]; 0 where an item has no voxels."""
    return torch.stack([x.features[rows].amax(0) if len(rows) else _nothing(x) for rows in x.batch_rows()])


def global_avg_pool(x: SparseConvTensor) -> Tensor:
    """The mean feature of each batch item, [B, C]; 0 where an item has no voxels."""
    return torch.stack([x.features[rows].mean(0) if len(rows) else _nothing(x) for rows in x.batch_rows()])


def instance_norm(
    x: SparseConvTensor,
    weight: Tensor | None = None,  # [C]
    bias: Tensor | None = None,  # [C]
    epsilon: float = 1e-5,
) -> SparseConvTensor:
    """Every channel of every batch item with mean 0 and variance 1 over its voxels, then scaled and shifted."""
    item = x.coordinates.indices[:, 0].long()
    count = torch.bincount(item, minlength=x.batch_size).clamp(min=1)[:, None]
    zeros = x.features.new_zeros(x.batch_size, x.features.shape[1])
    centred = x.features - (zeros.index_add(0, item, x.features) / count)[item]
    variance = zeros.index_add(0, item, centred.square()) / count
    normed = centred * torch.rsqrt(variance + epsilon)[item]
    normed = normed if weight is None else normed * weight
    return x.replace_feature(normed if bias is None else normed + bias)


def _nothing(x: SparseConvTensor) -> Tensor:
    return x.features.sum(0) * 0  # keeps the gradient's path where all items are empty


def _pool(
    kernel_function: Callable[[Tensor, KernelMap], Tensor],
    x: SparseConvTensor,
    kernel_size: Size,
    stride: Size | None,
    padding: Size,
    dilation: Size,
    rule: Rule,
    indice_key: str | None,
) -> SparseConvTensor:
    kernel = per_axis(kernel_size, x.ndim)
    out, found = _strided(x, kernel, kernel_size if stride is None else stride, padding, dilation, rule)
    saved = _saved(x, indice_key, SavedMap(x.coordinates, out, kernel, found))
    return x.with_voxels(kernel_function(x.features, found), out, saved)


def _saved(x: SparseConvTensor, indice_key: str | None, saved: SavedMap) -> dict[str, SavedMap]:
    return x.indice_dict if indice_key is None else {**x.indice_dict, indice_key: saved}


def _strided(
    x: SparseConvTensor, kernel: Axes, stride: Size, padding: Size, dilation: Size, rule: Rule
) -> tuple[CoordinateSet, KernelMap]:
    voxels, steps, apart = x.coordinates, per_axis(stride, x.ndim), per_axis(dilation, x.ndim)
    if rule == "spconv":
        return maps.spconv_strided(voxels, kernel, steps, per_axis(padding, x.ndim, 0), apart)
    if rule != "minkowski":
        raise BadInputError(f"The strided rule '{rule}' is unknown; expected 'spconv' or 'minkowski'.")
    if any(per_axis(padding, x.ndim, 0)):
        raise BadInputError("MinkowskiEngine's strided rule has no padding.")
    return maps.minkowski_strided(voxels, kernel, steps, apart)


def _convolve(features: Tensor, weight: Tensor, bias: Tensor | None, found: KernelMap) -> Tensor:
    return kernels.convolve(features, weight.reshape(weight.shape[0], found.volume, weight.shape[-1]), bias, found)


def _kernel_of(weight: Tensor, x: SparseConvTensor) -> Axes:
    if weight.ndim != x.ndim + 2 or weight.shape[-1] != x.features.shape[1]:
        raise BadInputError(
            f"The weight is {list(weight.shape)} and the tensor has {x.features.shape[1]} channels and {x.ndim} axes; "
            "expected [Cout, one size an axis, Cin]."
        )
    return per_axis(weight.shape[1:-1], x.ndim)
