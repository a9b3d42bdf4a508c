"""Groups of photographs that look-alikes glued together, taken apart: they do not show what they should."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..mapping import Model
from ..verification import MIN_INLIERS, Pair, ViewGraph
from .denied_surface import DeniedSurface, denied_surface
from .second_look import MAX_POINTS, NO_LOOK, Comparisons, PairLook, looks_of, second_look

MIN_EXPECTED = 20  # points that one photograph must show of another's before what it shows counts
LOOKED_AT = 0.5  # of the points that a pair shares must be among what is looked at, as far as their number goes
# Shares of the points that are looked at. Between right neighbours, photographed and rendered, fewer conflict,
# more agree, or more are matched.
MOST_CONFLICTING, LEAST_AGREEING, LEAST_MATCHED = 0.4, 0.35, 0.25
# Of a place, in the usual pair between two groups; see `DeniedSurface`. Single right pairs of photographs deny up to
# 0.56, where the surface between points is not what it was taken for.
MOST_DENIED, LEAST_DENYING = 0.45, 3
MAX_ROUNDS = 8


@dataclass(frozen=True)
class Contradiction:
    """Two groups of photographs show that they do not belong where their matches put them."""

    look: PairLook  # of all pairs between the groups
    denied: float = 0.0  # share of a place that the usual pair between them denies; see `DeniedSurface`

    @property
    def strength(self) -> float:
        """Larger for what is told better."""
        return max(self.denied, self.look.conflicting / max(1, self.look.expected))


@dataclass(frozen=True)
class SeparatedModel:
    """A model after groups that contradict each other were taken apart in the view graph."""

    verified: ViewGraph  # all pairs
    graph: ViewGraph  # without the pairs that misled the mapping
    model: Model | None
    comparisons: Comparisons = field(default_factory=dict)  # of the model's pairs
    denied: DeniedSurface = field(default_factory=DeniedSurface)  # of its views
    misleading: dict[Pair, Contradiction] = field(default_factory=dict)  # pairs taken out, and what their groups showed


def separated(
    verified: ViewGraph, graph: ViewGraph, solve: Callable[[ViewGraph], Model | None], grey: Sequence[np.ndarray]
) -> SeparatedModel:
    """Solve a view graph, look again, and solve it once more without the pairs that misled it, until none does.

    `verified` has all pairs, `graph` those to begin with.
    Groups of photographs that only such pairs joined fall apart: the largest is placed.
    """
    misleading: dict[Pair, Contradiction] = {}
    model = solve(graph)
    for rounds_left in reversed(range(MAX_ROUNDS)):
        if model is None:
            break
        comparisons = second_look(model, grey)
        denied = denied_surface(model, grey)
        wrong = misleading_pairs(graph, model, looks_of(comparisons), denied.shares)
        if not wrong or not rounds_left:
            return SeparatedModel(verified, graph, model, comparisons, denied, misleading)
        misleading |= wrong
        graph = graph.without(wrong)
        model = solve(graph)
    return SeparatedModel(verified, graph, None, misleading=misleading)


def misleading_pairs(
    graph: ViewGraph, model: Model, looks: Mapping[Pair, PairLook], denied: Mapping[Pair, float]
) -> dict[Pair, Contradiction]:
    """Verified pairs between groups of a model's views that contradict each other, with what the groups show.

    Groups grow along the pairs that share most points; two that meet are not joined where they contradict each other.
    Of the pairs between them those with more matches than the one over which they met are kept: fewer matches are no
    better than those that misled, and each pair alone would join the groups in another wrong way. Where a surface is
    denied all go, because matches are of what both sides have, however many they are. Only the weakest such places are
    given back: what misled there may bend the rest of the model, which is looked at again without it.
    """
    group = {view: {view} for view in model.views}
    looks_at: dict[int, list[Pair]] = {view: [] for view in model.views}
    for pair in looks:
        for view in pair:
            looks_at[view].append(pair)
    wrong: dict[Pair, Contradiction] = {}
    found: list[tuple[int, dict[Pair, Contradiction]]] = []
    for (a, b), count in sorted(shared_points(model).items(), key=lambda item: (-item[1], item[0])):
        if group[a] is group[b] or (a, b) in wrong:
            continue
        small = min(group[a], group[b], key=len)
        across = {pair for view in small for pair in looks_at[view] if _joins(pair, group[a], group[b])}
        look = sum((looks[pair] for pair in sorted(across)), NO_LOOK)
        shares = [share for pair, share in denied.items() if _joins(pair, group[a], group[b])]
        usual = float(np.median(shares)) if len(shares) >= LEAST_DENYING else 0.0
        denies = usual > MOST_DENIED
        if denies or _contradicts(look, count):
            met = len(graph.geometries[a, b].inlier_matches) if (a, b) in graph.geometries else 0
            between = {
                pair: Contradiction(look, usual)
                for pair, geometry in graph.geometries.items()
                if _joins(pair, group[a], group[b]) and (denies or len(geometry.inlier_matches) <= max(met, count))
            }
            wrong |= between
            found.append((count, between))
            continue
        large = group[b] if small is group[a] else group[a]
        large |= small
        for view in small:
            group[view] = large
    weakest = max(MIN_INLIERS, min((count for count, _ in found), default=0))
    return {pair: what for count, between in found if count <= weakest for pair, what in between.items()}


def shared_points(model: Model) -> dict[Pair, int]:
    """Number of points of a model that each pair of its views observes, for pairs with any."""
    counts: dict[Pair, int] = {}
    for point in model.reconstruction.points3D.values():
        views = sorted({element.image_id - 1 for element in point.track.elements})
        for i, a in enumerate(views):
            for b in views[i + 1 :]:
                counts[a, b] = counts.get((a, b), 0) + 1
    return counts


def _joins(pair: Pair, a: Collection[int], b: Collection[int]) -> bool:
    return (pair[0] in a and pair[1] in b) or (pair[0] in b and pair[1] in a)


def _contradicts(look: PairLook, shared: int) -> bool:
    return (
        look.expected >= max(MIN_EXPECTED, LOOKED_AT * min(shared, MAX_POINTS))
        and look.conflicting > MOST_CONFLICTING * look.expected
        and look.agreeing < LEAST_AGREEING * look.expected
        and look.matched < LEAST_MATCHED * look.expected
    )
