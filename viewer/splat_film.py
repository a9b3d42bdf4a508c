"""The pictures of a film of a splat that may move."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..render.film import film_pictures
from ..scene.cameras import Cameras
from ..scene.splat import Splat


def film_moments(splat: Splat, cameras: Cameras) -> list[float | None]:
    """Moments at which the cameras [n] see the splat: their own; without times the motion takes the whole film.

    None is for a splat that stands still.
    """
    if splat.time_range_s is None:
        return [None] * len(cameras)
    if cameras.times_s is not None:
        return [float(time) for time in cameras.times_s]
    return np.linspace(*splat.time_range_s, len(cameras)).tolist()


def splat_film(
    splat: Splat,
    cameras: Cameras,  # [n]
    background: Sequence[float] | None = None,  # [3] sRGB; that of the splat when None
) -> Iterator[np.ndarray]:
    """uint8 sRGB [H, W, 3] of each camera in turn, drawn when it is asked for, on the splat's device."""
    under = splat.background if background is None else background
    for i, moment in enumerate(film_moments(splat, cameras)):
        yield from film_pictures(splat.at(moment), cameras[i : i + 1], background=under, antialiased=splat.antialiased)
