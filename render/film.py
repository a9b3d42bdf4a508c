"""The pictures of a film: a splat along a path of cameras."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from ..scene.cameras import Cameras
from ..scene.gaussians import Gaussians
from .rendering import render


def film_pictures(
    gaussians: Gaussians,
    cameras: Cameras,  # [n]
    *,
    background: Sequence[float] = (0.0, 0.0, 0.0),  # [3] sRGB
    antialiased: bool = False,
) -> Iterator[np.ndarray]:
    """uint8 sRGB [H, W, 3] of each camera in turn, drawn when it is asked for, on the Gaussians' device."""
    under = torch.tensor(background, dtype=gaussians.means.dtype, device=gaussians.means.device)
    for i in range(len(cameras)):
        with torch.no_grad():  # inside the loop: whoever takes the pictures runs between them
            camera = cameras[i].to(gaussians.means.device)
            rgb = render(gaussians, camera, background=under, antialiased=antialiased).rgb
        yield (rgb.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
