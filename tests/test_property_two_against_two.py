"""Two photographs against two others of one side: what is a dispute over a mark, and what is not."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import pytest
from fewview.recon.poses.judge.denied_surface import DeniedSurface
from fewview.recon.poses.judge.two_against_two import SIDES_SHARE, disputed_views, disputes, notes_on_dispute
from fewview.recon.poses.verification import Pair

ONE_MARK = {(0, 1): 0.05, (2, 3): 0.1, (0, 4): 0.0, (1, 4): 0.0, (0, 2): 0.4, (1, 2): 0.35, (1, 3): 0.5}


def denied_at(
    shares: Mapping[Pair, float],
    cells: Mapping[tuple[int, int], int] = MappingProxyType({}),
    unlike: Collection[tuple[int, int]] = (),
    along: Sequence[float] = (0.0,) * 13,
) -> DeniedSurface:
    """Shares denied both ways in one of two cells of each view: the first, or what `cells` has of (view, other).

    In both cells all pairs show the same but for the (view, other) of `unlike`. Cameras are on a line, at `along`.
    """
    places, agreed = {}, {}
    for pair, share in shares.items():
        for view, other in (pair, pair[::-1]):
            places[view, other] = np.zeros((1, 2), np.float32)
            places[view, other][0, cells.get((view, other), 0)] = share
            agreed[view, other] = np.full((1, 2), (view, other) not in unlike)
    return DeniedSurface(shares, places, agreed, {view: np.array([x, 0, 0]) for view, x in enumerate(along)})


def test_two_views_that_show_what_two_others_of_the_same_side_do_not_dispute_it() -> None:
    alike = {(0, 1): 0.05, (2, 3): 0.1, (4, 5): 0.0, (0, 4): 0.02, (1, 5): 0.04}
    mark = {(0, 2): 0.4, (1, 2): 0.35, (1, 3): 0.5}  # (0, 3) was not looked at
    (dispute,) = disputes(denied_at(alike | mark))
    assert {dispute.ones, dispute.others} == {(0, 1), (2, 3)}
    assert dispute.share == pytest.approx(0.35)
    (note,) = notes_on_dispute("abcdef", denied_at(alike | mark))
    words = "show something else in one place than"
    assert note.startswith((f"a and b {words} c and d", f"c and d {words} a and b"))
    # One view alone may show a passer-by, and one pair may be wrong about its surface.
    assert disputes(denied_at(alike | {(0, 2): 0.4, (0, 3): 0.4, (0, 4): 0.4})) == []
    assert disputes(denied_at(alike | {(1, 3): 0.5})) == []
    # Those of one side must agree, and be looked at.
    assert disputes(denied_at(alike | mark | {(2, 3): 0.3})) == []
    assert disputes(denied_at({pair: share for pair, share in (alike | mark).items() if pair != (2, 3)})) == []
    # Leaves deny everywhere: what all pairs deny is no dispute.
    everywhere = {(a, b): 0.32 for a in range(6, 9) for b in range(9, 13)}
    assert disputes(denied_at({**alike, **mark, **everywhere})) == []
    assert disputes(DeniedSurface()) == []
    assert notes_on_dispute("abcdef", denied_at(alike)) == []


@pytest.mark.parametrize("elsewhere", [(1, 3), (2, 0)])
def test_what_is_denied_here_by_one_and_there_by_another_is_no_dispute(elsewhere: tuple[int, int]) -> None:
    assert len(disputes(denied_at(ONE_MARK))) == 1
    assert disputes(denied_at(ONE_MARK, {elsewhere: 1})) == []


@pytest.mark.parametrize("unlike", [(1, 0), (2, 3)])
def test_views_of_one_side_must_show_the_same_in_the_very_place(unlike: tuple[int, int]) -> None:
    assert len(disputes(denied_at(ONE_MARK))) == 1
    assert disputes(denied_at(ONE_MARK, unlike=[unlike])) == []


@pytest.mark.parametrize(
    ("along", "disputed"),
    [
        ((0.0, 2.0, 1.0, 3.0, 9.0), True),  # sides that look alike put one view between two others
        ((0.0, 1.0, 3.0, 4.0, 9.0), False),  # what stands out looks other from far aside
        ((0.0, 1.0, 2.0, 5.0, 9.0), True),  # two that deny each other as near as two that agree
        ((0.0, 4.0, 4.5, 5.0, 9.0), True),
        ((4.0, 0.0, 9.0, 4.1, 1.0), False),  # those near each other were not compared
    ],
)
def test_what_stands_out_is_no_dispute(along: Sequence[float], disputed: bool) -> None:
    assert bool(disputes(denied_at(ONE_MARK, along=along))) == disputed


def test_a_dispute_of_a_few_photographs_among_many_leaves_only_them_open() -> None:
    few, many = range(int(4 / SIDES_SHARE)), range(int(4 / SIDES_SHARE) + 1)
    assert disputed_views(denied_at(ONE_MARK), few) == [*few]
    assert disputed_views(denied_at(ONE_MARK), many) == [0, 1, 2, 3]
    assert disputed_views(denied_at({(0, 1): 0.05, (2, 3): 0.1}), few) == []


def test_disputes_are_told_the_largest_first() -> None:
    alike = {(a, b): 0.0 for a in range(9, 12) for b in range(a + 1, 13)}
    shares = {**ONE_MARK, **alike, (5, 6): 0.05, (7, 8): 0.1, (5, 7): 0.6, (6, 7): 0.6, (6, 8): 0.6}
    first, second = disputes(denied_at(shares))
    assert {first.ones, first.others} == {(5, 6), (7, 8)}
    assert (first.share, second.share) == pytest.approx((0.6, 0.35))
    assert disputed_views(denied_at(shares), range(100)) == [0, 1, 2, 3, 5, 6, 7, 8]
