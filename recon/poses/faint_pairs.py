"""Faint pairs: what two photographs have in common is far less than what each of them has in common with others.

Streets, corridors and walls of one make look alike from afar: of the few matches between such photographs half agree
with some epipolar geometry, that of a walk along the view above all. A mapper that meets such pairs at a corner, where
the true neighbours have least in common, turns off into the wrong street.
"""

from __future__ import annotations

from .verification import Pair, ViewGraph

# Of the most verified matches that the poorer of both photographs has with any. Of 500 frames walked round a generated
# block, false pairs have up to 0.11, one true pair in twenty less than 0.14.
FAINT = 0.15


def faint_pairs(graph: ViewGraph) -> list[Pair]:
    """Verified pairs with less than FAINT of the matches that both views have with others, for mapping to do without.

    What would fall apart without them stays joined by them.
    """
    most = graph.most_inliers()
    faint = [(a, b) for (a, b) in graph.geometries if graph.links[a][b] < FAINT * min(most[a], most[b])]
    part = {view: number for number, views in enumerate(graph.without(faint).components()) for view in views}
    return [(a, b) for a, b in faint if part[a] == part[b]]
