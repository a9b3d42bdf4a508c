"""The objective of global alignment: native kernel against reference implementation, and that by finite differences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from fewview import _native
from fewview.recon.poses.pointmaps import reference_alignment
from fewview.recon.poses.pointmaps.alignment_loss import alignment_loss
from fewview.recon.poses.pointmaps.alignment_variables import Observations, Variables
from support.differences import relative_error
from support.native import isa as isa
from support.native import keep_threads as keep_threads
from support.pointmaps import disturbed_problem
from support.threads import one_torch_thread as one_torch_thread
from torch import Tensor

FREE = ("pose_quats", "pose_logs", "phi", "log_depth", "edge_quats", "edge_logs", "edge_log_scales")


def as_leaves(variables: Variables, dtype: torch.dtype) -> Variables:
    named = {name: getattr(variables, name).to(dtype).detach().clone().requires_grad_() for name in FREE}
    return replace(variables, centers_px=variables.centers_px.to(dtype), **named)


def loss_and_gradients(
    objective: Callable[[Variables, Observations], Tensor],
    variables: Variables,
    observations: Observations,
    dtype: torch.dtype,
) -> tuple[float, dict[str, Tensor]]:
    leaves = as_leaves(variables, dtype)
    loss = objective(leaves, observations)
    gradients = torch.autograd.grad(loss, [getattr(leaves, name) for name in FREE])
    return float(loss.detach()), dict(zip(FREE, gradients, strict=True))


@pytest.mark.parametrize("normalise", [True, False])
def test_the_kernel_equals_the_reference(isa: str, normalise: bool) -> None:
    variables, observations = disturbed_problem()
    variables = replace(variables, normalise_scales=normalise)
    loss, found = loss_and_gradients(alignment_loss, variables, observations, torch.float32)
    true_loss, expected = loss_and_gradients(reference_alignment.alignment_loss, variables, observations, torch.float64)
    # float32 against float64: sums of 1e4 terms of one part in 1e7 each.
    assert loss == pytest.approx(true_loss, rel=1e-5)
    for name in FREE:
        assert relative_error(found[name], expected[name]) < 1e-4, name


def test_the_kernel_gives_the_same_bits_on_any_number_of_threads(keep_threads: None) -> None:
    variables, observations = disturbed_problem()
    results = []
    for threads in (1, 3):
        _native.set_num_threads(threads)
        results.append(loss_and_gradients(alignment_loss, variables, observations, torch.float32))
    assert results[0][0] == results[1][0]
    assert all(torch.equal(results[0][1][name], results[1][1][name]) for name in FREE)


def test_the_reference_has_the_slopes_of_finite_differences() -> None:
    variables, observations = disturbed_problem(n=2)
    _, gradients = loss_and_gradients(reference_alignment.alignment_loss, variables, observations, torch.float64)
    generator = torch.Generator().manual_seed(5)
    leaves = as_leaves(variables, torch.float64)
    start = replace(leaves, **{name: getattr(leaves, name).detach() for name in FREE})
    for name in FREE:
        x = getattr(start, name)
        for _ in range(3):
            direction = torch.randn(x.shape, generator=generator, dtype=torch.float64)
            h = 1e-6
            ahead, behind = (
                float(reference_alignment.alignment_loss(replace(start, **{name: x + s * direction}), observations))
                for s in (h, -h)
            )
            # Central differences err by h^2 and by 1e-16 / h, both far below this.
            assert (ahead - behind) / (2 * h) == pytest.approx(
                float((gradients[name] * direction).sum()), rel=1e-5, abs=1e-9
            ), name


def test_exact_agreement_has_no_slope() -> None:
    """The gradient of a norm at a residual of 0 is 0, as torch has it; the kernel must not divide by it."""
    variables, observations = disturbed_problem(n=2)
    leaves = as_leaves(variables, torch.float32)
    observations = replace(observations, weights=tuple(torch.zeros_like(w) for w in observations.weights))
    loss = alignment_loss(leaves, observations)
    loss.backward()
    assert float(loss.detach()) == 0
    assert all(bool((getattr(leaves, name).grad == 0).all()) for name in FREE)
