"""Gradients of spherical harmonics that stay factors: the same numbers, and the same steps of Adam, as written out."""

from __future__ import annotations

import functools

import pytest
import torch
from fewview.recon.optimise.adam import Optimiser, update
from fewview.recon.optimise.table import Column
from fewview.render import rasterization
from fewview.render.sh_factors import keep_factors, take_factors
from support.native import isa as isa
from support.native import keep_threads as keep_threads
from support.scenes import SplatScene, random_blobs
from support.threads import one_torch_thread as one_torch_thread
from torch import Tensor

blobs = functools.cache(random_blobs)


def backward(scene: SplatScene, sh: Tensor) -> dict[str, Tensor]:
    """Gradients of all inputs but the SH coefficients, which are drawn as the leaf `sh`."""
    inputs = scene.inputs(torch.float32, requires_grad=True) | {"colors": sh}
    image, _, _ = scene.render(rasterization, inputs, packed=False)
    (image.square().sum()).backward()
    return {name: leaf.grad for name, leaf in inputs.items() if name != "colors"}


@pytest.mark.parametrize("degree", [0, 1, 3, 4])
def test_factors_are_the_gradient(degree: int, isa: str) -> None:
    scene = blobs(seed=70 + degree, sh_degree=degree, count=150, width=90, height=70)
    usual = scene.inputs(torch.float32)["colors"].clone().requires_grad_()
    kept = usual.detach().clone().requires_grad_()
    keep_factors(kept)
    expected, found = backward(scene, usual), backward(scene, kept)
    assert kept.grad is None
    (factors,) = take_factors(kept)
    assert take_factors(kept) == []
    assert torch.equal(factors.dense(kept.shape[1]), usual.grad)
    assert usual.grad.any()
    for name in expected:
        assert torch.equal(found[name], expected[name]), name


def test_pictures_of_one_step_come_together() -> None:
    scene = blobs(seed=75, sh_degree=2, count=150, width=90, height=70)
    usual = scene.inputs(torch.float32)["colors"].clone().requires_grad_()
    kept = usual.detach().clone().requires_grad_()
    keep_factors(kept)
    for leaf in (usual, kept):
        backward(scene, leaf)
        backward(scene, leaf)
    (factors,) = take_factors(kept)
    assert factors.directions.shape[0] == 2 * len(scene.viewmats)
    # A sum of two equal halves: (a + b) + (a + b) against ((a + b) + a) + b, one rounding apart.
    torch.testing.assert_close(factors.dense(kept.shape[1]), usual.grad, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("change", [{}, {"weight_decay": 0.1}, {"weight_decay": 0.1, "kind": "adamw"}])
@pytest.mark.parametrize("visible", [False, True])
def test_adam_takes_the_same_steps(change: dict, visible: bool, isa: str) -> None:
    scene = blobs(seed=76, sh_degree=3, count=150, width=90, height=70)
    start = scene.inputs(torch.float32)["colors"]
    rows = torch.linspace(0.5, 2, len(start))
    usual, kept = Column(start, rows), Column(start, rows, drawn_as_sh=True)
    rates = torch.linspace(0.001, 0.01, start.shape[1] * 3)
    seen = torch.arange(len(start)) % 3 != 0 if visible else None
    for step in range(3):
        for column in (usual, kept):
            backward(scene, column.tensor)
            update(column, Optimiser(lambda _: rates, **change), step, seen)
    assert not torch.equal(kept.tensor, start)
    assert torch.equal(kept.tensor, usual.tensor)
    assert torch.equal(kept.exp_avg, usual.exp_avg)
    assert torch.equal(kept.exp_avg_sq, usual.exp_avg_sq)


def test_what_else_the_coefficients_feed_is_added() -> None:
    scene = blobs(seed=77, sh_degree=1, count=150, width=90, height=70)
    start = scene.inputs(torch.float32)["colors"]
    usual, kept = Column(start), Column(start, drawn_as_sh=True)
    for column in (usual, kept):
        backward(scene, column.tensor)
        column.tensor.square().sum().backward()
        update(column, Optimiser(lambda _: 0.01), 0)
    # The sum of the two gradients is in another order, one rounding apart, and Adam's first step has the length of
    # the rate whatever the gradient's size.
    torch.testing.assert_close(kept.exp_avg, usual.exp_avg, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(kept.tensor, usual.tensor, rtol=1e-3, atol=1e-4)


def test_new_rows_still_keep_factors() -> None:
    scene = blobs(seed=78, sh_degree=1, count=150, width=90, height=70)
    column = Column(scene.inputs(torch.float32)["colors"], drawn_as_sh=True)
    column.load_state(column.state())
    backward(scene, column.tensor)
    assert column.tensor.grad is None
    assert len(take_factors(column.tensor)) == 1
