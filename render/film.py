"""The pictures of a film: a splat along a path of cameras."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from ..scene.cameras import Cameras
from ..scene.splat import Splat
from .rendering import render


def film_pictures(splat: Splat, cameras: Cameras) -> Iterator[np.ndarray]:
    """uint8 sRGB [H, W, 3] of each camera [n] in turn, drawn when it is asked for, on the splat's device.

    A moving splat is drawn at the cameras' times; where they have none, its motion is played once over the film.
    """
    device = splat.gaussians.means.device
    background = torch.tensor(splat.background, dtype=splat.gaussians.means.dtype, device=device)
    moments = film_moments(splat, cameras)
    for i, moment in enumerate(moments):
        with torch.no_grad():  # inside the loop: whoever takes the pictures runs between them
            camera = cameras[i].to(device)
            rgb = render(splat.at(moment), camera, background=background, antialiased=splat.antialiased).rgb
        yield (rgb.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


def film_moments(splat: Splat, cameras: Cameras) -> list[float | None]:
    """The moment of each picture; None for a splat that does not move."""
    if splat.time_range_s is None:
        return [None] * len(cameras)
    if cameras.times_s is not None:
        return [float(time_s) for time_s in cameras.times_s]
    return [float(time_s) for time_s in np.linspace(*splat.time_range_s, len(cameras))]
