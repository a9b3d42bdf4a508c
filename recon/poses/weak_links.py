"""Photographs that hang by few points on the others, and where one more photograph would help."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from ...scene.point_cloud import PointCloud
from .strongest_tree import smaller_sides, strongest_tree

# A link is weak up to this share of the points that a photograph usually sees, and up to this many. Chosen on nine
# photographs of a banana: the two whose cameras are not sure hang by 5 % and 25 %, the others by 57 % and more.
WEAK_SHARE, WEAK_POINTS = 0.25, 150
MOST_NOTES = 3


@dataclass(frozen=True)
class WeakLink:
    """All that joins a group of views to the others."""

    group: tuple[int, ...]  # the smaller side, ascending
    points: int  # seen from both sides
    view: int  # of the pair that shares most of them: the one in the group,
    other: int  # and the one among the others
    shared: int  # points that these two see


def shared_points(points: PointCloud, n_views: int) -> Tensor:
    """The number of points int64 [n_views, n_views] that two views both see; on the diagonal, that one sees."""
    assert points.seen_point is not None
    assert points.seen_view is not None
    pairs = torch.stack([points.seen_view, points.seen_point]).unique(dim=1).numpy()
    seen = scipy.sparse.csr_array((np.ones(pairs.shape[1], np.int64), pairs), shape=(n_views, len(points)))
    return torch.from_numpy((seen @ seen.T).toarray())


def weak_links(points: PointCloud, centers: Tensor) -> list[WeakLink]:
    """Weak links between the views with these centres [N, 3], the weakest first; those that see no point do not count.

    The parts are those of the tree of strongest pairs (see `strongest_tree`): without one of its edges, no pair
    across the gap shares more points than its two views do. Of pairs that share as many, the nearest is named.
    """
    n_views = len(centers)
    counts = shared_points(points, n_views)
    usual = float(counts.diagonal()[counts.diagonal() > 0].float().median()) if len(points) else 0.0
    limit = min(WEAK_SHARE * usual, WEAK_POINTS)
    found = []
    apart = torch.cdist(centers.double(), centers.double())
    for group in _parts(counts):
        common = _seen_from_both(points, group, n_views)
        if common <= limit:
            pairs = [(v, o) for v in sorted(group) for o in range(n_views) if o not in group]
            view, other = min(pairs, key=lambda pair: (-int(counts[pair]), float(apart[pair])))
            found.append(WeakLink(tuple(sorted(group)), common, view, other, int(counts[view, other])))
    return sorted(found, key=lambda link: (link.points, link.group))


def strongest_links(points: PointCloud, names: Sequence[str], most: int = 3) -> dict[str, dict[str, int]]:
    """The photographs that share most points with each, and how many; for reports."""
    counts = shared_points(points, len(names)).fill_diagonal_(0)
    order = counts.argsort(dim=1, descending=True, stable=True)[:, :most]
    return {
        name: {names[other]: int(counts[view, other]) for other in order[view].tolist() if counts[view, other]}
        for view, name in enumerate(names)
    }


def notes_on_weak_links(points: PointCloud, centers: Tensor, names: Sequence[str]) -> list[str]:
    """Sentences for the person about the weakest links, and between which two photographs one more would help."""
    notes = []
    for link in weak_links(points, centers)[:MOST_NOTES]:
        between = f"one more photograph from between {names[link.view]} and {names[link.other]}"
        if len(link.group) == 1:
            notes.append(
                f"{names[link.view]} hangs on the others by {link.points} points, {link.shared} of which "
                f"{names[link.other]} shows: {between} would hold it."
            )
            continue
        shown = ", ".join(names[view] for view in link.group[:4])
        more = f" and {len(link.group) - 4} more" if len(link.group) > 4 else ""
        notes.append(
            f"{shown}{more} hang on the other photographs by {link.points} points in all: {between}, which share most "
            "of them, would join the two groups."
        )
    return notes


def _parts(counts: Tensor) -> list[set[int]]:
    """The smaller part of the views for each edge of the tree of strongest pairs that is taken away."""
    views = counts.diagonal().nonzero()[:, 0].tolist()
    shared = counts.tolist()
    return smaller_sides(strongest_tree({(a, b): shared[a][b] for a, b in itertools.combinations(views, 2)}))


def _seen_from_both(points: PointCloud, group: set[int], n_views: int) -> int:
    assert points.seen_point is not None
    assert points.seen_view is not None
    inside = torch.zeros(n_views, dtype=torch.bool)
    inside[list(group)] = True
    within, without = torch.zeros(2, len(points), dtype=torch.bool)
    within[points.seen_point[inside[points.seen_view]]] = True
    without[points.seen_point[~inside[points.seen_view]]] = True
    return int((within & without).sum())
