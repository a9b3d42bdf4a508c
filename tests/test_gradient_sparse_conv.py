"""Gradients of every sparse operator against finite differences, in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from fewview.detect import sparse
from fewview.detect.sparse import SparseConvTensor
from support.sparse_tensors import random_sparse, random_unbounded, random_weight
from support.sparse_tensors import same_layers as same_layers
from support.threads import one_torch_thread as one_torch_thread
from torch import Tensor

Operator = Callable[[SparseConvTensor, Tensor, Tensor], SparseConvTensor]


def inverse(x: SparseConvTensor, w: Tensor, b: Tensor) -> SparseConvTensor:
    down = sparse.strided_conv(x, w, b, 2, 1, indice_key="down")
    return sparse.inverse_conv(down, w.transpose(0, 4).contiguous(), None, "down")


BOUNDED: dict[str, Operator] = {
    "submanifold": lambda x, w, b: sparse.submanifold_conv(x, w, b),
    "dilated": lambda x, w, b: sparse.submanifold_conv(x, w, b, dilation=2),
    "strided": lambda x, w, b: sparse.strided_conv(x, w, b, 2, 1),
    "transposed": lambda x, w, b: sparse.transposed_conv(x, w, b, 2, 1),
    "inverse": inverse,
}
UNBOUNDED: dict[str, Operator] = {
    "submanifold": lambda x, w, b: sparse.submanifold_conv(x, w, b),
    "minkowski": lambda x, w, b: sparse.strided_conv(x, w, b, 2, rule="minkowski"),
    "generative": lambda x, w, b: sparse.generative_conv(x, w, b, 2),
}


def check_convolution(operator: Operator, x: SparseConvTensor) -> None:
    weight = random_weight(2, (3, 3, 3), x.features.shape[1], dtype=torch.float64).requires_grad_()
    bias = torch.randn(2, dtype=torch.float64, requires_grad=True)
    features = x.features.clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda f, w, b: operator(x.replace_feature(f), w, b).features, (features, weight, bias), fast_mode=True
    )


@pytest.mark.parametrize("name", BOUNDED)
def test_convolutions_on_a_grid(name: str) -> None:
    check_convolution(BOUNDED[name], random_sparse((4, 5, 4), channels=3, dtype=torch.float64))


@pytest.mark.parametrize("name", UNBOUNDED)
def test_convolutions_without_bounds(name: str) -> None:
    check_convolution(UNBOUNDED[name], random_unbounded(40, channels=3, stride=2, dtype=torch.float64))


@pytest.mark.parametrize("pool", [sparse.max_pool, sparse.avg_pool])
@pytest.mark.parametrize("rule", ["spconv", "minkowski"])
def test_pooling(pool: Callable[..., SparseConvTensor], rule: str) -> None:
    x = random_sparse((4, 5, 4), channels=3, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda f: pool(x.replace_feature(f), 2, 2, rule=rule).features, x.features.requires_grad_()
    )


def test_pruning_adding_and_interpolating() -> None:
    a = random_unbounded(30, channels=2, seed=1, dtype=torch.float64)
    b = random_unbounded(30, channels=2, seed=2, dtype=torch.float64)
    keep = torch.arange(len(a)) % 3 != 0
    fa, fb = a.features.requires_grad_(), b.features.requires_grad_()
    points = torch.cat([torch.randint(0, 2, (20, 1)), torch.rand(20, 3) * 10 - 5], dim=1).double()
    assert torch.autograd.gradcheck(lambda f: sparse.prune(a.replace_feature(f), keep).features, fa)
    assert torch.autograd.gradcheck(
        lambda f, g: sparse.union_add(a.replace_feature(f), b.replace_feature(g)).features, (fa, fb)
    )
    assert torch.autograd.gradcheck(lambda f: sparse.interpolate(a.replace_feature(f), points), fa)
    x = random_sparse((3, 3, 3), channels=2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda f: x.replace_feature(f).dense(), x.features.requires_grad_())


def test_rows_that_a_sum_or_a_mask_leaves_out_have_no_gradient() -> None:
    a, b = random_unbounded(30, seed=1), random_unbounded(30, seed=2)
    keep = torch.arange(len(a)) % 2 == 0
    features = a.features.clone().requires_grad_()
    sparse.prune(a.replace_feature(features), keep).features.sum().backward()
    assert torch.equal(features.grad, keep[:, None].float().expand_as(features))
    ga, gb = a.features.clone().requires_grad_(), b.features.clone().requires_grad_()
    total = sparse.union_add(a.replace_feature(ga), b.replace_feature(gb))
    rows = sparse.find_rows(a.coordinates, total.indices) >= 0
    (total.features * rows[:, None]).sum().backward()  # only where a is
    shared = sparse.find_rows(a.coordinates, b.indices) >= 0
    assert torch.equal(ga.grad, torch.ones_like(ga))
    assert torch.equal(gb.grad, shared[:, None].float().expand_as(gb))
