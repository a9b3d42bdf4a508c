"""The native loss and Adam against their reference implementations."""

from __future__ import annotations

import pytest
import torch
from fewview import _native
from fewview.render import reference_loss
from fewview.render.loss import l1_dssim
from support.native import isa as isa
from support.native import keep_threads as keep_threads
from support.threads import one_torch_thread as one_torch_thread
from torch import Tensor


def two_images(height: int, width: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(height * 1000 + width)
    y, x = torch.meshgrid(torch.linspace(0, 9, height), torch.linspace(0, 7, width), indexing="ij")
    a = 0.5 + 0.4 * torch.sin(torch.stack([x, y, x + y], dim=-1))
    return a, (a + 0.1 * torch.randn(a.shape, generator=g)).clamp(0, 1)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (4, 7), (11, 11), (16, 16), (37, 53), (70, 129)])
@pytest.mark.parametrize("weight", [0.0, 0.2, 1.0])
def test_loss_and_its_gradient(size: tuple[int, int], weight: float, isa: str) -> None:
    a, b = two_images(*size)
    results = []
    for function, dtype in ((l1_dssim, torch.float32), (reference_loss.l1_dssim, torch.float64)):
        image = a.to(dtype, copy=True).requires_grad_()
        loss = function(image, b.to(dtype), weight)
        (3 * loss).backward()
        results.append((loss.detach(), image.grad))
    (loss, gradient), (twin_loss, twin_gradient) = results
    assert loss.shape == ()
    assert float(loss) == pytest.approx(float(twin_loss), abs=2e-6)  # float32 moments of values near 1
    # Variances are differences of second moments near 1, good to 1e-7, against C2 = 9e-4: three or four digits.
    torch.testing.assert_close(
        gradient.double(), twin_gradient, rtol=2e-3, atol=1e-3 * float(twin_gradient.abs().max())
    )
    error = (gradient.double() - twin_gradient).norm() / twin_gradient.norm()
    assert error < 1e-3


def test_equal_images_cost_nothing_and_pull_nowhere(isa: str) -> None:
    a, _ = two_images(37, 53)
    image = a.clone().requires_grad_()
    loss = l1_dssim(image, a)
    loss.backward()
    assert abs(loss.item()) < 1e-6
    assert image.grad.abs().max() < 1e-6


def test_loss_has_the_same_bits_for_any_number_of_threads(isa: str, keep_threads: None) -> None:
    a, b = two_images(130, 90)
    results = []
    for threads in (1, 2, 3):
        _native.set_num_threads(threads)
        image = a.clone().requires_grad_()
        loss = l1_dssim(image, b)
        loss.backward()
        results.append((loss.detach(), image.grad))
    assert all(torch.equal(x, y) for r in results[1:] for x, y in zip(r, results[0], strict=True))
