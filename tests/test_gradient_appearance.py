"""The slope of the image loss by a photograph's colour transform, and by the picture that goes through it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from fewview.recon.optimise.appearance import Appearance, transformed, within_range
from fewview.recon.optimise.photograph_gains import PhotographGains
from fewview.recon.optimise.train_config import TrainConfig
from fewview.render import reference_loss
from support.differences import central_differences, cosine, relative_error
from support.training import tiny_dataset
from torch import Tensor

HEIGHT, WIDTH = 6, 8


def uniform(*shape: int, seed: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def loss(affine: Tensor, rgb: Tensor, alpha: Tensor, background: Tensor | None) -> Tensor:
    picture = transformed(affine, rgb, alpha, background)
    return reference_loss.l1_dssim(picture, 0.1 + 0.8 * uniform(HEIGHT, WIDTH, 3, seed=9), 0.2)


@pytest.mark.parametrize("background", [None, (1.0, 0.5, 0.2)], ids=["black", "coloured"])
def test_the_slope_by_transform_colours_and_coverage_is_that_of_finite_differences(background) -> None:
    behind = None if background is None else torch.tensor(background, dtype=torch.float64)
    inputs = [
        torch.eye(3, 4, dtype=torch.float64) + 0.2 * uniform(3, 4, seed=0),
        uniform(HEIGHT, WIDTH, 3, seed=1),
        uniform(HEIGHT, WIDTH, seed=2),
    ]
    for chosen, leaf in enumerate(inputs):
        expected = central_differences(lambda: loss(*inputs, behind), leaf)
        learned = [t.clone().requires_grad_(i == chosen) for i, t in enumerate(inputs)]
        (found,) = torch.autograd.grad(loss(*learned, behind), learned[chosen])
        assert expected.abs().max() > 1e-4
        # Double against double: what is left is the truncation of central differences, about 1e-10 of the values.
        assert relative_error(found, expected) < 1e-5
        assert cosine(found, expected) > 1 - 1e-9


def test_a_drawn_view_learns_and_the_mean_stays_the_identity() -> None:
    dataset = replace(tiny_dataset(5), train=(0, 2, 3, 4), test=(1,))
    appearance = Appearance(dataset, TrainConfig(steps=10, appearance_lr=0.05))
    for step in range(4):
        picture, alpha = uniform(HEIGHT, WIDTH, 3, seed=step).float(), torch.ones(HEIGHT, WIDTH)
        appearance.shown(2, picture, alpha, None).mean().backward()
        appearance.update((2,), step)
    rows = appearance.table["affine"].detach()
    assert [bool(row.any()) for row in rows] == [False, False, True, False, False]
    shown = appearance.transforms()
    identity = torch.eye(3, 4)
    assert float(shown[2].sum()) < float(identity.sum()) - 0.1, "the mean fell, so the transform darkens"
    # Each mean is of four float32 numbers near one: a few units in the last place.
    torch.testing.assert_close(shown[list(dataset.train)].mean(0), identity, atol=1e-6, rtol=0)
    assert torch.equal(shown[1], identity), "held out"
    torch.testing.assert_close(appearance.transform(2).detach(), shown[2], atol=1e-6, rtol=0)


def test_measured_gains_are_where_it_starts() -> None:
    dataset = tiny_dataset(3)
    log_gains = torch.tensor([[0.3, 0.2, 0.1], [0.0, 0.0, 0.0], [-0.3, -0.2, -0.1]])
    gains = PhotographGains(log_gains, torch.ones(3, dtype=torch.bool), 0.3)
    shown = Appearance(dataset, TrainConfig(), gains).transforms()[:, :, :3]
    assert torch.equal(shown, torch.diag_embed(shown.diagonal(dim1=1, dim2=2))), "no channel leaks into another"
    differences = (log_gains.exp() - log_gains.exp().mean(0)).diagonal(0)
    torch.testing.assert_close(shown.diagonal(dim1=1, dim2=2).diagonal(0), 1 + differences)


def test_the_background_keeps_its_colour() -> None:
    affine = torch.tensor([[0.5, 0.1, 0, 0.2], [0, 2, 0, 0], [0, 0, 1, -0.1]])
    background = torch.tensor([0.9, 0.8, 0.7])
    nothing = transformed(affine, background.expand(2, 2, 3), torch.zeros(2, 2), background)
    torch.testing.assert_close(nothing, background.expand(2, 2, 3))


def test_clipped_values_are_bounds() -> None:
    target = torch.tensor([[[1.0, 1.0, 0.0]], [[0.0, 0.5, 0.5]]])
    picture = torch.tensor([[[1.2, 0.7, -0.1]], [[0.1, 0.6, 0.5]]]).requires_grad_()
    bounded = within_range(picture, target)
    assert bounded.tolist() == torch.tensor([[[1.0, 0.7, 0.0]], [[0.1, 0.6, 0.5]]]).tolist()
    bounded.sum().backward()
    assert picture.grad is not None
    assert picture.grad.tolist() == [[[0.0, 1.0, 0.0]], [[1.0, 1.0, 1.0]]]
