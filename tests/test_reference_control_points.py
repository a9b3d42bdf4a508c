"""Kernels of control points against plain PyTorch, in double precision and by finite differences."""

from __future__ import annotations

import pytest
import torch
from fewview import _native
from fewview.recon.methods.sc_gs.node_weights import (
    nearest_points,
    node_weights,
    reference_nearest_points,
    reference_node_weights,
)
from fewview.scene.carry import carry, reference_carry
from support.native import isa as isa
from support.native import keep_threads as keep_threads
from torch import Tensor

COUNTS = [(1, 1, 1), (5, 3, 3), (67, 9, 4), (5000, 40, 3)]  # Gaussians, control points, neighbours


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def weight_inputs(gaussians: int, points: int, near: int, hyper: int) -> list[Tensor]:
    index = torch.stack(
        [torch.randperm(points, generator=torch.Generator().manual_seed(i))[:near] for i in range(gaussians)]
    )
    return [
        drawn(gaussians, 3), drawn(gaussians, hyper), drawn(points, 3, seed=1), drawn(points, hyper, seed=1),
        0.5 * drawn(points), drawn(points, seed=2), index.int(),
    ]  # fmt: skip


def carry_inputs(gaussians: int, points: int, near: int, channels: int) -> list[Tensor]:
    index = weight_inputs(gaussians, points, near, 0)[-1]
    weights = drawn(gaussians, near).abs()
    return [
        drawn(gaussians, 3), drawn(points, 3), drawn(points, 4), drawn(points, 3, seed=5), drawn(points, channels),
        index, weights / (weights.sum(-1, keepdim=True) + 0.1),
    ]  # fmt: skip


def with_gradients(function: object, inputs: list[Tensor], double: bool) -> tuple[list[Tensor], list[Tensor | None]]:
    """Outputs, and the gradients of a fixed mixture of them, in float64."""
    leaves = [t if t.dtype == torch.int32 else t.to(torch.float64 if double else torch.float32) for t in inputs]
    leaves = [t if t.dtype == torch.int32 else t.clone().requires_grad_() for t in leaves]
    found = function(*leaves)  # type: ignore[operator]  # one of four functions
    outputs = [found] if isinstance(found, Tensor) else list(found)
    sum((output * drawn(*output.shape, seed=9).to(output)).sum() for output in outputs).backward()  # type: ignore[union-attr]
    return [o.detach().double() for o in outputs], [None if t.grad is None else t.grad.double() for t in leaves]


def assert_same(fast: list[Tensor], exact: list[Tensor]) -> None:
    for a, b in zip(fast, exact, strict=True):
        # Sums of float32 products: rounding grows with the terms, which the largest value bounds.
        torch.testing.assert_close(a, b, rtol=1e-4, atol=2e-5 * max(1.0, float(b.abs().max()) if b.numel() else 1.0))


@pytest.mark.parametrize("counts", COUNTS, ids=str)
@pytest.mark.parametrize("channels", [0, 7])
def test_carrying(isa: str, counts: tuple[int, int, int], channels: int) -> None:
    inputs = carry_inputs(*counts, channels)
    fast, fast_gradients = with_gradients(carry, inputs, double=False)
    exact, exact_gradients = with_gradients(reference_carry, inputs, double=True)
    assert_same(fast, exact)
    pairs = [(a, b) for a, b in zip(fast_gradients, exact_gradients, strict=True) if a is not None and b is not None]
    assert len(pairs) == 6
    assert_same([a for a, _ in pairs], [b for _, b in pairs])


@pytest.mark.parametrize("counts", COUNTS, ids=str)
@pytest.mark.parametrize("hyper", [0, 2, 8])
def test_weights(isa: str, counts: tuple[int, int, int], hyper: int) -> None:
    inputs = weight_inputs(*counts, hyper)
    fast, fast_gradients = with_gradients(node_weights, inputs, double=False)
    exact, exact_gradients = with_gradients(reference_node_weights, inputs, double=True)
    assert_same(fast, exact)
    wanted = [1, 3, 4, 5]  # positions get none
    assert_same([fast_gradients[i] for i in wanted], [exact_gradients[i] for i in wanted])  # type: ignore[misc]
    assert fast_gradients[0] is fast_gradients[2] is None


