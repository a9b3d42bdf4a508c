"""Depth between sparse points of one view: a guess that is smooth, and right on planes."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator
from scipy.spatial import QhullError


def inverse_depth_between(
    known: np.ndarray,  # [N >= 1, 2] float64, where depth is known: pixels, or x / z and y / z
    inverse_depth: np.ndarray,  # [N]
    wanted: np.ndarray,  # [M, 2] in the same coordinates
) -> np.ndarray:
    """[M] linear inside the points' hull, as inverse depth is on planes, and the nearest point's outside it."""
    try:
        between: np.ndarray = LinearNDInterpolator(known, inverse_depth)(wanted)
    except (QhullError, ValueError):  # fewer than three, or all on one line
        between = np.full(len(wanted), np.nan)
    outside = ~np.isfinite(between)
    if outside.any():
        between[outside] = NearestNDInterpolator(known, inverse_depth)(wanted[outside])
    return between
