"""The outlier test: a view is out where the others agree better without it.

SparseAGS, outlier detection, as released: greedy, one view a round, the worst first; each round makes the object anew.
A good view that merely shows a hard side is protected by the rule that takes a removal back. Unlike there each round
begins with the cameras as they were given: an outlier drags those of the others away while it is among them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...optimise.dataset import Dataset
from .appearance_distance import appearance_distance
from .joint_fit import JointResult, draw, targets
from .object_views import area_fractions, with_cameras


@dataclass(frozen=True)
class Removal:
    """One round of the test."""

    view: int  # the worst in the reconstruction with it
    before: float  # mean distance of the other views in the reconstruction with it
    after: float  # of the same in the one without it
    kept_out: bool  # whether it is an outlier


@dataclass(frozen=True)
class Inliers:
    """Views that agree, the object that they make, and how that was found."""

    views: list[int]  # ascending
    fit: JointResult
    removed: list[int]  # in the order of their removal
    tried: list[Removal]  # all rounds; the last one may have been taken back


def most_removals(count: int) -> int:
    """Views that may be removed of so many: none below 4, 1 up to 5, N - 4 for 6 and 7, else 4."""
    return 0 if count < 4 else 1 if count <= 5 else min(count - 4, 4)


def view_distances(views: Dataset, fit: JointResult) -> Tensor:
    """Distance of appearance [N] of each photograph from the object in its camera, by the object's share of it."""
    with torch.no_grad():
        rgb, _ = draw(fit.gaussians, with_cameras(views, fit.cam_from_world).cameras)
    return appearance_distance(rgb, targets(views)[0], area_fractions(views))


def find_inliers(
    views: Dataset,
    candidates: Sequence[int],  # views to begin with
    fit_views: Callable[[Dataset, Sequence[int]], JointResult],
    least_gain: float,  # share of the others' mean distance that a removal has to take away
) -> Inliers:
    """Remove views one by one while the others gain by it."""
    inliers = sorted(candidates)
    fit = fit_views(views, inliers)
    removed: list[int] = []
    tried: list[Removal] = []
    while len(removed) < most_removals(len(candidates)):
        distances = view_distances(views, fit)
        worst = max(inliers, key=lambda view: float(distances[view]))
        others = [view for view in inliers if view != worst]
        before = float(distances[others].mean())
        without = fit_views(views, others)
        after = float(view_distances(views, without)[others].mean())
        out = before - after >= least_gain * before
        tried.append(Removal(worst, before, after, out))
        if not out:
            break
        inliers, fit = others, without
        removed.append(worst)
    return Inliers(inliers, fit, removed, tried)
