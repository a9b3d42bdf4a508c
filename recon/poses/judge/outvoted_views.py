"""Outvoted views: those that agree with some of the others, and contradict about as many.

Which of the two is right, the matches leave open: a pair of photographs that is a repeat of a wallpaper off agrees with
a second pair and contradicts a third.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..strongest_tree import across, sides
from ..verification import Pair
from .agreement import LEAST_AGREEING, Agreement
from .solved_again import MOST_VIEWS

# Share of a side's matches with all others from which on pairs that the cameras contradict leave open which of them is
# right, if they are at least so strong as a share of the strongest one that agrees: small look-alikes are many. Of 110
# choices of photographs of the fox 5 of 10 cameras that were told as sure and stood elsewhere, most by a repeat of a
# wallpaper, are of such a side, and 16 of 553 right ones; of 30 others 3 of 3, and none of 138.
OPEN_SHARE, OPEN_STRENGTH = 0.3, 0.5


def outvoted_views(found: Agreement) -> set[int]:
    """Views of sides, of half the views at most, of whose matches with all others many are in contradicted pairs.

    Sides are single views and the smaller parts that a link of the strongest tree of agreeing matches holds. Those that
    hardly agree with anything are wrong themselves, and do not count against the others. None for more than MOST_VIEWS
    photographs: those of a long walk match in so many places by chance that 76 of 200 right ones were among them.
    """
    return set() if len(found.views) > MOST_VIEWS else open_views(found.views, found.shares, found.matches)


def open_views(views: Sequence[int], agreeing: Mapping[Pair, float], matches: Mapping[Pair, int]) -> set[int]:
    """Those of `outvoted_views`, from each pair's agreeing share and number of matches."""
    alone = _outvoted(views, agreeing, matches, 1 - OPEN_SHARE)
    others = {pair: share for pair, share in agreeing.items() if not alone & set(pair)}
    return alone | _outvoted([view for view in views if view not in alone], others, matches, OPEN_SHARE)


def _outvoted(
    views: Sequence[int], agreeing: Mapping[Pair, float], matches: Mapping[Pair, int], least: float
) -> set[int]:
    held = {pair: share * matches[pair] for pair, share in agreeing.items()}
    against = {pair: (1 - share) * matches[pair] for pair, share in agreeing.items() if share < LEAST_AGREEING}
    found: set[int] = set()
    for side in sides(views, held):
        agrees = across(held, side)
        strong = OPEN_STRENGTH * max(agrees, default=0.0)
        no, yes = sum(number for number in across(against, side) if number >= strong), sum(agrees)
        if 2 * len(side) <= len(views) and no > least * (no + yes):
            found |= side
    return found
