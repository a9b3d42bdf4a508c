"""Still things before a camera that stands, while an object turns: their matches say that nothing turns.

That is a background, and it is the outline of a body of revolution: keypoints on it stay where they are, whatever part
of the body they are of, and bend the cameras towards each other.
"""

from __future__ import annotations

import numpy as np

from .correspondences import SURE, Correspondences
from .verification import MIN_INLIERS

STILL_PX = 1.5  # a keypoint of something that stands, before a camera that stands, is found again this near
MOVED_PX = 6.0
MOST = 0.6  # of the pairs that match must show still things; a camera in a hand never comes back to the pixel
# Pairs that show something that moves, too, without which nothing turns: the camera stood, or took one picture twice.
SOME = 0.2
# Chance leaves as many matches within STILL_PX as the areas say, 1 for every 15 from there to MOVED_PX.
OUTLINE = 0.4  # for every one of those; an outline gives two thirds and more
OUTLINE_PAIRS = 3  # of photographs that must show such matches

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


def without_still_outline(correspondences: Correspondences) -> Correspondences | None:
    """The same without matches that stay about where they are, where more of them do than chance explains; else None.

    Pairs that are alike all over stay as they are: the object has come back to where it was.
    """
    moved_px = {pair: correspondences.moved_px(pair).numpy() for pair in correspondences.matches}
    turned = {p: m for p, m in moved_px.items() if len(m) < SURE or np.median(m) > MOVED_PX}
    # Pairs of which nothing has moved far may be of nothing but outline, and do not tell.
    telling = [m for m in turned.values() if len(m) >= MIN_INLIERS and np.median(m) > MOVED_PX]
    still = np.array([(m < STILL_PX).sum() for m in telling])
    near = sum(int((m < MOVED_PX).sum()) for m in telling) - still.sum()
    if still.sum() < max(MIN_INLIERS, OUTLINE * near) or (still > 0).sum() < OUTLINE_PAIRS:
        return None
    kept = {
        pair: matches[turned[pair] >= MOVED_PX] if pair in turned else matches
        for pair, matches in correspondences.matches.items()
    }
    return Correspondences(correspondences.images, kept)