def test_gradients_by_finite_differences() -> None:
    inputs = [t.double() if t.dtype != torch.int32 else t for t in carry_inputs(6, 4, 2, 3)]
    index = inputs.pop(5)
    leaves = [t.requires_grad_() for t in inputs]
    assert torch.autograd.gradcheck(lambda *t: reference_carry(*t[:5], index, t[5]), leaves)
    weights = [t.double() if t.dtype != torch.int32 else t for t in weight_inputs(6, 4, 2, 3)]
    means, nodes, index = weights[0], weights[2], weights[6]
    leaves = [weights[i].requires_grad_() for i in (1, 3, 4, 5)]
    assert torch.autograd.gradcheck(lambda h, g, r, s: reference_node_weights(means, h, nodes, g, r, s, index), leaves)


@pytest.mark.parametrize(("gaussians", "points", "near"), [(1, 1, 1), (33, 7, 3), (1000, 300, 10)])
@pytest.mark.parametrize("dimensions", [3, 11, 48])
def test_the_nearest(isa: str, gaussians: int, points: int, near: int, dimensions: int) -> None:
    queries, candidates = drawn(gaussians, dimensions), drawn(points, dimensions, seed=3)
    found = nearest_points(queries, candidates, near)
    exact = reference_nearest_points(queries.double(), candidates.double(), near)
    distance = [(queries.double()[:, None] - candidates.double()[i.long()]).norm(dim=-1) for i in (found, exact)]
    torch.testing.assert_close(*distance, rtol=1e-6, atol=1e-6)  # two that are as far may change places
    assert all(len(set(row)) == near for row in found.tolist())


def test_of_two_that_are_as_far_the_lower_number_comes_first() -> None:
    candidates = torch.tensor([[1.0, 0, 0], [-1.0, 0, 0], [0, 1.0, 0]])
    assert nearest_points(torch.zeros(20, 3), candidates, 3).tolist() == [[0, 1, 2]] * 20


def test_weights_are_shares_that_know_no_common_strength() -> None:
    inputs = weight_inputs(50, 9, 3, 4)
    weights = node_weights(*inputs)
    assert bool((weights >= 0).all())
    torch.testing.assert_close(weights.sum(-1), torch.ones(50))
    strengths = torch.full((9,), 0.2)
    for logit in (0.0, 1.0):  # equal strengths of all, whatever they are
        weaker = node_weights(*inputs[:5], torch.full_like(strengths, logit), inputs[6])
        stronger = node_weights(*inputs[:5], torch.full_like(strengths, logit + 0.5), inputs[6])
        near = torch.linalg.vector_norm(inputs[0][:, None] - inputs[2][inputs[6].long()], dim=-1).amin(-1) < 1
        torch.testing.assert_close(weaker[near], stronger[near], atol=1e-3, rtol=0)  # up to the floor of 1e-7


def test_a_larger_radius_counts_for_more_and_none_counts_for_nothing() -> None:
    means, hyper, nodes, node_hyper, radius, strengths, index = weight_inputs(1, 3, 3, 0)
    shares = []
    for log_radius in (-20.0, -1.0, 0.0, 1.0):
        changed = radius.clone()
        changed[0] = log_radius
        weights = node_weights(means, hyper, nodes, node_hyper, changed, strengths, index)
        shares.append(float(weights[0, index[0].tolist().index(0)]))
    assert shares == sorted(shares)
    assert len(set(shares)) == 4
    assert shares[0] < 1e-5


def test_the_number_of_threads_does_not_show(keep_threads: None) -> None:
    inputs = carry_inputs(5000, 40, 3, 7)
    results = []
    for threads in (1, 3):
        _native.set_num_threads(threads)
        results.append(with_gradients(carry, inputs, double=False))
    for a, b in zip(results[0][0] + results[0][1], results[1][0] + results[1][1], strict=True):
        assert (a is None and b is None) or torch.equal(a, b)  # type: ignore[arg-type]  # both or none


def test_wrong_indices_and_shapes_are_refused() -> None:
    means, points, turns, shifts, values, index, weights = carry_inputs(5, 3, 2, 0)
    for wrong in (3, -1):
        with pytest.raises(ValueError, match="numbers from 0 to 2"):
            carry(means, points, turns, shifts, values, torch.full_like(index, wrong), weights)
    with pytest.raises(ValueError, match="weights: expected shape"):
        carry(means, points, turns, shifts, values, index, weights[:, :1].contiguous())
    with pytest.raises(ValueError, match="1 to 64 neighbours"):
        carry(means, points, turns, shifts, values, index.repeat(1, 33), weights.repeat(1, 33))
