"""The image loss of 3D Gaussian splatting."""

from __future__ import annotations

from torch import Tensor

from . import native_rasterization as native
from . import separable_loss


def l1_dssim(
    image: Tensor,  # [H, W, 3] in [0, 1]
    target: Tensor,  # [H, W, 3] in [0, 1]
    dssim_weight: float = 0.2,
) -> Tensor:
    """(1 - w) * mean |image - target| + w * (1 - mean SSIM), a scalar (Kerbl et al. 2023, equation 7).

    SSIM has an 11 x 11 Gaussian window (sigma 1.5) and zeros beyond the border. Differentiable in `image`. On the
    CPU one fused kernel, on a GPU two convolutions for all five window means.
    """
    if image.is_cuda:
        return separable_loss.l1_dssim(image, target, dssim_weight)
    return native.l1_dssim(image, target, dssim_weight)
