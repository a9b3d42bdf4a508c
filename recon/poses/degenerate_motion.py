"""Degenerate motion, which shows no depth: a camera that stood still or only turned, and a photograph given twice."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar

from ...scene.capture import Capture
from ...scene.errors import FewviewError
from .correspondences import Correspondences
from .focal_prior import Lenses
from .verification import Pair, ViewGraph

MIN_MATCHES = 30  # of a pair that can show how a camera moved
STILL_PX = 2.0  # median move of matched keypoints, in copies of 1024 pixels at most, that a standing camera stays under
EXPLAINED = 0.9  # share of a pair's matches that a turn must explain for the pair to count as one
MAX_ERROR_PX = 3.0  # of a match after the turn, in the copies that features were found in
MAX_PAIRS, MAX_MATCHES = 40, 300  # that are looked at: with most motion, and of these evenly spaced ones
FOCAL_RATIOS = np.geomspace(0.5, 2.5, 9)  # of the longer side, tried where EXIF says nothing
EXIF_FACTORS = np.geomspace(0.9, 1.1, 3)  # times EXIF's, which is rounded and ignores digital stabilisation


def refuse_still_camera(capture: Capture, correspondences: Correspondences) -> None:
    """Raise FewviewError when everything that matches stays where it is."""
    moved_px = [
        float(correspondences.moved_px(pair).median())
        for pair, matches in correspondences.matches.items()
        if len(matches) >= MIN_MATCHES
    ]
    if moved_px and max(moved_px) < STILL_PX:
        raise FewviewError(
            f"The {len(capture)} photographs of {capture.source} were all taken from one place: what they share moves "
            f"by less than {STILL_PX:g} pixels. Take them from places at least a step apart."
        )


def refuse_pure_rotation(capture: Capture, graph: ViewGraph, lenses: Lenses) -> None:
    """Raise FewviewError when every verified pair is explained by a turn of the camera in one place.

    The matches of such a pair obey x_b ~ K R K^-1 x_a at any depth. Each pair is tried at several focal lengths, and
    when all of them pass, all together at one.
    """
    pairs = _with_most_motion(graph)
    if not any(len(graph.geometries[pair].inlier_matches) >= MIN_MATCHES for pair in pairs):
        return
    ratios = EXIF_FACTORS if lenses.is_known else FOCAL_RATIOS
    width = float(np.log(ratios[1] / ratios[0]))

    def unexplained(pair: Pair, log_ratio: float) -> np.ndarray:
        return _errors_px(graph, lenses, pair, float(np.exp(log_ratio))) > MAX_ERROR_PX

    def badness(some: list[Pair], log_ratio: float) -> float:
        errors = [_errors_px(graph, lenses, p, float(np.exp(log_ratio))) for p in some]
        return float(np.mean([np.minimum(e / MAX_ERROR_PX, 1.0).mean() for e in errors]))

    def best_focal(some: list[Pair]) -> float:
        start = min(np.log(ratios), key=lambda r: badness(some, r))
        found = minimize_scalar(
            lambda r: badness(some, r), bounds=(start - width, start + width), method="bounded", options={"xatol": 0.01}
        )
        return float(found.x)

    for pair in pairs:
        if unexplained(pair, best_focal([pair])).mean() > 1 - EXPLAINED:
            return
    together = best_focal(pairs)
    shares = [unexplained(pair, together).mean() for pair in pairs]
    if np.mean([share <= 1 - EXPLAINED for share in shares]) >= EXPLAINED:
        raise FewviewError(
            f"The {len(capture)} photographs of {capture.source} were taken from one place while the camera turned: "
            "nothing in them shifts against anything else, so that no depth can be told. Walk while you take them, at "
            "least a step from one to the next."
        )


def _with_most_motion(graph: ViewGraph) -> list[Pair]:
    moved_px = {}
    for (a, b), geometry in graph.geometries.items():
        matches = geometry.inlier_matches
        shift = graph.features[a].xy_px[matches[:, 0]] - graph.features[b].xy_px[matches[:, 1]]
        moved_px[a, b] = float(shift.norm(dim=1).median())
    return sorted(moved_px, key=lambda pair: (-moved_px[pair], pair))[:MAX_PAIRS]


def _errors_px(graph: ViewGraph, lenses: Lenses, pair: Pair, ratio: float) -> np.ndarray:
    """Distances [M] of the matches of a pair from where its best turn takes them.

    `ratio`: see `_focal_px`.
    """
    matches = graph.geometries[pair].inlier_matches
    matches = matches[:: -(-len(matches) // MAX_MATCHES)]
    rays, focal_px = [], []
    for view, column in zip(pair, (0, 1), strict=True):
        features, camera = graph.features[view], lenses.camera_of_view[view] - 1
        focal_px.append(_focal_px(lenses, camera, ratio))
        center = np.array([features.width, features.height]) / 2
        xy = (features.xy_px.numpy()[matches[:, column]].astype(np.float64) - center) / focal_px[-1]
        rays.append(np.pad(xy, ((0, 0), (0, 1)), constant_values=1.0))
    unit = [r / np.linalg.norm(r, axis=1, keepdims=True) for r in rays]
    weights = np.ones(len(matches))
    for _ in range(6):  # reweighted, so that the few matches that do not turn along have no say
        u, _, vt = np.linalg.svd((unit[1] * weights[:, None]).T @ unit[0])
        rotation = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
        turned = rays[0] @ rotation.T
        ahead = turned[:, 2] > 1e-3
        image = turned[:, :2] / np.where(ahead, turned[:, 2], 1.0)[:, None]
        error = np.where(ahead, np.linalg.norm(image - rays[1][:, :2], axis=1) * focal_px[1], np.inf)
        weights = 1 / (1 + (error / MAX_ERROR_PX) ** 2)
    return error


def _focal_px(lenses: Lenses, camera: int, ratio: float) -> float:
    """`ratio` is over EXIF's focal length where all lenses have one, else over the longer side of those without."""
    known_px = lenses.focal_px[camera]
    if known_px is None:
        return ratio * max(lenses.sizes[camera])
    return ratio * known_px if lenses.is_known else known_px


def find_duplicates(correspondences: Correspondences, held_out: set[int]) -> dict[int, int]:
    """Views with the same pixels as another one, and that other one; where it can be, no held-out one is kept."""
    kept: dict[bytes, int] = {}
    duplicates = {}
    for view in sorted(range(len(correspondences.images)), key=lambda v: (v in held_out, v)):
        first = kept.setdefault(correspondences.images[view].digest, view)
        if first != view:
            duplicates[view] = first
    return duplicates


def duplicate_reasons(capture: Capture, duplicates: dict[int, int]) -> dict[int, str]:
    """A sentence for every duplicate that is left out, naming both."""
    names = capture.names
    return {
        view: f"{names[view]} is the same photograph as {names[first]} and was left out."
        for view, first in duplicates.items()
    }
