"""The view graph: which photographs show the same thing, checked by two-view geometry."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pycolmap

from ...scene.progress import Progress, silent
from .features import Features

Pair = tuple[int, int]  # view indices, first < second

MIN_INLIERS = 15  # matches that must agree with one two-view geometry before a pair counts (COLMAP's own number)
MAX_ERROR_PX = 2.0  # a quarter of a per cent of an image of 800 pixels; learned keypoints are good to about one pixel


@dataclass(frozen=True)
class ViewGraph:
    """Views joined by verified matches."""

    features: list[Features]
    matches: dict[Pair, int]  # how many matches there were before verification
    geometries: dict[Pair, pycolmap.TwoViewGeometry]  # verified pairs only
    links: dict[int, dict[int, int]] = field(init=False)  # view -> other view -> inliers

    def __post_init__(self) -> None:
        links: dict[int, dict[int, int]] = {i: {} for i in range(len(self.features))}
        for a, b in self.geometries:
            count = len(self.geometries[a, b].inlier_matches)
            links[a][b], links[b][a] = count, count
        object.__setattr__(self, "links", links)

    def components(self) -> list[list[int]]:
        """Sets of views joined by verified pairs, largest first (then the one with more inliers)."""
        left, found = set(self.links), []
        while left:
            group, edge = set(), [min(left)]
            while edge:
                view = edge.pop()
                if view not in group:
                    group.add(view)
                    edge.extend(self.links[view])
            left -= group
            found.append(sorted(group))
        return sorted(found, key=lambda g: (-len(g), -sum(sum(self.links[v].values()) for v in g), g[0]))

    def best_partner(self, view: int) -> tuple[int | None, int]:
        """The view with which this one shares the most raw matches, and how many."""
        counts = {a + b - view: n for (a, b), n in self.matches.items() if view in (a, b)}
        if not counts:
            return None, 0
        best = max(counts, key=lambda v: (counts[v], -v))
        return best, counts[best]


def verify(
    features: list[Features],
    matches: dict[Pair, np.ndarray],  # [M, 2] int64 each
    cameras: list[pycolmap.Camera],  # one a view
    seed: int,
    progress: Progress = silent,
) -> ViewGraph:
    """Keep the matches that agree with one epipolar geometry or homography (LO-RANSAC), and the pairs with enough."""
    geometries = {}
    xy = [f.xy_px.numpy().astype(np.float64) for f in features]
    for done, ((a, b), pairs) in enumerate(sorted(matches.items())):
        progress("Checking matches", done, len(matches))
        if len(pairs) >= MIN_INLIERS:
            options = _options(seed)
            geometry = pycolmap.estimate_two_view_geometry(
                cameras[a], xy[a], cameras[b], xy[b], pairs.astype(np.uint32), options
            )
            good = geometry.config not in _UNUSABLE
            if good and len(geometry.inlier_matches) >= MIN_INLIERS:
                geometries[a, b] = geometry
    progress("Checking matches", len(matches), len(matches))
    return ViewGraph(features, {pair: len(m) for pair, m in matches.items()}, geometries)


_UNUSABLE = (
    pycolmap.TwoViewGeometryConfiguration.UNDEFINED,
    pycolmap.TwoViewGeometryConfiguration.DEGENERATE,
    pycolmap.TwoViewGeometryConfiguration.WATERMARK,
)


def _options(seed: int) -> pycolmap.TwoViewGeometryOptions:
    options = pycolmap.TwoViewGeometryOptions()
    options.min_num_inliers = MIN_INLIERS
    options.ransac.max_error = MAX_ERROR_PX
    options.ransac.random_seed = seed
    return options
