"""Sparse convolution against dense convolution and against its reference implementation, on every instruction set."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from fewview.detect import sparse
from fewview.detect.sparse import gpu, kernel_map, native_conv, reference_conv, reference_search
from fewview.detect.sparse.coordinates import CoordinateSet, per_axis
from fewview.detect.sparse.kernel_map import KernelMap, Search
from support.native import isa as isa
from support.rounding import assert_within, sum_error
from support.sparse_tensors import (
    as_dict,
    dense_weight,
    occupancy,
    random_sparse,
    random_unbounded,
    random_weight,
)
from support.sparse_tensors import same_layers as same_layers
from support.threads import one_torch_thread as one_torch_thread
from torch.nn import functional as F

CLOSE = {"rtol": 1e-5, "atol": 1e-5}  # float32 sums of up to 125 * 40 products of order 1, in another order
# Kernel, stride, padding and dilation: sizes 1, 2, 3 and 5, strides 1, 2 and 3, paddings that differ by axis.
GEOMETRIES = [
    (1, 1, 0, 1),
    (1, 2, 0, 1),
    (2, 2, 0, 1),
    (2, 1, 1, 2),
    (3, 1, 1, 1),
    (3, 2, 1, 1),
    (3, 2, (0, 1, 1), 1),
    (3, 3, (2, 0, 1), 1),
    (3, 1, (2, 1, 0), 2),
    (5, 2, 2, 1),
    (5, 3, (3, 2, 1), 1),
    ((3, 1, 1), (2, 1, 1), 0, 1),
]


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), GEOMETRIES)
def test_a_strided_convolution_is_the_dense_one_wherever_the_kernel_reaches(kernel, stride, padding, dilation) -> None:
    x = random_sparse()
    weight = random_weight(5, per_axis(kernel), 4)
    y = sparse.strided_conv(x, weight, None, stride, padding, dilation)
    geometry = stride, padding, dilation
    torch.testing.assert_close(y.dense(), F.conv3d(x.dense(), dense_weight(weight), None, *geometry), **CLOSE)
    reached = F.conv3d(occupancy(x), torch.ones(1, 1, *per_axis(kernel)), None, *geometry) > 0.5
    assert torch.equal(occupancy(y) > 0, reached)
    assert y.spatial_shape == list(reached.shape[2:])


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), GEOMETRIES)
def test_a_transposed_convolution_is_the_dense_one(kernel, stride, padding, dilation) -> None:
    x = random_sparse(density=0.05)
    layer = sparse.SparseConvTranspose3d(4, 5, kernel, stride, padding, dilation, bias=False)
    y = layer(x)
    dense = layer.weight.permute(4, 0, 1, 2, 3)
    expected = F.conv_transpose3d(x.dense(), dense, None, stride, padding, 0, 1, dilation)
    torch.testing.assert_close(y.dense(), expected, **CLOSE)
    ones = torch.ones(1, 1, *per_axis(kernel))
    reached = F.conv_transpose3d(occupancy(x), ones, None, stride, padding, 0, 1, dilation) > 0.5
    assert torch.equal(occupancy(y) > 0, reached)


@pytest.mark.parametrize("kernel", [1, 3, 5, (3, 1, 5)])
@pytest.mark.parametrize("dilation", [1, 2])
def test_a_submanifold_convolution_is_the_dense_one_where_voxels_are(kernel, dilation) -> None:
    x = random_sparse()
    weight, bias = random_weight(5, per_axis(kernel), 4), torch.arange(5.0)
    y = sparse.submanifold_conv(x, weight, bias, dilation)
    assert y.coordinates is x.coordinates
    padding = [dilation * (k // 2) for k in per_axis(kernel)]
    dense = F.conv3d(x.dense(), dense_weight(weight), bias, 1, padding, dilation)
    torch.testing.assert_close(y.dense(), dense * occupancy(x), **CLOSE)


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), GEOMETRIES)
def test_an_inverse_convolution_is_the_dense_transposed_one_on_the_saved_voxels(
    kernel, stride, padding, dilation
) -> None:
    x = random_sparse()
    down = sparse.SparseConv3d(4, 3, kernel, stride, padding, dilation, bias=False, indice_key="down")
    up = sparse.SparseInverseConv3d(3, 5, kernel, indice_key="down", bias=False)
    y = down(x)
    z = up(y)
    assert z.coordinates is x.coordinates
    geometry = [per_axis(v) for v in (kernel, stride, padding, dilation)]
    # What the strided size rounds off comes back as output padding.
    missing = [
        n - ((m - 1) * s - 2 * p + d * (k - 1) + 1)
        for n, m, k, s, p, d in zip(x.spatial_shape, y.spatial_shape, *geometry, strict=True)
    ]
    # The dense transposed kernel is [cin, cout, k0, k1, k2], with the slots as they are.
    dense = up.weight.permute(4, 0, 1, 2, 3)
    dense = F.conv_transpose3d(y.dense(), dense, None, stride, padding, missing, 1, dilation)
    torch.testing.assert_close(z.dense(), dense * occupancy(x), **CLOSE)


# Channels that fill vectors and panels and that do not: one vector, several, a part of one; groups of rows and rests.
@pytest.mark.parametrize(("cin", "cout"), [(1, 1), (5, 16), (16, 16), (7, 24), (33, 40), (12, 64), (20, 100), (3, 129)])
@pytest.mark.parametrize("kind", ["submanifold", "strided", "generative"])
def test_the_native_convolution_and_its_gradients_are_the_plain_ones(isa: str, cin: int, cout: int, kind: str) -> None:
    x = random_sparse((9, 9, 9), channels=cin) if kind != "generative" else random_unbounded(stride=2, channels=cin)
    made = {
        "submanifold": lambda: kernel_map.submanifold_map(x.coordinates, (3, 3, 3), (1, 1, 1)),
        "strided": lambda: kernel_map.spconv_strided(x.coordinates, (3, 3, 3), (2, 2, 2), (1, 1, 1), (1, 1, 1))[1],
        "generative": lambda: kernel_map.generative_map(x.coordinates, (3, 3, 3), (2, 2, 2))[1],
    }[kind]()
    generator = torch.Generator().manual_seed(cout)
    weight, bias = random_weight(cout, (27,), cin), torch.randn(cout, generator=generator)
    v_out = torch.randn(made.n_out, cout, generator=generator)
    results = []
    for convolve in (native_conv.convolve, lambda f, w, b, m: reference_conv.convolve(f, w, m) + b):
        inputs = [t.clone().requires_grad_() for t in (x.features, weight, bias)]
        out = convolve(*inputs, made)
        out.backward(v_out)
        results.append([out.detach(), *(t.grad for t in inputs)])
    for found, expected in zip(*results, strict=True):
        # n products of order 1 add up to sqrt(n), and are off by about sqrt(n) * 6e-8 of that: n is 3,500 at most.
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=4e-6 * max(1.0, float(expected.abs().max())))


@pytest.mark.parametrize("of_largest", [True, False])
@pytest.mark.parametrize("rule", ["spconv", "minkowski"])
def test_native_pooling_and_its_gradient_are_the_plain_ones(isa: str, of_largest: bool, rule: str) -> None:
    x = random_sparse(channels=19)
    x.features[::3] = 0.5  # equal ones, of which the first counts
    pad = (1, 1, 1)
    if rule == "spconv":
        _, made = kernel_map.spconv_strided(x.coordinates, (3, 3, 3), (2, 2, 2), pad, (1, 1, 1))
    else:
        _, made = kernel_map.minkowski_strided(x.coordinates, (2, 2, 2), (2, 2, 2), (1, 1, 1))
    v_out = torch.randn(made.n_out, 19, generator=torch.Generator().manual_seed(0))
    results = []
    for module in (native_conv, reference_conv):
        features = x.features.clone().requires_grad_()
        out = (module.max_pool if of_largest else module.avg_pool)(features, made)
        out.backward(v_out)
        results.append((out.detach(), features.grad))
    torch.testing.assert_close(results[0], results[1], rtol=1e-6, atol=1e-6)  # sums of at most 27


def test_max_pooling_is_the_dense_one_where_voxels_are() -> None:
    x = random_sparse(density=0.4)
    y = sparse.SparseMaxPool3d(3, 2, 1)(x)
    absent = x.dense() + torch.where(occupancy(x) > 0, 0.0, -1e9)
    expected = F.max_pool3d(absent, 3, 2, 1)
    assert torch.equal(y.dense(), torch.where(expected > -1e8, expected, 0))


def plain_pairs(found: KernelMap) -> set[tuple[int, int, int]]:
    in_rows, out_rows, start = found.pairs()
    slots = torch.repeat_interleave(torch.arange(found.volume), torch.tensor(start).diff())
    return set(zip(slots.tolist(), in_rows.tolist(), out_rows.tolist(), strict=True))


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("offsets", [(-1, 0, 1), (-2, 0, 2), (0, 1), (-1, 0, 1, 2, 3)])
def test_native_maps_are_the_plain_ones_and_those_of_a_dictionary(scale: int, offsets: tuple[int, ...]) -> None:
    asking, found = random_unbounded(seed=1).coordinates, random_unbounded(n=200, seed=2).coordinates
    search = Search(per_axis(scale), (offsets, offsets, (0, 1)))
    built = kernel_map.build_map(asking, found, search)
    out_rows, in_rows, start = reference_search.find_pairs(asking, found, search.scale, search.slots())
    expected = plain_pairs(KernelMap(len(found), len(asking), search.volume, (in_rows, out_rows, start)))
    assert plain_pairs(built) == expected
    assert {(k, i, o) for k, o, i in plain_pairs(built.transposed())} == expected
    rows = {tuple(where): row for row, where in enumerate(found.indices.tolist())}
    slow = set()
    for row, (batch, *where) in enumerate(asking.indices.tolist()):
        for k, offset in enumerate(product(offsets, offsets, (0, 1))):
            at = (batch, *(w * scale + o for w, o in zip(where, offset, strict=True)))
            if at in rows:
                slow.add((k, rows[at], row))
    assert plain_pairs(built) == slow


@pytest.mark.parametrize("kernel", [(3, 3, 3), (5, 1, 3), (1, 3, 5)])
@pytest.mark.parametrize("dilation", [1, 2])
def test_submanifold_maps_over_many_tiles_are_the_plain_ones(kernel: tuple[int, int, int], dilation: int) -> None:
    voxels = random_sparse((21, 20, 19), density=0.25, seed=dilation).coordinates  # 4,000 voxels: 16 tiles
    built = kernel_map.submanifold_map(voxels, kernel, per_axis(dilation))
    search = kernel_map.centred_search(kernel, per_axis(dilation))
    out_rows, in_rows, start = reference_search.find_pairs(voxels, voxels, search.scale, search.slots())
    expected = plain_pairs(KernelMap(len(voxels), len(voxels), search.volume, (in_rows, out_rows, start)))
    assert plain_pairs(built) == expected
    # The backward pass takes the map for its own transposed one, slots in reverse.
    assert {(search.volume - 1 - k, o, i) for k, i, o in expected} == expected


def test_native_sets_are_the_plain_ones() -> None:
    x = random_sparse().coordinates
    search = kernel_map.padded_search((3, 3, 3), (2, 2, 2), (0, 1, 1), (1, 1, 1))
    keys = reference_search.strided_keys(x, search.scale, search.slots(), (2, 4, 4))
    assert torch.equal(kernel_map.strided_set(x, search, (2, 4, 4)).sorted_keys()[0], keys)
    keys = reference_search.scattered_keys(x, search.scale, search.slots(), (11, 13, 15))
    assert torch.equal(kernel_map.scattered_set(x, search, (11, 13, 15), (1, 1, 1)).sorted_keys()[0], keys)
    x = random_unbounded().coordinates
    keys = reference_search.floored_keys(x, (3, 2, 4))
    assert torch.equal(kernel_map.floored_set(x, (3, 2, 4)).sorted_keys()[0], keys)
    keys = reference_search.scattered_keys(x, (1, 1, 1), search.slots(), None)
    assert torch.equal(
        kernel_map.scattered_set(x, Search((1, 1, 1), search.offsets), None, (1, 1, 1)).sorted_keys()[0], keys
    )


def test_a_plain_map_without_tiles_serves_every_operator_in_float64() -> None:
    """Another device has the same results from pairs that no native kernel made."""
    x = random_sparse(dtype=torch.float64)
    _, made = kernel_map.spconv_strided(x.coordinates, (3, 3, 3), (2, 2, 2), (1, 1, 1), (1, 1, 1))
    plain = KernelMap(made.n_in, made.n_out, made.volume, made.pairs())
    weight = random_weight(3, (27,), 4, dtype=torch.float64)
    assert torch.equal(
        reference_conv.convolve(x.features, weight, plain), reference_conv.convolve(x.features, weight, made)
    )
    back = reference_conv.convolve(torch.ones(made.n_out, 4).double(), weight, plain.transposed())
    torch.testing.assert_close(
        back, reference_conv.convolve(torch.ones(made.n_out, 4).double(), weight, made.transposed())
    )


@pytest.mark.parametrize("stride", [2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3])
def test_minkowski_strided_convolution_is_the_sum_over_its_definition(stride: int, kernel: int) -> None:
    x = random_unbounded(stride=2)
    weight = random_weight(3, (kernel,) * 3, 4)
    y = sparse.strided_conv(x, weight, None, stride, rule="minkowski")
    rows, step = as_dict(x), 2 * stride
    where = {(b, *(c // step * step for c in at)) for b, *at in x.indices.tolist()}
    assert {tuple(r) for r in y.indices.tolist()} == where
    assert y.stride == (step,) * 3
    first = -(kernel // 2) if kernel % 2 else 0
    for voxel, features in as_dict(y).items():
        expected = torch.zeros(3)
        for slot in product(range(kernel), repeat=3):
            at = (voxel[0], *(c + 2 * (first + s) for c, s in zip(voxel[1:], slot, strict=True)))
            if at in rows:
                expected += weight[(slice(None), *slot)] @ rows[at]
        torch.testing.assert_close(features, expected, **CLOSE)


def test_half_precision_is_close_to_single() -> None:
    x = random_sparse(channels=16)
    weight, bias = random_weight(24, (3, 3, 3), 16) / 20, torch.linspace(-1, 1, 24)
    inputs = x.features.double(), weight.double(), bias.double()
    exact, sizes = (
        sparse.submanifold_conv(x.replace_feature(features), *parameters).features
        for features, *parameters in (inputs, [tensor.abs() for tensor in inputs])
    )
    for dtype in (torch.float16, torch.bfloat16):
        halved = sparse.submanifold_conv(x.replace_feature(x.features.to(dtype)), weight.to(dtype), bias.to(dtype))
        assert halved.features.dtype == dtype
        # Features and weights are rounded once, and so is the sum, to 11 or 8 bits; the sum itself is one of float32.
        unit = torch.finfo(dtype).eps / 2
        assert_within(halved.features, exact, ((1 + unit) ** 3 - 1) * sizes + sum_error(27 * 16 + 1, sizes))


def test_spconv_agrees_over_our_maps_where_it_is_installed() -> None:
    """Its CPU build multiplies over the same pairs as a GPU would."""
    if not gpu.is_available() or gpu.compiles_at_first_use():
        pytest.skip("spconv is not installed (spconv-triton has no products for the CPU but in Triton's interpreter)")
    x = random_sparse(channels=8)
    out, made = kernel_map.spconv_strided(x.coordinates, (3, 3, 3), (2, 2, 2), (1, 1, 1), (1, 1, 1))
    weight = random_weight(16, (27,), 8)
    torch.testing.assert_close(
        gpu.convolve(x.features, weight, made), reference_conv.convolve(x.features, weight, made), **CLOSE
    )
    assert isinstance(out, CoordinateSet)
