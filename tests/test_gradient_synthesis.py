"""Slopes of analysis by synthesis: a camera's twist about the object, and score distillation."""

from __future__ import annotations

import pytest
import torch
from fewview.recon.evidence.view_prior import diffusion_step, distillation_loss, multi_view_sds
from fewview.render import rasterization
from fewview.render import reference_rasterization as reference
from fewview.scene.geometry import se3_exp
from support.differences import central_differences, relative_error
from support.scenes import smooth_scene
from support.threads import one_torch_thread as one_torch_thread
from torch import Tensor

ALPHAS_CUMPROD = torch.linspace(0.999, 0.005, 1000)


@pytest.mark.parametrize("twist", [[0.0] * 6, [0.04, -0.03, 0.05, 0.02, 0.1, -0.06]])
def test_the_slope_by_a_twist_about_the_object_is_that_of_finite_differences(twist: list[float]) -> None:
    scene = smooth_scene(sh_degree=0, cameras=1)

    def loss(function, twist: Tensor) -> Tensor:
        inputs = scene.inputs(twist.dtype)
        inputs["viewmats"] = inputs["viewmats"] @ se3_exp(twist)[None]
        image, alpha = scene.render(function, inputs)[:2]
        values = torch.cat([image.flatten(), alpha.flatten()])
        return (values - torch.linspace(0, 9, values.numel(), dtype=torch.float64).sin().to(values)).square().mean()

    leaf = torch.tensor(twist, dtype=torch.float64)
    expected = central_differences(lambda: loss(reference.rasterization, leaf), leaf)
    ours = torch.tensor(twist, requires_grad=True)
    (found,) = torch.autograd.grad(loss(rasterization, ours), ours)
    assert expected.abs().min() > 1e-5, "a part of the twist that changes nothing tests nothing"
    # float32 kernels against double differences: the 2 % of the method's own acceptance is twenty times as much.
    assert relative_error(found, expected) < 1e-3


def noise_of(noisy: Tensor, step: int, condition: object) -> Tensor:
    """A denoiser of one line, which answers differently to each condition."""
    return noisy * (0.3 if condition is None else float(condition)) + step / 1000  # type: ignore[arg-type]


@pytest.mark.parametrize("step", [20, 500, 980])
def test_the_distillation_loss_has_exactly_the_published_gradient(step: int) -> None:
    g = torch.Generator().manual_seed(step)
    latent, noise = torch.randn(2, 4, 8, 8, generator=g, dtype=torch.float64)
    conditions = [0.5, 0.7, 1.1]
    signal = ALPHAS_CUMPROD[step].double()
    noisy = signal.sqrt() * latent + (1 - signal).sqrt() * noise
    free = noise_of(noisy, step, None)
    guided = sum(free + 5.0 * (noise_of(noisy, step, c) - free) for c in conditions) / 3
    expected = (1 - signal) * (guided - noise)
    leaf = latent.clone().requires_grad_()
    gradient = multi_view_sds(leaf, conditions, noise_of, step, noise, ALPHAS_CUMPROD.double())
    (found,) = torch.autograd.grad(distillation_loss(leaf, gradient), leaf)
    # Two orders of the same sums in float64.
    assert torch.allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_equal_photographs_distil_like_one() -> None:
    g = torch.Generator().manual_seed(0)
    latent, noise = torch.randn(2, 4, 8, 8, generator=g, dtype=torch.float64)
    one = multi_view_sds(latent, [0.6], noise_of, 300, noise, ALPHAS_CUMPROD.double())
    many = multi_view_sds(latent, [0.6] * 5, noise_of, 300, noise, ALPHAS_CUMPROD.double())
    assert torch.allclose(one, many, rtol=1e-12, atol=1e-12)


def test_a_denoiser_that_finds_the_noise_gives_no_gradient() -> None:
    g = torch.Generator().manual_seed(0)
    latent, noise = torch.randn(2, 4, 8, 8, generator=g)
    assert not bool(multi_view_sds(latent, [1, 2], lambda *_: noise, 300, noise, ALPHAS_CUMPROD).any())
    with pytest.raises(ValueError, match="at least one photograph"):
        multi_view_sds(latent, [], lambda *_: noise, 300, noise, ALPHAS_CUMPROD)


def test_diffusion_steps_fall_within_their_bounds() -> None:
    assert [diffusion_step(p) for p in (0.0, 0.01, 0.25, 0.5, 0.999, 1.0)] == [980, 980, 750, 500, 20, 20]
