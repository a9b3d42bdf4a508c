"""A still background behind an object that turns, as on a turntable: its matches say that the camera stands."""

from __future__ import annotations

from .correspondences import Correspondences
from .verification import MIN_INLIERS

STILL_PX = 1.5  # a keypoint of something that stands, before a camera that stands, is found again this near
MOVED_PX = 6.0
MOST = 0.6  # of the pairs that match must show still things; a camera in a hand never comes back to the pixel
# Pairs that show something that moves, too, without which nothing turns: the camera stood, or took one picture twice.
SOME = 0.2

STILL_BACKGROUND = (
    "The background stands still in most photographs while the object turns, as on a turntable: the cameras are those "
    "around the object. Give masks of the object (a folder masks/ beside the photographs), so that the background is "
    "left out of the splat."
)


def without_still_background(correspondences: Correspondences) -> Correspondences | None:
    """The same without matches of what stays at its pixel, where most pairs show such things; else None.

    For photographs of an object that turns before a camera on a tripod: what is left belongs to the object, around
    which the cameras then are.
    """
    moved_px = {
        pair: correspondences.moved_px(pair).numpy()
        for pair, matches in correspondences.matches.items()
        if len(matches) >= MIN_INLIERS
    }
    still = [pair for pair, moved in moved_px.items() if (moved < STILL_PX).sum() >= MIN_INLIERS]
    turning = [pair for pair, moved in moved_px.items() if (moved > MOVED_PX).sum() >= MIN_INLIERS]
    if len(still) < max(2, MOST * len(moved_px)) or len(turning) < max(2, SOME * len(moved_px)):
        return None
    kept = {
        pair: matches[moved_px[pair] >= STILL_PX] if pair in moved_px else matches
        for pair, matches in correspondences.matches.items()
    }
    return Correspondences(correspondences.images, kept)
