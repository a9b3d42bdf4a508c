"""Solved again: how far cameras move when they are computed from other halves of the matches, and from other lenses.

The covariance of a bundle adjustment knows the noise of the observations, but neither matches that are wrong together
nor a focal length that the mapping settled on too early, which bends a chain of photographs from end to end. Both show
when the same photographs are solved again from a part of what is known (compare the bootstrap of Efron, 1979).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pycolmap

from ..mapping import Model
from ..verification import Pair, ViewGraph
from .denied_surface import SurfaceLook

MOST_VIEWS = 24  # photographs beyond which a solution takes long and rests on many more pairs
HALF = 0.5  # of the matches of every pair
KEPT_PAIRS = 0.7  # in the last of the solutions
SUSPECT = 0.12  # denied share of a place from which on a solution is made without the pair
WITHIN_DEG = 5.0  # of each other, for cameras to agree
FARTHEST_DEG = 30.0  # farther off is no more wrong
NOT_PLACED_DEG = 5.0  # that count for a camera which a solution could not place: few matches are no wrong ones

Again = Callable[[ViewGraph, int], Model | None]  # a view graph, and the number of the solution, which picks the lens


def moved_deg(
    graph: ViewGraph, model: Model, surfaces: Mapping[Pair, SurfaceLook], again: Again, seed: int
) -> dict[int, float]:
    """Mean angle in degrees that each placed camera's rotation moves by, over solutions from parts of the view graph.

    Two are of complementary halves of the matches, one is without the pairs whose surfaces deny each other most, and
    one without a third of the pairs. Empty for more than MOST_VIEWS photographs.
    """
    views = model.views
    if len(views) > MOST_VIEWS:
        return {}
    rng = np.random.default_rng(seed)
    first, second = _halves(graph, rng), _halves(graph, rng)
    suspect = [pair for pair, look in surfaces.items() if look.denied > SUSPECT]
    kept = rng.random(len(graph.geometries)) < KEPT_PAIRS
    left_out = [pair for pair, keep in zip(sorted(graph.geometries), kept, strict=True) if not keep]
    parts = [first[0], first[1], second[0].without(suspect), second[1].without(left_out)]
    off = [_off_deg(model, again(part, number)) for number, part in enumerate(parts)]
    return {view: float(np.mean([o.get(view, NOT_PLACED_DEG) for o in off])) for view in views}


def _halves(graph: ViewGraph, rng: np.random.Generator) -> tuple[ViewGraph, ViewGraph]:
    """The graph with half of the matches of every pair, and with the others."""
    parts: tuple[dict[Pair, pycolmap.TwoViewGeometry], ...] = ({}, {})
    for pair, geometry in sorted(graph.geometries.items()):
        matches = geometry.inlier_matches
        mine = rng.permutation(len(matches)) < HALF * len(matches)
        for part, chosen in zip(parts, (mine, ~mine), strict=True):
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
    ours, theirs = (
        np.stack([m.reconstruction.image(view + 1).cam_from_world().matrix()[:, :3] for view in views])
        for m in (model, other)
    )
    # Rotation of our world into theirs, as each camera has it.
    turns = np.einsum("nji,njk->nik", theirs, ours)
    cosine = (np.einsum("aij,bij->ab", turns, turns) - 1) / 2
    between = np.degrees(np.arccos(cosine.clip(-1, 1)))
    best = min(between, key=lambda row: (-(row < WITHIN_DEG).sum(), np.minimum(row, FARTHEST_DEG).sum()))
    return {view: float(min(angle, FARTHEST_DEG)) for view, angle in zip(views, best, strict=True)}
