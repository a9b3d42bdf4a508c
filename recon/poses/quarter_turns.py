"""Photographs turned by a quarter or a half against the others, as of a table from above, for matchers of upright ones.

Such a matcher finds hundreds of matches between two photographs that are both upright and next to none, mostly wrong,
where one is turned. So groups of photographs that nothing joins are tried in their three other turns.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import numpy as np

from .verification import Pair

# Measured with XFeat + LighterGlue on ten pairs of two scenes: 207 to 931 matches upright, at most 22 turned.
LINKED = 30  # matches from which two photographs may well show the same thing the same way up, so that none is turned
JOINED = 60  # matches from which they certainly do, so that a turn is believed
_PROBES = 3  # pairs between two groups that are tried, the nearest in the order of names
_MAX_TRIES = 8  # of groups: more are photographs of different things


def turns_that_join(
    n_views: int,
    pairs: Collection[Pair],
    counts: Mapping[Pair, int],  # matches of the pairs as the photographs are
    count_turned: Callable[[Pair, int], int],  # (pair, turns) -> matches, the pair's second view turned
) -> list[int]:
    """Quarter turns (counter-clockwise, 0 to 3) of each view after which the groups of views join."""
    turns = [0] * n_views
    main, *waiting = _groups(n_views, [pair for pair in pairs if counts[pair] >= LINKED])
    joined, tries = set(main), _MAX_TRIES
    while waiting:
        left: list[list[int]] = []
        for group in waiting:
            between = [p for p in pairs if len(joined & set(p)) == 1 and len(set(group) & set(p)) == 1]
            turn = None
            if between and tries > 0:
                tries -= 1
                nearest = sorted(between, key=lambda p: p[1] - p[0])[:_PROBES]
                turn = _turn_that_joins(nearest, joined, turns, count_turned)
            if turn is None:
                left.append(group)
                continue
            joined |= set(group)
            for view in group:
                turns[view] = turn
        if len(left) == len(waiting):
            break
        waiting = left  # what was turned just now may be what joins them
    return turns


def _turn_that_joins(
    between: list[Pair], joined: set[int], turns: list[int], count_turned: Callable[[Pair, int], int]
) -> int | None:
    """Turns of a group that join it to the views that are joined already; None where none does."""
    for first, second in between:
        known, new = (first, second) if first in joined else (second, first)
        for relative in (1, 3, 2):
            if count_turned((known, new), relative) >= JOINED:
                return (turns[known] + relative) % 4
    return None


def _groups(n_views: int, links: list[Pair]) -> list[list[int]]:
    """Views that pairs join, directly or over others; the largest group first."""
    group_of = list(range(n_views))
    for a, b in links:
        old, new = group_of[b], group_of[a]
        group_of = [new if group == old else group for group in group_of]
    groups = [[view for view in range(n_views) if group_of[view] == group] for group in dict.fromkeys(group_of)]
    return sorted(groups, key=lambda g: (-len(g), g[0]))


def turned_back(
    xy_px: np.ndarray,  # [N, 2] in the turned image
    width: int,  # pixels, of the turned image
    height: int,
    turns: int,
) -> np.ndarray:
    """Positions [N, 2] in an image, of positions in it after so many quarter turns counter-clockwise (numpy.rot90)."""
    for _ in range(turns % 4):
        xy_px = np.stack([height - xy_px[:, 1], xy_px[:, 0]], axis=1)
        width, height = height, width
    return xy_px
