"""Figures of each placed camera that tell how reliable it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..correspondences import Image
from .agreement import Agreement, contradicted_share
from .contested_points import contested_share
from .misleading_pairs import SeparatedModel, shared_points
from .points_known_without import points_known_without
from .rotation_precision import rotation_std_deg

# Of the contradicted share: where belief falls, and over how much. Right models of one stamp again and again, and of a
# turntable before a still background, have up to 0.2, as many wrong ones have.
DOUBTED_SHARE, DOUBTED_STEP = 0.15, 0.02
# Points of a photograph that two others must know without it, or it counts as alone. Of 1,039 cameras of 150 models 91
# have fewer, of which 23 are right; six were told as sure, three of them wrong (of the others 579, 18 wrong).
LEAST_KNOWN = 30
STEADY_DEG = 2.0  # a move up to which half of the matches give nearly the camera that all give


@dataclass(frozen=True)
class CameraFeatures:
    """Figures of one placed camera from which its confidence follows."""

    std_deg: float  # of its rotation against the others', from the observations' geometry
    linked: int  # strongest of the links over which it hangs together with the largest group, weakest first: points
    contested: float  # share of the points that it shows which other photographs deny; see `contested_share`
    contradicted: float  # share of all verified pairs that the model contradicts; see `contradicted_share`
    patterned: float  # share of the photographs that show one thing again and again
    moved_deg: float  # mean move of its rotation in solutions from parts of the matches; see `moved_deg`
    alone: bool  # no two others check its place and its focal length; see `points_known_without`

    def evidence(self) -> dict[str, float]:
        """The figures as confidence weighs them, by name: the larger, the better."""
        return {
            "precise": float(-np.log(max(0.02, self.std_deg))),
            "linked": float(np.log1p(self.linked)),
            "not_contested": float(-np.sqrt(self.contested)),
            "uncontradicted": float(-1 / (1 + np.exp((DOUBTED_SHARE - self.contradicted) / DOUBTED_STEP))),
            "no_pattern": -self.patterned,
            "steady": float(-np.log(max(STEADY_DEG, self.moved_deg))),
            "not_alone": -float(self.alone),
        }


def camera_features(
    found: SeparatedModel, images: Sequence[Image], moved_deg: Mapping[int, float], agreed: Agreement
) -> dict[int, CameraFeatures]:
    """Features of every view of a model that there is, with which all verified pairs are `agreed`.

    `moved_deg` are of those that were solved again; the others count as steady.
    """
    assert found.model is not None
    model = found.model
    contested = contested_share(found.comparisons)
    std = rotation_std_deg(model)
    linked = bottlenecks(model.views, shared_points(model))
    contradicted = contradicted_share(agreed)
    known = points_known_without(model)
    patterned = sum(image.pattern for image in images) / max(1, len(images))
    return {
        view: CameraFeatures(
            std_deg=std[view],
            linked=linked[view],
            contested=contested.get(view, 0.0),
            contradicted=contradicted,
            patterned=patterned,
            moved_deg=moved_deg.get(view, STEADY_DEG),
            alone=known[view] < LEAST_KNOWN,
        )
        for view in model.views
    }


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
