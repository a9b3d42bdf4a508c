"""Image metrics of a rendering against a photograph: PSNR, SSIM and LPIPS as the 3DGS papers report them."""

from __future__ import annotations

import functools
import importlib.util
import math
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from ..scene.errors import BadInputError

SSIM_WINDOW, SSIM_SIGMA_PX = 11, 1.5
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2
LPIPS_BACKBONE_VARIABLE = "FEWVIEW_LPIPS_BACKBONE"
# torchvision's own file names, in the order of preference: the 3DGS papers report LPIPS on VGG.
LPIPS_BACKBONES = ("vgg16-397923af.pth", "alexnet-owt-7be5be79.pth")


def psnr(image: Tensor, target: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of image and target [H, W, 3] in [0, 1]; infinite when they are equal.

    >>> photo = torch.zeros(8, 8, 3)
    >>> round(psnr(photo + 0.1, photo), 3), psnr(photo, photo)
    (20.0, inf)
    """
    _check(image, target)
    error = float(((image.detach().double() - target.detach().double()) ** 2).mean())
    return -10 * math.log10(error) if error > 0 else math.inf


def ssim(image: Tensor, target: Tensor) -> float:
    """Structural similarity of image and target [H, W, 3] in [0, 1], the mean over all pixels and channels.

    An 11x11 Gaussian window of 1.5 px with zeros beyond the border, as in the 3DGS code (Wang et al. 2004, eq. 13).

    >>> photo = torch.rand(16, 16, 3)
    >>> round(ssim(photo, photo), 6)
    1.0
    """
    _check(image, target)
    x, y = (pixels.detach().double().cpu().numpy() for pixels in (image, target))
    mean_x, mean_y = _blur(x), _blur(y)
    var_x, var_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    cov = _blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + SSIM_C1) / (mean_x**2 + mean_y**2 + SSIM_C1)
    structure = (2 * cov + SSIM_C2) / (var_x + var_y + SSIM_C2)
    return float((luminance * structure).mean())


def lpips(image: Tensor, target: Tensor) -> float | None:
    """Learned perceptual distance (Zhang et al. 2018, v0.1) of image and target [H, W, 3] in [0, 1].

    None where it cannot be measured; `lpips_missing` says why. Nothing is ever downloaded.
    """
    _check(image, target)
    if lpips_missing() is not None:
        return None
    model = _lpips_model(str(_backbone_path()))
    with torch.no_grad():
        pair = [t.detach().float().cpu().permute(2, 0, 1)[None] for t in (image, target)]
        return float(model(*pair, normalize=True))


def lpips_missing() -> str | None:
    """One sentence that says what LPIPS lacks here, or None when it can be measured."""
    if importlib.util.find_spec("lpips") is None:
        return 'LPIPS is not measured: the "lpips" package is absent (pip install "fewview[metrics]").'
    if _backbone_path() is None:
        return (
            f"LPIPS is not measured: its ImageNet backbone is absent. Put torchvision's {LPIPS_BACKBONES[0]} into "
            f"{_hub_folder()}, or name the file in the variable {LPIPS_BACKBONE_VARIABLE}."
        )
    return None


def _check(image: Tensor, target: Tensor) -> None:
    if image.shape != target.shape or image.ndim != 3 or image.shape[-1] != 3:
        raise ValueError(
            f"expected two images [H, W, 3] of one size, found {tuple(image.shape)} and {tuple(target.shape)}"
        )


def _blur(x: np.ndarray) -> np.ndarray:
    """Gaussian window means of x [H, W, 3] float64, zeros beyond the border."""
    weight = cv2.getGaussianKernel(SSIM_WINDOW, SSIM_SIGMA_PX, cv2.CV_64F)
    return cv2.sepFilter2D(x, cv2.CV_64F, weight, weight, borderType=cv2.BORDER_CONSTANT)


def _hub_folder() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


def _backbone_path() -> Path | None:
    named = os.environ.get(LPIPS_BACKBONE_VARIABLE)
    if named:
        return Path(named) if Path(named).is_file() else None
    return next((path for name in LPIPS_BACKBONES if (path := _hub_folder() / name).is_file()), None)


@functools.lru_cache(maxsize=1)
def _lpips_model(path: str) -> Any:
    """The LPIPS network with torchvision's backbone weights from a local file, VGG-16 or AlexNet by their shapes."""
    import lpips as package

    weights = torch.load(path, map_location="cpu", weights_only=True)
    first = weights.get("features.0.weight") if isinstance(weights, dict) else None
    kinds: dict[tuple[int, ...], str] = {(64, 3, 3, 3): "vgg", (64, 3, 11, 11): "alex"}
    net = kinds.get(tuple(first.shape)) if isinstance(first, Tensor) else None
    if net is None:
        raise BadInputError(f"{path} holds no VGG-16 or AlexNet weights of torchvision, which LPIPS needs.")
    # `pnet_rand` keeps the package from asking torchvision to download the weights that are filled in below.
    model = package.LPIPS(net=net, pnet_rand=True, verbose=False).eval()
    for name, parameter in model.net.named_parameters():
        layer = "features." + name.split(".", 1)[1]  # "slice1.0.weight" is torchvision's "features.0.weight"
        if layer not in weights or weights[layer].shape != parameter.shape:
            raise BadInputError(f"{path} lacks {layer} of shape {list(parameter.shape)}, which LPIPS needs.")
        parameter.data.copy_(weights[layer])
    return model.requires_grad_(False)
