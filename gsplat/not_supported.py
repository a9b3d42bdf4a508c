"""gsplat's names that have nothing behind them here: they can be imported, and a call says what they belong to."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
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
rasterize_to_indices_in_range_2dgs = _refused("rasterize_to_indices_in_range_2dgs", SURFELS)
accumulate_2dgs = _refused("accumulate_2dgs", SURFELS)
rasterization_2dgs_inria_wrapper = _refused("rasterization_2dgs_inria_wrapper", SURFELS)
rasterization_inria_wrapper = _refused("rasterization_inria_wrapper", "the rasteriser of Inria")
rasterize_to_indices_in_range = _refused("rasterize_to_indices_in_range", "the list of what each pixel meets")
accumulate = _refused("accumulate", "blending along a list of what each pixel meets")


class RollingShutterType(Enum):
    """The kinds of shutter that gsplat names; `rasterization` here takes GLOBAL and refuses the others."""

    ROLLING_TOP_TO_BOTTOM = 0
    ROLLING_LEFT_TO_RIGHT = 1
    ROLLING_BOTTOM_TO_TOP = 2
    ROLLING_RIGHT_TO_LEFT = 3
    GLOBAL = 4
