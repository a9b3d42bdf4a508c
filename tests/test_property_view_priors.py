"""View priors on pictures that move: the oracle, and score distillation with small denoisers of known answers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from fewview.recon.evidence.oracle_prior import OraclePrior
from fewview.recon.evidence.score_distillation import ScoreDistillation, view_condition
from support.bending_bar import films
from torch import Tensor

ALPHAS = torch.linspace(0.999, 0.01, 100)
UP = torch.tensor([0.0, 0.0, 1.0])
CENTER = torch.zeros(3)


def prior_of(denoiser: Any, **settings: Any) -> ScoreDistillation:
    """Latents are the pictures themselves at 8 x 8; a condition is the photograph's mean and the relative view."""
    return ScoreDistillation(
        encode=lambda picture: picture,
        condition=lambda photograph, view: (photograph.mean(), view),
        denoiser=denoiser, alphas_cumprod=ALPHAS, center=CENTER, up=UP, side=8, **settings,
    )  # fmt: skip


def asked(prior: Any, image: Tensor, photograph: float = 0.3, progress: float = 0.4) -> Tensor:
    cameras = films().cameras_around([0.0, 40.0], 8, 4.0)
    photographs = torch.full((1, 8, 8, 3), photograph)
    return prior.gradient(image, cameras[1], photographs, cameras[:1], progress, time_s=0.0)


def test_property_a_denoiser_that_finds_the_noise_asks_for_nothing() -> None:
    image = torch.rand(8, 8, 3, generator=torch.Generator().manual_seed(0))
    truth = 2 * image.permute(2, 0, 1)[None] - 1

    def knows(noisy: Tensor, step: int, condition: Any) -> Tensor:
        return (noisy - ALPHAS[step].sqrt() * truth) / (1 - ALPHAS[step]).sqrt()

    assert float(asked(prior_of(knows), image).abs().max()) < 1e-5
    elsewhere = asked(prior_of(knows), image + 0.1)
    assert float(elsewhere.min()) > 0  # all has to become darker again


def test_property_the_gradient_reaches_the_picture_alone_and_knows_its_frame() -> None:
    weight = torch.tensor(0.5, requires_grad=True)

    def denoiser(noisy: Tensor, step: int, condition: Any) -> Tensor:
        return weight * noisy + (0 if condition is None else condition[0] + condition[1].sum())

    image = torch.rand(8, 8, 3, requires_grad=True)
    one, again, other = (asked(prior_of(denoiser), image, frame) for frame in (0.3, 0.3, 0.7))
    assert not one.requires_grad
    assert weight.grad is None
    assert image.grad is None
    assert torch.equal(one, again)  # a run that is continued goes on as it would have
    assert not torch.equal(one, other)
    assert not torch.equal(one, asked(prior_of(denoiser), image, progress=0.5))
    bad = asked(prior_of(lambda noisy, step, condition: noisy * math.nan), image)
    assert not bool(bad.any())


def test_reference_relative_views() -> None:
    """As four numbers by their definition, at cameras of known azimuth and elevation."""
    here = films().cameras_around([10.0], 8, 4.0, elevation_deg=5.0)[0]
    there = films().cameras_around([100.0], 8, 4.0, elevation_deg=35.0)[0]
    found = view_condition(there, here, CENTER, UP)
    # 30 degrees nearer to the zenith, a quarter turn to the right, seen from 85 degrees off it
    assert found.tolist() == pytest.approx([-math.radians(30), 1.0, 0.0, math.radians(85)], abs=1e-5)
    same = view_condition(here, here, CENTER, UP)
    assert same.tolist() == pytest.approx([0.0, 0.0, 1.0, math.radians(85)], abs=1e-5)


def test_gradient_of_the_oracle_is_that_of_the_mean_squared_error() -> None:
    truth = torch.rand(8, 8, 3)
    image = torch.rand(8, 8, 3, requires_grad=True)
    (3.0 * (image - truth).square().mean()).backward()
    found = asked(OraclePrior(lambda camera, time_s: truth, 3.0), image.detach())
    assert image.grad is not None
    torch.testing.assert_close(found, image.grad)
