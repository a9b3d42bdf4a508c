"""Still things before a camera that stands, while an object turns: their matches say that nothing turns.

That is a background, and it is the outline of a body of revolution: keypoints on it stay where they are, whatever part
of the body they are of, and bend the cameras towards each other.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from scipy.spatial import cKDTree

from .correspondences import Correspondences
from .verification import MIN_INLIERS, Pair

STILL_PX = 1.5  # a keypoint of something that stands, before a camera that stands, is found again this near
MOVED_PX = 6.0  # nearer, a match is rather of a blurred spot of the background that is found again less well
# Matches that stand within so many pixels, over all pairs, from which on what is found there is not of what turns.
PLACE_PX, STILL_HERE = 8.0, 3
MOST = 0.6  # of the pairs that match must show still things; a camera in a hand never comes back to the pixel
# Pairs that show something that moves, too, without which nothing turns: the camera stood, or took one picture twice.
SOME = 0.2
# Chance leaves as many matches within STILL_PX as the areas say, 1 for every 15 from there to MOVED_PX.
OUTLINE = 0.4  # for every one of those; an outline gives two thirds and more
OUTLINE_PAIRS = 3  # of photographs that must show such matches
UNEQUAL = 0.25  # relative difference of two usual moves that are not of one place

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
    return _without_what_stands(correspondences, moved_px)


def without_still_outline(correspondences: Correspondences) -> Correspondences | None:
    """The same without matches that stay about where they are, where more of them do than chance explains; else None.

    Pairs of one place stay as they are: the object has come back to where it was.
    """
    moved_px = {pair: correspondences.moved_px(pair).numpy() for pair in correspondences.matches}
    usual_px = {pair: float(np.median(m)) for pair, m in moved_px.items() if len(m) >= MIN_INLIERS}
    usual_move = {pair: _usual_move(correspondences, pair) for pair in usual_px}
    same = {pair for pair, moved in usual_px.items() if moved <= MOVED_PX and _is_one_place(pair, usual_move)}
    turned = {pair: moved for pair, moved in moved_px.items() if pair not in same}
    # Pairs of which nothing has moved far may be of nothing but outline.
    only_outline = [pair for pair, moved in usual_px.items() if moved <= MOVED_PX and pair not in same]
    telling = [m for pair, m in turned.items() if usual_px.get(pair, 0.0) > MOVED_PX]
    still = np.array([(m < STILL_PX).sum() for m in telling])
    near = sum(int((m < MOVED_PX).sum()) for m in telling) - still.sum()
    stands = still.sum() >= max(MIN_INLIERS, OUTLINE * near) and (still > 0).sum() >= OUTLINE_PAIRS
    if not stands and len(only_outline) < OUTLINE_PAIRS:
        return None
    return _without_what_stands(correspondences, turned)


def _usual_move(correspondences: Correspondences, pair: Pair) -> np.ndarray:
    """Median vector [2] in pixels from the keypoints of the first photograph to those of the second."""
    xy = _places(correspondences, pair)
    return np.median(xy[:, 1] - xy[:, 0], axis=0)


def _is_one_place(pair: Pair, usual_move: Mapping[Pair, np.ndarray]) -> bool:
    """True where two photographs that look as if nothing had moved see most others move alike, or nothing move.

    Where they look alike from different sides, what turns to the left for the one turns to the right for the other.
    """
    moves: dict[int, dict[int, np.ndarray]] = {view: {} for view in pair}
    for (first, second), move in usual_move.items():
        for view, other, there in ((first, second, move), (second, first, -move)):
            if view in moves and other not in pair:
                moves[view][other] = there
    a, b = moves.values()
    lengths = [(_length(a[c]), _length(b[c]), _length(a[c] - b[c])) for c in a.keys() & b.keys()]
    far = [(max(one, other), apart) for one, other, apart in lengths if max(one, other) > MOVED_PX]
    unlike = sum(apart > max(2 * MOVED_PX, UNEQUAL * longer) for longer, apart in far)
    return 2 * unlike <= len(far)


def _length(vector: np.ndarray) -> float:
    return float(np.linalg.norm(vector))


def _without_what_stands(
    correspondences: Correspondences,
    moved_px: Mapping[Pair, np.ndarray],  # [M] of the matches of each pair that is looked at
) -> Correspondences:
    """The same without matches of those pairs that stay about where they are, or lead from and to where things stand.

    The camera stands, so that places are those of all photographs: what slides along an outline stays on it.
    """
    xy = {pair: _places(correspondences, pair) for pair in moved_px}
    stands = [both[moved < MOVED_PX][:, 0] for both, moved in zip(xy.values(), moved_px.values(), strict=True)]
    tree = cKDTree(np.concatenate(stands))
    kept = dict(correspondences.matches)
    for pair, moved in moved_px.items():
        crowd = [tree.query_ball_point(xy[pair][:, k], PLACE_PX, return_length=True) for k in range(2)]
        on_place = np.minimum(*crowd) >= STILL_HERE
        kept[pair] = kept[pair][(moved >= MOVED_PX) & ~on_place]
    return Correspondences(correspondences.images, kept)


def _places(correspondences: Correspondences, pair: Pair) -> np.ndarray:
    """Pixels [M, 2, 2] of the matches of a pair: those in the first photograph, and those in the second."""
    matches = correspondences.matches[pair]
    xy = [correspondences.images[view].features.xy_px[matches[:, k]] for k, view in enumerate(pair)]
    return torch.stack(xy, dim=1).numpy()
