"""A distance between pictures that looks at structure: multi-scale SSIM and gradients, in the place of LPIPS.

LPIPS needs weights that most computers lack, and pictures larger than these. Structural similarity (Wang et al. 2003,
at three scales) and the difference of gradients both vanish where an empty background meets an empty background, so
that their mean over a picture grows with the object; divided by the object's share of the picture it does not.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ....render.metrics import SSIM_C1, SSIM_C2

SCALES = 3
WINDOW_PX, SIGMA_PX = 7, 1.2  # smaller than the metric's 11 and 1.5, for pictures of 32 to 128 pixels
GRADIENT_WEIGHT = 1.0


def appearance_distance(
    images: Tensor,  # [..., H, W, 3] in [0, 1]
    targets: Tensor,  # [..., H, W, 3] in [0, 1]
    area_fraction: Tensor | float = 1.0,  # [...] share of the picture that the object covers
) -> Tensor:
    """Distances [...], zero for equal pictures: mean over scales of (1 - SSIM) / 2 + |difference of gradients|."""
    shape = torch.broadcast_shapes(images.shape, targets.shape)
    x, y = (t.expand(shape).reshape(-1, *shape[-3:]).permute(0, 3, 1, 2).clamp(0, 1) for t in (images, targets))
    total = torch.zeros(len(x))
    for scale in range(SCALES):
        if scale:
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
        total += (1 - _ssim(x, y)) / 2 + GRADIENT_WEIGHT * _gradient_difference(x, y)
    return total.reshape(shape[:-3]) / SCALES / torch.as_tensor(area_fraction).clamp_min(1e-3)


def _ssim(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity [B] of pictures [B, C, H, W]."""
    channels = x.shape[1]
    offset = torch.arange(WINDOW_PX, dtype=x.dtype) - WINDOW_PX // 2
    weight = torch.exp(-(offset**2) / (2 * SIGMA_PX**2))
    weight = (weight / weight.sum()).expand(channels, 1, 1, WINDOW_PX)

    def blur(t: Tensor) -> Tensor:
        padded = F.pad(t, (WINDOW_PX // 2,) * 4, mode="replicate")
        return F.conv2d(F.conv2d(padded, weight, groups=channels), weight.transpose(2, 3), groups=channels)

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + SSIM_C1) / (mean_x**2 + mean_y**2 + SSIM_C1)
    structure = (2 * covariance + SSIM_C2) / (var_x + var_y + SSIM_C2)
    return (luminance * structure).mean(dim=(1, 2, 3))


def _gradient_difference(x: Tensor, y: Tensor) -> Tensor:
    """Mean absolute difference [B] of the horizontal and vertical gradients of pictures [B, C, H, W]."""
    d = x - y
    across = (d[..., 1:] - d[..., :-1]).abs().mean(dim=(1, 2, 3))
    down = (d[..., 1:, :] - d[..., :-1, :]).abs().mean(dim=(1, 2, 3))
    return across + down
