"""The reference implementations of the loss and of Adam against independent implementations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fewview.render import separable_loss
from fewview.render.reference_loss import l1_dssim, ssim_map
from scipy.ndimage import gaussian_filter
from support.threads import one_torch_thread as one_torch_thread

F64 = torch.float64


def two_images(height: int = 19, width: int = 23) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    a = torch.rand(height, width, 3, generator=g, dtype=F64)
    return a, (a + 0.2 * torch.randn(height, width, 3, generator=g, dtype=F64)).clamp(0, 1)


@pytest.mark.parametrize("size", [(19, 23), (11, 11), (4, 7), (1, 1)])
def test_ssim_equals_scipy(size: tuple[int, int]) -> None:
    a, b = (x.numpy() for x in two_images(*size))
    blur = lambda x: gaussian_filter(x, 1.5, radius=5, mode="constant", axes=(0, 1))  # noqa: E731
    ma, mb = blur(a), blur(b)
    va, vb, cov = blur(a * a) - ma**2, blur(b * b) - mb**2, blur(a * b) - ma * mb
    expected = (2 * ma * mb + 1e-4) * (2 * cov + 9e-4) / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4))
    found = ssim_map(torch.from_numpy(a), torch.from_numpy(b))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)  # double rounding
    loss = l1_dssim(torch.from_numpy(a), torch.from_numpy(b), 0.2)
    assert loss.item() == pytest.approx(0.8 * np.abs(a - b).mean() + 0.2 * (1 - expected.mean()), abs=1e-12)


@pytest.mark.parametrize("size", [(19, 23), (11, 11), (4, 7), (1, 1)])
def test_the_loss_of_a_gpu_is_the_same_with_the_same_gradient(size: tuple[int, int]) -> None:
    a, b = two_images(*size)
    found = []
    for loss in (l1_dssim, separable_loss.l1_dssim):
        image = a.clone().requires_grad_()
        value = loss(image, b, 0.2)
        value.backward()
        found.append((value.detach(), image.grad))
    torch.testing.assert_close(found[1], found[0], rtol=1e-10, atol=1e-14)  # double rounding


def test_equal_images_cost_nothing() -> None:
    a, _ = two_images()
    assert l1_dssim(a, a).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("weight", [0.0, 0.2, 1.0])
def test_loss_by_gradcheck(weight: float) -> None:
    a, b = two_images(8, 9)
    # No two values are nearer than the step of gradcheck, 1e-6, where |a - b| has its corner.
    a = torch.where((a - b).abs() < 1e-3, a + 1e-2, a)
    torch.autograd.gradcheck(lambda x, y: l1_dssim(x, y, weight), (a.requires_grad_(), b.requires_grad_()))
