"""Solved again: how far cameras move when they are computed from parts of the matches, and from other lenses.

The covariance of a bundle adjustment knows the noise of the observations, but neither matches that are wrong together
nor a focal length that the mapping settled on too early, which bends a chain of photographs from end to end. Both show
when the same photographs are solved again from a part of what is known (compare the bootstrap of Efron, 1979).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pycolmap

from ..mapping import Model
from ..verification import Pair, ViewGraph

MOST_VIEWS = 24  # photographs beyond which a solution takes long and rests on many more pairs
MOST = 0.7  # of the matches of every pair; with half of them weak pairs are lost, whether they are right or not
KEPT_PAIRS = 0.7  # in the last of the solutions
SUSPECT = 0.35  # denied share of a place from which on a solution is made without the pair
WITHIN_DEG = 5.0  # of each other, for cameras to agree
FARTHEST_DEG = 30.0  # farther off is no more wrong
NOT_PLACED_DEG = 3.0  # that count for a camera which a solution could not place: few matches are no wrong ones

Again = Callable[[ViewGraph, int], Model | None]  # a view graph, and the number of the solution, which picks the lens


def moved_deg(
    graph: ViewGraph, model: Model, denied: Mapping[Pair, float], again: Again, seed: int
) -> dict[int, float]:
    """Mean angle in degrees that each placed camera's rotation moves by, over solutions from parts of the view graph.

    All are of MOST of the matches; of the last two one is without the pairs whose surfaces deny each other most, and
    one without a third of the pairs. Empty for more than MOST_VIEWS photographs.
    """
    views = model.views
    if len(views) > MOST_VIEWS:
        return {}
    rng = np.random.default_rng(seed)
    first, second = _parts(graph, rng), _parts(graph, rng)
    suspect = [pair for pair, share in denied.items() if share > SUSPECT]
    kept = rng.random(len(graph.geometries)) < KEPT_PAIRS
    left_out = [pair for pair, keep in zip(sorted(graph.geometries), kept, strict=True) if not keep]
    parts = [first[0], first[1], second[0].without(suspect), second[1].without(left_out)]
    off = [_off_deg(model, again(part, number)) for number, part in enumerate(parts)]
    return {view: float(np.mean([o.get(view, NOT_PLACED_DEG) for o in off])) for view in views}


def _parts(graph: ViewGraph, rng: np.random.Generator) -> tuple[ViewGraph, ViewGraph]:
    """The graph with MOST of the matches of every pair, twice: no match is left out of both."""
    parts: tuple[dict[Pair, pycolmap.TwoViewGeometry], ...] = ({}, {})
    for pair, geometry in sorted(graph.geometries.items()):
        matches = geometry.inlier_matches
        order = rng.permutation(len(matches))
        for part, chosen in zip(parts, (order < MOST * len(matches), order >= (1 - MOST) * len(matches)), strict=True):
            some = pycolmap.TwoViewGeometry()
            some.config, some.E, some.F, some.H = geometry.config, geometry.E, geometry.F, geometry.H
            some.inlier_matches = matches[chosen]
            part[pair] = some
    return ViewGraph(graph.features, graph.matches, parts[0]), ViewGraph(graph.features, graph.matches, parts[1])


def _off_deg(model: Model, other: Model | None) -> dict[int, float]:
    """Angles between the rotations of two models, of the views that both place, in the world that most agree with."""
    if other is None:
        return {}
    views = sorted(set(model.views) & set(other.views))
    if len(views) < 2:
        return {}
    between = turned_deg(model.reconstruction, other.reconstruction, views)
    best = min(between, key=lambda row: (-(row < WITHIN_DEG).sum(), np.minimum(row, FARTHEST_DEG).sum()))
    return {view: float(min(angle, FARTHEST_DEG)) for view, angle in zip(views, best, strict=True)}


def turned_deg(
    reconstruction: pycolmap.Reconstruction, other: pycolmap.Reconstruction, views: Sequence[int]
) -> np.ndarray:
    """Angles [N, N] in degrees between the turns of one world into the other's that every two of the N views have."""
    ours, theirs = (
        np.stack([r.image(view + 1).cam_from_world().matrix()[:, :3] for view in views])
        for r in (reconstruction, other)
    )
    turns = np.einsum("nji,njk->nik", theirs, ours)
    cosine = (np.einsum("aij,bij->ab", turns, turns) - 1) / 2
    return np.degrees(np.arccos(cosine.clip(-1, 1)))
