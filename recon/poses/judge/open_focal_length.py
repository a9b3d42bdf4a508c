"""Open focal length: how far cameras turn where another one explains the photographs nearly as well.

A focal length that is off bends a chain of photographs from end to end, and the points give way to it: of nine
photographs around a thing one a third too short was found, with cameras 8 degrees off, and the squared errors of the
true one are 4 % larger. The covariance of a bundle adjustment takes the errors of thousands of observations to be
independent, so that 4 % would be impossible; those of neighbouring points at an occluding edge are not.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import pycolmap

from ....scene.readers.safe_paths import listed
from ..bundle_adjustment import adjusted, error_px2
from ..mapping import Model
from .solved_again import MOST_VIEWS, WITHIN_DEG, turned_deg

FACTORS = (0.7, 1.4)  # times the focal length, at which it is held
# How much larger the squared errors of a focal length may be for it to be possible still, as a share. With this 8 of 28
# cameras of rendered scenes that were told as sure and are wrong may turn by more than 5 degrees, of 261 right ones 32,
# of photographs of the fox, the castle and the bananas none of 658.
POSSIBLE = 0.03
LEAST_LARGER = 0.005  # share that anything is larger by: below it is rounding
KNOWN = 1.1  # factor within which a focal length is that EXIF knows
MOST_NAMED = 3


def bend_deg(model: Model) -> dict[int, float]:
    """Angle in degrees by which each placed view may be turned against most others because of the focal length.

    Cameras and points are adjusted again with the focal length held at FACTORS of what it is. Squared errors grow with
    the square of its logarithm, turns along with it, so that the turn follows at which the errors are POSSIBLE.
    Empty for more than MOST_VIEWS photographs, which close rings, and take long.
    """
    views = model.views
    if len(views) > MOST_VIEWS:
        return {}
    best = adjusted(copy.deepcopy(model.reconstruction), refine_focal=not model.focal_held)
    least = max(1e-12, error_px2(best))
    is_known = all(camera.has_prior_focal_length for camera in best.cameras.values())
    bends = np.zeros(len(views))
    for factor in FACTORS:
        other = adjusted(_with_focal_times(best, factor), refine_focal=False)
        turns = turned_deg(best, other, views)
        usual = np.array([np.median(np.delete(turns[i], i)) for i in range(len(views))])
        larger = max(LEAST_LARGER, error_px2(other) / least - 1)
        reach = np.sqrt(POSSIBLE / larger)
        if is_known:
            reach = min(reach, np.log(KNOWN) / abs(np.log(factor)))
        bends = np.maximum(bends, reach * usual)
    return dict(zip(views, bends.tolist(), strict=True))


def _with_focal_times(reconstruction: pycolmap.Reconstruction, factor: float) -> pycolmap.Reconstruction:
    other = copy.deepcopy(reconstruction)
    for camera in other.cameras.values():
        for index in camera.focal_length_idxs():
            camera.params[index] *= factor
    return other


def bent_views(bends: Mapping[int, float]) -> list[int]:
    """Views that the focal length may turn by more than WITHIN_DEG, farthest first; `bends` of `bend_deg`."""
    return [view for view in sorted(bends, key=lambda view: -bends[view]) if bends[view] > WITHIN_DEG]


def notes_on_focal_length(names: Sequence[str], bends: Mapping[int, float]) -> list[str]:
    """A sentence about the photographs whose cameras the focal length leaves open, if there are any."""
    bent = bent_views(bends)
    if not bent:
        return []
    shown = listed([names[view] for view in bent], MOST_NAMED)
    return [
        f"The photographs leave their focal length open: with another that explains them nearly as well, {shown} "
        f"would be turned by up to {bends[bent[0]]:.0f} degrees. Photographs whose EXIF gives the focal length, "
        "or more of them from further around, would settle it."
    ]
