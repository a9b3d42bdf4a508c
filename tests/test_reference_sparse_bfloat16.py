"""Sparse convolution in bfloat16: the reference implementation on rounded values, float32, and empty products.

Every instruction set is tried. Those without products of bfloat16 run the float32 kernel on the rounded values.
"""

from __future__ import annotations

import pytest
import torch
from fewview import _native
from fewview.detect import sparse
from fewview.detect.sparse import SparseConvTensor, kernel_map, native_conv, reference_conv
from fewview.detect.sparse.kernel_map import KernelMap
from support.native import isa as isa
from support.native import keep_threads as keep_threads
from support.rounding import BFLOAT16, assert_within, sum_error
from support.sparse_tensors import random_sparse, random_weight
from support.sparse_tensors import same_layers as same_layers
from support.threads import one_torch_thread as one_torch_thread
from torch import Tensor

# The encoder's input, odd channels, parts of vectors and panels, several panels.
CHANNELS = [(1, 1), (5, 16), (16, 16), (7, 24), (33, 40), (32, 48), (12, 64), (20, 100), (3, 129)]


def maps_of(x: SparseConvTensor) -> list[KernelMap]:
    """A symmetric map, and one from a set to another."""
    return [
        kernel_map.submanifold_map(x.coordinates, (3, 3, 3), (1, 1, 1)),
        kernel_map.spconv_strided(x.coordinates, (3, 3, 3), (2, 2, 2), (1, 1, 1), (1, 1, 1))[1],
    ]


def rounded(tensor: Tensor) -> Tensor:
    return tensor.bfloat16().float()


def sums(features: Tensor, weight: Tensor, bias: Tensor, made: KernelMap) -> tuple[Tensor, Tensor]:
    """The convolution in float64, and the same sums of absolute values."""
    exact, sizes = (
        reference_conv.convolve(f.double(), w.double(), made) + b.double()
        for f, w, b in ((features, weight, bias), (features.abs(), weight.abs(), bias.abs()))
    )
    return exact, sizes


@pytest.mark.parametrize(("cin", "cout"), CHANNELS)
def test_products_are_those_of_rounded_values_with_float32_sums(isa: str, cin: int, cout: int) -> None:
    x = random_sparse((9, 9, 9), channels=cin)
    weight, bias = random_weight(cout, (27,), cin), torch.linspace(-1, 1, cout)
    for made in maps_of(x):
        found = native_conv.convolve(x.features, weight, bias, made, rounded=True)
        assert found.dtype == torch.float32
        # Products of bfloat16 are exact in float32, and in float64 so are their sums but for 1e-16.
        expected, sizes = sums(rounded(x.features), rounded(weight), bias, made)
        lost = sum_error(made.volume * cin + 1, sizes)
        assert_within(found, expected, lost)
        # Two factors, each rounded once: (1 + u)^2 - 1.
        exact, sizes = sums(x.features, weight, bias, made)
        assert_within(found, exact, lost + (2 * BFLOAT16 + BFLOAT16**2) * sizes)


def test_autocast_and_features_in_bfloat16_ask_for_it(isa: str) -> None:
    x = random_sparse(channels=6)
    layer = sparse.SubMConv3d(6, 10, 3)
    with torch.no_grad():
        exact = layer(x).features
        with torch.autocast("cpu", torch.bfloat16):
            rough = layer(x).features
        with torch.autocast("cpu", torch.float16):
            other = layer(x).features
        with torch.autocast("cpu", torch.bfloat16, enabled=False):
            switched_off = layer(x).features
        halved = layer(x.replace_feature(x.features.bfloat16())).features
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    assert torch.equal(other, exact)
    assert torch.equal(switched_off, exact)
    assert torch.equal(halved, rough.bfloat16())  # the type of the features, as everywhere


def test_the_gradient_is_the_float32_one_at_the_rounded_values(isa: str) -> None:
    x = random_sparse((9, 9, 9), channels=5)
    weight, bias = random_weight(17, (27,), 5), torch.linspace(-1, 1, 17)
    for made in maps_of(x):
        v_out = torch.randn(made.n_out, 17, generator=torch.Generator().manual_seed(0))
        results = []
        for factors, in_bfloat16 in (
            ((x.features, weight), True),
            ((rounded(x.features), rounded(weight)), False),
            ((x.features, weight), False),
        ):
            inputs = [t.clone().requires_grad_() for t in (*factors, bias)]
            native_conv.convolve(*inputs, made, rounded=in_bfloat16).backward(v_out)
            results.append([t.grad for t in inputs])
        assert all(torch.equal(a, b) for a, b in zip(results[0], results[1], strict=True))
        for found, exact in zip(results[0], results[2], strict=True):
            assert bool(found.isfinite().all())
            # Rounding the inputs is all that differs, and it is the same everywhere: one factor of each product is off
            # by 2^-8 at most, and over many products of random numbers errors cancel as the products themselves do.
            assert float((found - exact).norm()) <= BFLOAT16 * float(exact.norm())


