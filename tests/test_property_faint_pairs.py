"""Pairs of few matches between photographs with hundreds elsewhere are left out, unless nothing else joins them."""

from __future__ import annotations

from fewview.recon.poses.faint_pairs import FAINT, faint_pairs
from fewview.recon.poses.verification import Pair
from hypothesis import given, settings
from hypothesis import strategies as st
from support.view_graphs import graph_with

VIEWS = 9


def test_of_a_walk_that_turns_a_corner_the_streets_that_look_alike_are_left_out() -> None:
    along = {(i, i + 1): 400 for i in range(VIEWS - 1)} | {(3, 4): 90}  # the corner
    assert faint_pairs(graph_with(along | {(0, 7): 45, (1, 8): 50}, VIEWS)) == [(0, 7), (1, 8)]
    assert faint_pairs(graph_with(along, VIEWS)) == []


def test_what_nothing_else_joins_stays_joined() -> None:
    two_groups = {(0, 1): 400, (1, 2): 400, (3, 4): 400, (4, 5): 400}
    assert faint_pairs(graph_with(two_groups | {(2, 3): 30, (0, 5): 20}, VIEWS)) == []


def test_a_photograph_that_has_little_with_any_keeps_it() -> None:
    assert faint_pairs(graph_with({(0, 1): 500, (1, 2): 500, (0, 2): 500, (2, 3): 40, (1, 3): 20}, VIEWS)) == []


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.tuples(st.integers(0, VIEWS - 2), st.integers(1, VIEWS - 1)).filter(lambda p: p[0] < p[1]),
        st.integers(15, 600),
        min_size=1,
    )
)
def test_parts_stay_whole_and_strong_pairs_stay(counts: dict[Pair, int]) -> None:
    graph = graph_with(counts, VIEWS)
    faint = faint_pairs(graph)
    assert sorted(graph.without(faint).components()) == sorted(graph.components())
    for a, b in faint:
        others = [max(n for pair, n in counts.items() if view in pair) for view in (a, b)]
        assert counts[a, b] < FAINT * min(others)
