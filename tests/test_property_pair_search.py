"""Pairs of photographs are chosen until the view graph is strong: a bounded, smooth number, with loops closed."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from fewview.recon.poses.features import Features
from fewview.recon.poses.pair_search import FIRM, MAX_LOOPS, PairSearch, two_edge_connected
from fewview.recon.poses.retrieval import SHORTLIST, Likeness, likeness, most_alike, pooled_descriptors

PARTNERS, WANTED = 12, 6
Agree = Callable[[int, int], int]


def likeness_of(n: int, votes_of: Agree) -> Likeness:
    votes = {(a, b): votes_of(a, b) for a, b in itertools.combinations(range(n), 2)}
    ranked = {
        v: sorted((u for u in range(n) if u != v), key=lambda u: (-votes[min(u, v), max(u, v)], u))[:SHORTLIST]
        for v in range(n)
    }
    return Likeness(votes, ranked)


def searched(alike: Likeness, inliers_of: Agree) -> tuple[PairSearch, list[list[tuple[int, int]]]]:
    search, rounds = PairSearch(alike, PARTNERS, WANTED), []
    while pairs := search.proposals():
        rounds.append(pairs)
        search.tell({(a, b): inliers_of(a, b) for a, b in pairs})
    return search, rounds


def of_a_walk(n: int, sees: int = 10) -> tuple[Likeness, Agree]:
    """Photographs of a walk; those up to `sees` steps apart show the same."""

    def agree(a: int, b: int) -> int:
        return max(0, sees - abs(a - b)) * 20

    return likeness_of(n, agree), agree


def links_of(rounds: list[list[tuple[int, int]]], inliers_of: Agree, n: int) -> dict[int, dict[int, int]]:
    links: dict[int, dict[int, int]] = {v: {} for v in range(n)}
    for a, b in itertools.chain(*rounds):
        if inliers_of(a, b):
            links[a][b] = links[b][a] = inliers_of(a, b)
    return links


@pytest.mark.parametrize("n", [2, 3, 5, 12, 13, 24, 25, 60, 200])
def test_a_strong_graph_ends_the_search(n: int) -> None:
    alike, agree = of_a_walk(n)
    _, rounds = searched(alike, agree)
    links = links_of(rounds, agree, n)
    assert all(len(found) >= min(WANTED, n - 1) for found in links.values())
    assert n == 2 or len(set(two_edge_connected(links).values())) == 1
    # Half of the wanted partners for each view, and what several views want of the same ones.
    assert sum(map(len, rounds)) <= min(n * (n - 1) / 2, 0.75 * WANTED * n)


def test_the_number_of_pairs_has_no_jump() -> None:
    counts = [sum(map(len, searched(*of_a_walk(n))[1])) for n in range(2, 80)]
    steps = np.diff(counts)
    assert steps.min() >= 0
    assert steps.max() <= WANTED + 1


@pytest.mark.parametrize("n", [4, 13, 40])
def test_of_photographs_that_share_nothing_few_are_all_tried_and_many_a_bounded_number(n: int) -> None:
    _, rounds = searched(likeness_of(n, lambda a, b: (a * 7 + b * 13) % 5), lambda a, b: 0)
    tried = list(itertools.chain(*rounds))
    assert len(set(tried)) == len(tried)
    assert all(a < b for a, b in tried)
    assert len(tried) <= n * (PARTNERS + MAX_LOOPS + 1)
    if n - 1 <= PARTNERS:
        assert len(tried) == n * (n - 1) // 2


@pytest.mark.parametrize("seed", range(5))
def test_pairs_are_bounded_whatever_comes_of_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 70
    votes, inliers = rng.integers(0, 60, (n, n)), rng.integers(0, 2, (n, n)) * 50
    _, rounds = searched(likeness_of(n, lambda a, b: int(votes[a, b])), lambda a, b: int(inliers[a, b]))
    tried = list(itertools.chain(*rounds))
    assert len(set(tried)) == len(tried) <= n * (PARTNERS + MAX_LOOPS + 1)


def test_a_second_lap_is_tied_to_the_first() -> None:
    """Neighbours alone would satisfy every view; what comes back to the same place is matched all the same."""
    n, lap = 120, 60

    def agree(a: int, b: int) -> int:
        along = min(abs(a - b), abs(abs(a - b) - lap))
        return max(0, 9 - along) * 20 - (5 if abs(a - b) > lap / 2 else 0)

    alike = likeness_of(n, agree)
    _, rounds = searched(alike, agree)
    closing = [(a, b) for a, b in itertools.chain(*rounds) if b - a > lap / 2 and agree(a, b) > 0]
    assert len(closing) >= 5
    assert max(b for _, b in closing) - min(b for _, b in closing) > lap / 2  # all along the lap, not at one place


def test_a_corner_of_a_walk_is_seen_by_three_at_a_time_whatever_looks_alike() -> None:
    """Beyond a corner others look more alike than the frame after next, which shows the same nevertheless."""
    n, corner = 40, 20

    def votes(a: int, b: int) -> int:
        across = a < corner <= b
        return (2 if across else 60 - abs(a - b)) if abs(a - b) < 10 else 40 + (a * 7 + b * 13) % 5

    def inliers(a: int, b: int) -> int:
        return max(0, 3 - abs(a - b)) * 150 if a < corner <= b else max(0, 10 - abs(a - b)) * 40

    _, rounds = searched(likeness_of(n, votes), inliers)
    tried = set(itertools.chain(*rounds))
    assert {(corner - 1, corner), (corner - 2, corner), (corner - 1, corner + 1)} <= tried


def test_parts_that_one_pair_joins_are_tied_together_where_they_can_be() -> None:
    """Two groups, complete inside; each view has its partners there, and likes them best."""
    n, half = 24, 12

    def votes(a: int, b: int) -> int:
        return 100 if (a < half) == (b < half) else 20 - abs(a + half - b)

    def inliers(a: int, b: int) -> int:
        return 80 if (a < half) == (b < half) or b - a in (half, half + 1) else 0

    _, rounds = searched(likeness_of(n, votes), inliers)
    across = [(a, b) for a, b in itertools.chain(*rounds) if a < half <= b and inliers(a, b)]
    assert len(across) >= 2


@pytest.mark.parametrize(("across", "weak"), [(FIRM - 1, {4, 5}), (FIRM, set())])
def test_ends_of_a_weak_link_that_holds_a_part_are_unsettled_however_much_else_they_match(
    across: int, weak: set[int]
) -> None:
    # Two groups of five that match well within; what lies between them is seen from the ends alone.
    def inliers(a: int, b: int) -> int:
        if a < 5 <= b:
            return across if (a, b) == (4, 5) else max(0, 20 - 5 * (b - a))
        return 300

    search, _ = searched(likeness_of(10, inliers), inliers)
    assert search.unsettled(enough_inliers=200) == weak


@pytest.mark.parametrize("seed", range(8))
def test_parts_are_those_that_no_single_pair_holds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 14
    edges = {(a, b) for a, b in itertools.combinations(range(n), 2) if rng.random() < 0.16}

    def reached(start: int, edges: set[tuple[int, int]]) -> set[int]:
        found, left = {start}, [start]
        while left:
            view = left.pop()
            for a, b in edges:
                if view in (a, b) and (a + b - view) not in found:
                    found.add(a + b - view)
                    left.append(a + b - view)
        return found

    links: dict[int, dict[int, int]] = {v: {} for v in range(n)}
    for a, b in edges:
        links[a][b] = links[b][a] = 1
    part = two_edge_connected(links)
    for a, b in itertools.combinations(range(n), 2):
        always = all(b in reached(a, edges - {edge}) for edge in [*edges, (-1, -1)])
        assert (part[a] == part[b]) == always


def landmarks_along_a_walk(n: int, seed: int = 0) -> list[Features]:
    """Each photograph shows 60 of a row of landmarks, five further than the one before, in noise."""
    g = torch.Generator().manual_seed(seed)
    every = torch.nn.functional.normalize(torch.randn(5 * n + 60, 64, generator=g), dim=1)
    found = []
    for i in range(n):
        own = every[5 * i : 5 * i + 60] + 0.03 * torch.randn(60, 64, generator=g)
        found.append(Features(torch.zeros(60, 2), torch.nn.functional.normalize(own, dim=1), 64, 64))
    return found


def test_retrieval_finds_the_neighbours_among_many() -> None:
    n = 80
    features = landmarks_along_a_walk(n)
    alike = likeness(features, range(n))
    assert len(alike.votes) <= n * SHORTLIST
    for i in range(5, n - 5):
        assert set(alike.ranked[i][:4]) <= {i - 3, i - 2, i - 1, i + 1, i + 2, i + 3}
    assert set(most_alike(features, 40, range(n))[:2]) == {39, 41}


def test_few_photographs_are_all_compared_and_views_are_those_asked_for() -> None:
    features = landmarks_along_a_walk(30)
    views = [3, 4, 9, 10, 11]
    alike = likeness(features, views)
    assert set(alike.votes) == set(itertools.combinations(views, 2))
    assert set(alike.ranked) == set(views)
    assert alike.ranked[10][0] in (9, 11)


def test_photographs_without_features_are_like_none() -> None:
    empty = Features(torch.zeros(0, 2), torch.zeros(0, 64), 64, 64)
    pooled = pooled_descriptors([empty, *landmarks_along_a_walk(30)])
    assert float(pooled[0].abs().sum()) == 0
    assert likeness([empty, empty], range(2)).votes == {(0, 1): 0}
