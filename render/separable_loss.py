"""The image loss for a GPU: SSIM's five window means at once, by a row and a column of taps instead of 121 each."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from .reference_loss import SSIM_C1, SSIM_C2, SSIM_SIGMA, SSIM_WINDOW


def l1_dssim(
    image: Tensor,  # [H, W, 3]
    target: Tensor,  # [H, W, 3]
    dssim_weight: float = 0.2,
) -> Tensor:
    """(1 - w) mean |a - b| + w (1 - mean SSIM), a scalar, as `reference_loss.l1_dssim` has it, up to rounding."""
    offsets = torch.arange(SSIM_WINDOW, dtype=image.dtype, device=image.device) - SSIM_WINDOW // 2
    line = torch.exp(-(offsets**2) / (2 * SSIM_SIGMA**2))
    line = (line / line.sum())[None, None]  # [1, 1, 11]
    a, b = (x.permute(2, 0, 1)[:, None] for x in (image, target))  # [3, 1, H, W]
    moments = torch.cat([a, b, a * a, b * b, a * b])  # [15, 1, H, W]
    half = SSIM_WINDOW // 2
    along_rows = conv2d(moments, line[..., None, :], padding=(0, half))
    mean_a, mean_b, mean_aa, mean_bb, mean_ab = conv2d(along_rows, line[..., None], padding=(half, 0)).split(3)
    numerator = (2 * mean_a * mean_b + SSIM_C1) * (2 * (mean_ab - mean_a * mean_b) + SSIM_C2)
    squares = mean_a * mean_a + mean_b * mean_b
    ssim = numerator / ((squares + SSIM_C1) * (mean_aa + mean_bb - squares + SSIM_C2))
    return (1 - dssim_weight) * (image - target).abs().mean() + dssim_weight * (1 - ssim.mean())
