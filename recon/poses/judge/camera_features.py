"""Figures of each placed camera that tell how reliable it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..correspondences import Image
from ..mapping import Model
from .contested_points import contested_share
from .denied_surface import near_denial
from .misleading_pairs import MOST_DENIED, SeparatedModel, shared_points
from .rotation_precision import rotation_std_deg

STEADY_DEG = 2.0  # a move up to which half of the matches give nearly the camera that all give


@dataclass(frozen=True)
class CameraFeatures:
    """Figures of one placed camera from which its confidence follows."""

    points: int  # that it observes
    distinct: int  # of these, seen at keypoints that have no look-alike in their own photographs
    std_deg: float  # of its rotation against the others', from the observations' geometry
    explained: float  # share of its verified matches, over all pairs, that the model has points for
    linked: int  # strongest of the links over which it hangs together with the largest group, weakest first: points
    contested: float  # share of the points that it shows which other photographs deny; see `contested_share`
    disputed: float  # share of all verified pairs that were taken out because surfaces deny each other
    denied: float  # how much more than usual two views of nearly one side deny each other; see `near_denial`
    patterned: float  # share of the photographs that show one thing again and again
    moved_deg: float  # mean move of its rotation in solutions from parts of the matches; see `moved_deg`

    def evidence(self) -> dict[str, float]:
        """The figures as confidence weighs them, by name: the larger, the better."""
        return {
            "distinct": float(np.log1p(self.distinct) - np.log1p(self.points)),
            "precise": float(-np.log(max(0.02, self.std_deg))),
            "explained": self.explained,
            "linked": float(np.log1p(self.linked)),
            "not_contested": float(-np.sqrt(self.contested)),
            "undisputed": -self.disputed,
            "one_side": -self.denied,
            "no_pattern": -self.patterned,
            "steady": float(-np.log(max(STEADY_DEG, self.moved_deg))),
        }


def camera_features(
    found: SeparatedModel, images: Sequence[Image], moved_deg: Mapping[int, float]
) -> dict[int, CameraFeatures]:
    """Features of every view of a model that there is; `moved_deg` of those that were solved again, the others count as
    steady."""
    assert found.model is not None
    graph, model = found.graph, found.model
    contested = contested_share(found.comparisons)
    std = rotation_std_deg(model)
    shared = shared_points(model)
    linked = bottlenecks(model.views, shared)
    distinct = _distinct_points(model, images)
    by_surface = sum(what.denied > MOST_DENIED for what in found.misleading.values())
    disputed = by_surface / max(1, len(found.misleading) + len(graph.geometries))
    denied = near_denial(model, found.denied)
    patterned = sum(image.pattern for image in images) / max(1, len(images))
    features = {}
    for view in model.views:
        pairs = [pair for pair in graph.geometries if view in pair]
        inliers = sum(len(graph.geometries[pair].inlier_matches) for pair in pairs)
        held = sum(min(shared.get(pair, 0), len(graph.geometries[pair].inlier_matches)) for pair in pairs)
        features[view] = CameraFeatures(
            points=model.reconstruction.image(view + 1).num_points3D,
            distinct=distinct[view],
            std_deg=std[view],
            explained=held / max(1, inliers),
            linked=linked[view],
            contested=contested.get(view, 0.0),
            disputed=disputed,
            denied=denied,
            patterned=patterned,
            moved_deg=moved_deg.get(view, STEADY_DEG),
        )
    return features


def bottlenecks(views: Sequence[int], weights: Mapping[tuple[int, int], int]) -> dict[int, int]:
    """The link that holds each view, or the smaller group around it, to the larger one: its weight, 0 without any.

    Groups grow along their strongest links (Kruskal's maximum spanning tree); the smaller of two that meet is held by
    the link over which they meet.
    """
    group = {view: [view] for view in views}
    out = dict.fromkeys(views, 0)
    for (a, b), weight in sorted(weights.items(), key=lambda item: (-item[1], item[0])):
        if a not in group or b not in group or group[a] is group[b]:
            continue
        small, large = sorted((group[a], group[b]), key=len)
        for view in small:
            out[view] = weight
        if len(large) == 1:  # the first link of both
            out[large[0]] = weight
        large.extend(small)
        for view in small:
            group[view] = large
    return out


def _distinct_points(model: Model, images: Sequence[Image]) -> dict[int, int]:
    """Number of points of each view that no photograph sees at a keypoint that is repeated in it."""
    counts = dict.fromkeys(model.views, 0)
    for point in model.reconstruction.points3D.values():
        elements = [(e.image_id - 1, e.point2D_idx) for e in point.track.elements]
        if not any(len(images[v].repeated) and images[v].repeated[k] for v, k in elements):
            for view in {v for v, _ in elements} & counts.keys():
                counts[view] += 1
    return counts
