"""gsplat's names that have nothing behind them here: they can be imported, and a call says what they belong to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from ..scene.errors import BadInputError


def _refused(name: str, what: str) -> Callable[..., NoReturn]:
    def refuse(*args: Any, **kwargs: Any) -> NoReturn:
        raise BadInputError(f"{name}: {what} is not in fewview.gsplat; it needs gsplat itself and a CUDA GPU.")

    refuse.__name__ = refuse.__qualname__ = name
    refuse.__doc__ = f"Refused: {what} is not here."
    return refuse


SURFELS = "2D Gaussian splatting"
UNSCENTED = "the unscented transform, with its distortion, rolling shutter and f-theta cameras,"

rasterization_2dgs = _refused("rasterization_2dgs", SURFELS)
fully_fused_projection_2dgs = _refused("fully_fused_projection_2dgs", SURFELS)
rasterize_to_pixels_2dgs = _refused("rasterize_to_pixels_2dgs", SURFELS)
fully_fused_projection_with_ut = _refused("fully_fused_projection_with_ut", UNSCENTED)
rasterize_to_pixels_eval3d = _refused("rasterize_to_pixels_eval3d", UNSCENTED)
