"""The strongest tree: the fewest links that hold views together, none of which a stronger one could replace."""

from __future__ import annotations

from collections.abc import Mapping

Edge = tuple[int, int]


def strongest_tree(weights: Mapping[Edge, float]) -> list[Edge]:
    """Edges of the maximum spanning forest, strongest first (Kruskal, 1956); ties go to the smaller indices."""
    group: dict[int, set[int]] = {view: {view} for edge in weights for view in edge}
    tree = []
    for a, b in sorted(weights, key=lambda edge: (-weights[edge], edge)):
        if group[a] is not group[b]:
            small, large = sorted((group[a], group[b]), key=len)
            large |= small
            group |= dict.fromkeys(small, large)
            tree.append((a, b))
    return tree
