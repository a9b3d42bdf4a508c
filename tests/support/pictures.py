"""The test for two renders of one scene being the same picture."""

from __future__ import annotations

import torch
from torch import Tensor

EXACT = 1e-4  # float32 rounding of sums of up to hundreds of terms, with room
BAND = 1 / 255 + EXACT  # a term that rounding moves across the 1/255 cut or the 1e-4 stop
BAND_SHARE = 1e-3  # of all pixels
FEW_FLIPS = 2e-3  # of all pixels


def assert_same_but_for_flips(found: Tensor, expected: Tensor, mean: float) -> None:
    """[H, W] or [H, W, 3] each: equal to `mean` on average, but for pixels at which a term crosses the 1/255 cut.

    Rounding moves an alpha by some 1e-5 of itself, and a few thousand pixels of a small picture lie where a Gaussian
    falls below the cut, so a tenth of a pixel is expected to flip; which one differs from processor to processor. It
    gains or loses a term of 1/255 times a colour of up to 2, which would be most of an average over the picture.
    """
    error = (found.detach().double() - expected.detach().double()).abs()
    flipped = error > EXACT
    share = (flipped.amax(-1) if error.ndim == 3 else flipped).double().mean()
    assert error.max() < 2.5 / 255, f"largest error {error.max():.2e}"
    assert share <= FEW_FLIPS, f"{share:.2%} of the pixels differ by more than {EXACT}"
    assert error[~flipped].mean() < mean, f"mean error {error[~flipped].mean():.2e}"


def assert_same_picture(found: Tensor, expected: Tensor) -> None:
    """[..., H, W, X] each: equal to 1e-4 everywhere but in a boundary band of at most 0.1 % of the pixels.

    Errors are relative to the largest value of each channel where that is above 1. The cut-offs are steps, so in
    the band, where rounding decides on which side of a step a term falls, a difference of 1/255 is allowed.
    """
    assert found.shape == expected.shape
    if not found.numel():
        return
    expected = expected.detach()
    scale = expected.abs().flatten(0, -2).amax(0).clamp_min(1)
    error = ((found.detach().to(expected) - expected).abs() / scale).amax(-1)
    assert torch.isfinite(error).all(), "not finite"
    assert error.max() <= BAND, f"largest error {error.max():.2e}"
    share = (error > EXACT).double().mean()
    assert share <= BAND_SHARE, f"{share:.2%} of the pixels differ by more than {EXACT}"
