"""Reference implementations of the loss kernels, slow and plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d

SSIM_WINDOW = 11  # pixels
SSIM_SIGMA = 1.5  # pixels
SSIM_C1 = 0.01**2
SSIM_C2 = 0.03**2


def ssim_map(image: Tensor, target: Tensor) -> Tensor:
    """Structural similarity [H, W, 3] of images [H, W, 3] in [0, 1], each channel on its own.

    An 11 x 11 Gaussian window of sigma 1.5, and zeros outside the image, as in the code of 3DGS (Wang et al. 2004
    has neither padding nor colour).
    """
    offsets = torch.arange(SSIM_WINDOW, dtype=image.dtype, device=image.device) - SSIM_WINDOW // 2
    line = torch.exp(-(offsets**2) / (2 * SSIM_SIGMA**2))
    line = line / line.sum()
    window = (line[:, None] * line)[None, None]  # [1, 1, 11, 11]

    def blur(x: Tensor) -> Tensor:
        return conv2d(x.permute(2, 0, 1)[:, None], window, padding=SSIM_WINDOW // 2)[:, 0].permute(1, 2, 0)

    mean_a, mean_b = blur(image), blur(target)
    var_a = blur(image * image) - mean_a * mean_a
    var_b = blur(target * target) - mean_b * mean_b
    covar = blur(image * target) - mean_a * mean_b
    numerator = (2 * mean_a * mean_b + SSIM_C1) * (2 * covar + SSIM_C2)
    return numerator / ((mean_a * mean_a + mean_b * mean_b + SSIM_C1) * (var_a + var_b + SSIM_C2))


def l1_dssim(
    image: Tensor,  # [H, W, 3]
    target: Tensor,  # [H, W, 3]
    dssim_weight: float = 0.2,
) -> Tensor:
    """The loss of 3DGS (Kerbl et al. 2023, equation 7): (1 - w) mean |a - b| + w (1 - mean SSIM), a scalar."""
    l1 = (image - target).abs().mean()
    return (1 - dssim_weight) * l1 + dssim_weight * (1 - ssim_map(image, target).mean())