def test_a_network_learns_under_autocast(isa: str) -> None:
    x = random_sparse((9, 9, 9), channels=5)
    net = sparse.SparseSequential(
        sparse.SubMConv3d(5, 8, 3), torch.nn.ReLU(), sparse.SparseConv3d(8, 12, 3, 2, 1), sparse.SubMConv3d(12, 4, 3)
    )

    def gradients(enabled: bool) -> list[Tensor]:
        net.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = net(x).features.square().mean()
        loss.backward()
        return [p.grad.clone() for p in net.parameters()]

    for rough, exact in zip(gradients(True), gradients(False), strict=True):
        assert rough.dtype == torch.float32
        # Three layers of two roundings each, whose errors of 2^-8 at most add up where they all point one way.
        assert float((rough - exact).norm()) <= 6 * BFLOAT16 * float(exact.norm())


@pytest.mark.parametrize("indices", [[], [[0, 1, 2, 3]]])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_nothing_and_one_voxel_pass(isa: str, indices: list, channels: int) -> None:
    n = len(indices)
    features = torch.randn(n, channels, generator=torch.Generator().manual_seed(channels), requires_grad=True)
    x = SparseConvTensor(features, torch.tensor(indices, dtype=torch.int32).reshape(n, 4), (6, 7, 8), 1)
    layer = sparse.SubMConv3d(channels, 5, 3)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x).features
    factors = rounded(features.detach()).double(), rounded(layer.weight.detach()[:, 1, 1, 1]).double()
    bias = layer.bias.detach().double()
    exact, sizes = factors[0] @ factors[1].T + bias, factors[0].abs() @ factors[1].abs().T + bias.abs()
    assert_within(y.detach(), exact, sum_error(channels + 1, sizes))
    y.sum().backward()
    assert features.grad.shape == (n, channels)
    assert bool(layer.weight.grad.isfinite().all())


def test_infinite_and_missing_numbers_stay_in_their_rows(isa: str) -> None:
    """An odd channel is filled up with zeros, which must not meet the next row's infinity."""
    x = random_sparse(channels=3)
    x.features[4, 0] = torch.inf
    x.features[9, 1] = torch.nan
    made = kernel_map.submanifold_map(x.coordinates, (3, 3, 3), (1, 1, 1))
    weight = random_weight(4, (27,), 3)
    found = native_conv.convolve(x.features, weight, None, made, rounded=True)
    expected = reference_conv.convolve(rounded(x.features), rounded(weight), made)
    assert torch.equal(found.isfinite(), expected.isfinite())
    assert torch.equal(found.isnan(), expected.isnan())


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_results_are_the_same_bits_each_time_for_any_number_of_threads(isa: str, threads: int, keep_threads) -> None:
    x = random_sparse((20, 20, 20), density=0.3, channels=7)  # 19 tiles
    weight = random_weight(24, (27,), 7)
    made = kernel_map.submanifold_map(x.coordinates, (3, 3, 3), (1, 1, 1))
    _native.set_num_threads(1)
    expected = native_conv.convolve(x.features, weight, None, made, rounded=True)
    _native.set_num_threads(threads)
    assert torch.equal(native_conv.convolve(x.features, weight, None, made, rounded=True), expected)


def test_the_kernel_rounds_only_where_it_can(isa: str) -> None:
    x = random_sparse(channels=4)
    made = kernel_map.submanifold_map(x.coordinates, (3, 3, 3), (1, 1, 1))
    arrays = x.features.numpy(), random_weight(4, (27,), 4).numpy(), None, torch.empty(len(x), 4).numpy()
    assert isa == "avx512" or not _native.has_bf16()
    for backward, flip in ((False, False), (False, True), (True, False), (True, True)):
        if backward or flip or not _native.has_bf16():
            with pytest.raises(ValueError, match="only forward, and only where"):
                _native.sparse_conv(made.tiles, *arrays, backward=backward, flip=flip, rounded=True)
