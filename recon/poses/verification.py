"""The view graph: pairs of photographs that show the same thing, checked by two-view geometry."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

import numpy as np
import pycolmap

from ...scene.progress import Progress, silent
from .features import Features
from .workers import each

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

    def without(self, pairs: Collection[Pair]) -> ViewGraph:
        """The same, with nothing verified between these pairs."""
        return replace(self, geometries={pair: g for pair, g in self.geometries.items() if pair not in set(pairs)})

    def most_inliers(self) -> dict[int, int]:
        """Most verified matches that each view has with any other, 0 where it has none."""
        return {view: max(links.values(), default=0) for view, links in self.links.items()}

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


# A pair's matches, and the geometry that they agree with or None: what was verified once need not be again.
Verified = dict[Pair, tuple[np.ndarray, pycolmap.TwoViewGeometry | None]]


def verify(
    features: list[Features],
    matches: dict[Pair, np.ndarray],  # [M, 2] int64 each
    cameras: list[pycolmap.Camera],  # one a view
    seed: int,
    progress: Progress = silent,
    known: Verified | None = None,
) -> ViewGraph:
    """Keep the matches that agree with one epipolar geometry or homography (LO-RANSAC), and the pairs with enough.

    Pairs that are `known` with these very matches are not looked at again; those that are not are added to it.
    """
    known = {} if known is None else known
    new = [pair for pair, m in sorted(matches.items()) if pair not in known or known[pair][0] is not m]
    views = sorted({view for pair in new for view in pair})
    xy = {view: features[view].xy_px.numpy().astype(np.float64) for view in views}

    def geometry(pair: Pair) -> pycolmap.TwoViewGeometry | None:
        a, b = pair
        if len(matches[pair]) < MIN_INLIERS:
            return None
        found = pycolmap.estimate_two_view_geometry(
            cameras[a], xy[a], cameras[b], xy[b], matches[pair].astype(np.uint32), _options(seed)
        )
        return None if found.config in _UNUSABLE or len(found.inlier_matches) < MIN_INLIERS else found

    for pair, found in zip(new, each("Checking matches", geometry, new, progress), strict=True):
        known[pair] = matches[pair], found
    geometries = {pair: known[pair][1] for pair in sorted(matches)}
    return ViewGraph(
        features,
        {pair: len(m) for pair, m in matches.items()},
        {pair: found for pair, found in geometries.items() if found is not None},
    )


def verify_with_cameras(
    features: list[Features],
    matches: dict[Pair, np.ndarray],  # [M, 2] int64 each
    cam_from_world: np.ndarray,  # [N, 4, 4] float64
    K: np.ndarray,  # [N, 3, 3] float64, pixels of the images that the features were found in
    max_error_px: float,
) -> ViewGraph:
    """Keep the matches that lie on each other's epipolar lines, which known cameras give: no two are too few."""
    geometries = {}
    xy1 = [np.pad(f.xy_px.numpy().astype(np.float64), ((0, 0), (0, 1)), constant_values=1) for f in features]
    K_inverse = np.linalg.inv(K)
    for (a, b), pairs in sorted(matches.items()):
        b_from_a = cam_from_world[b] @ np.linalg.inv(cam_from_world[a])
        if not len(pairs) or not np.linalg.norm(b_from_a[:3, 3]) > 0:
            continue
        fundamental = K_inverse[b].T @ essential_matrix(b_from_a) @ K_inverse[a]
        inliers = pairs[sampson_distances(fundamental, xy1[a][pairs[:, 0]], xy1[b][pairs[:, 1]]) <= max_error_px]
        if len(inliers):
            geometry = pycolmap.TwoViewGeometry()
            geometry.config = pycolmap.TwoViewGeometryConfiguration.CALIBRATED
            geometry.F = fundamental
            geometry.inlier_matches = inliers.astype(np.uint32)
            geometries[a, b] = geometry
    return ViewGraph(features, {pair: len(m) for pair, m in matches.items()}, geometries)


def essential_matrix(
    b_from_a: np.ndarray,  # [3, 4] or [4, 4]
) -> np.ndarray:
    """Matrix [3, 3], of no particular scale, with ray_b^T matrix ray_a = 0 for what both cameras see."""
    x, y, z = b_from_a[:3, 3]
    return np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ b_from_a[:3, :3]


def sampson_distances(
    matrix: np.ndarray,  # [3, 3] of b^T matrix a = 0
    a: np.ndarray,  # [M, 3] homogeneous: pixels with a fundamental matrix, rays with an essential one
    b: np.ndarray,  # [M, 3]
) -> np.ndarray:
    """Sampson distances [M] in the unit of the points: from a match to the nearest that obeys the geometry, to first
    order."""
    line_b, line_a = a @ matrix.T, b @ matrix
    slope = (line_b[:, :2] ** 2).sum(1) + (line_a[:, :2] ** 2).sum(1)
    return np.abs((b * line_b).sum(1)) / np.sqrt(np.maximum(slope, 1e-300))


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
    options.ransac.dyn_num_trials_multiplier = 1.0  # three times as many find the same, at twice the time
    return options
