"""The strongest tree: the fewest links that hold views together, none of which a stronger one could replace."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

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


def smaller_sides(tree: Sequence[Edge]) -> list[set[int]]:
    """The fewer views that are left on one side of each edge of a tree, when it is taken away."""
    beside: dict[int, list[int]] = {view: [] for edge in tree for view in edge}
    for a, b in tree:
        beside[a].append(b)
        beside[b].append(a)
    sides = []
    for a, b in tree:
        side, edge = {a}, [a]
        while edge:
            view = edge.pop()
            new = [other for other in beside[view] if other not in side and {view, other} != {a, b}]
            side.update(new)
            edge.extend(new)
        sides.append(side if 2 * len(side) <= len(beside) else beside.keys() - side)
    return sides


def sides(views: Sequence[int], weights: Mapping[Edge, float]) -> list[set[int]]:
    """Every view by itself, and the smaller sides of the strongest tree of the edges that weigh anything."""
    return [{view} for view in views] + smaller_sides(strongest_tree({e: w for e, w in weights.items() if w}))


def across(weights: Mapping[Edge, float], side: Collection[int]) -> list[float]:
    """Weights of the edges between a side and all other views."""
    return [weight for (a, b), weight in weights.items() if (a in side) != (b in side)]
