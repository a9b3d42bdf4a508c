"""A side that was cut off: photographs left out as misleading that match several placed ones as well as any do.

Where two sides of a thing look alike, some photographs may have been laid upon the wrong one. Those from in between
match both ends then and fit neither, and it is they that are taken out; what is left agrees with itself. One photograph
that is taken out so may itself be what is odd. Several are a side of the thing, and speak against all that is placed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ....scene.readers.safe_paths import listed
from .misleading_pairs import SeparatedModel
from .torn_links import MOST_NAMED, TEARING, strengths

# Of 36 models with sure cameras and with photographs that were cut off (look-alikes of seeds 31000 to 81000, choices of
# the fox) three have two such photographs and more: two symmetric things with wrong halves that were told as sure, and
# a wall of tiles, all of whose three sure cameras are right. Six, none of whose sure cameras is wrong, have one.
LEAST_CUT_OFF, LEAST_SHARE = 2, 0.25  # photographs, and of those that are placed
LEAST_PAIRS = 2  # of each such photograph with placed ones


def cut_off_side(found: SeparatedModel) -> list[int]:
    """Views left out that several strong pairs join to placed ones, where these are enough to be a side of a thing."""
    assert found.model is not None
    placed = set(found.model.views)
    strong = [pair for pair, strength in strengths(found.verified, found.misleading).items() if strength >= TEARING]
    outside = [set(pair) - placed for pair in strong]
    pairs = Counter(view for one in outside if len(one) == 1 for view in one)
    views = sorted(view for view, count in pairs.items() if count >= LEAST_PAIRS)
    return views if len(views) >= max(LEAST_CUT_OFF, LEAST_SHARE * len(placed)) else []


def notes_on_cut_off_side(names: Sequence[str], found: SeparatedModel) -> list[str]:
    """A sentence about the photographs of `cut_off_side`, if there are any."""
    views = cut_off_side(found)
    if not views:
        return []
    return [
        f"{listed([names[view] for view in views], MOST_NAMED)} match several of the placed photographs as well as any "
        "do, and fit nowhere between them: several sides of a thing that look alike may have been taken for one. "
        "Photographs from in between would tell them apart."
    ]
