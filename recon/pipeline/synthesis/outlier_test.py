"""The outlier test: a view is out where the others agree better without it.

SparseAGS, outlier detection, as released: greedy, one view a round, the worst first; each round makes the object anew.
A good view that merely shows a hard side is protected by the rule that takes a removal back. Unlike there each round
begins with the cameras as they were given, because an outlier drags those of the others away while it is among them;
and where the worst view is no clear outlier the next worst are tried, too, because two outliers hide each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ....scene.errors import BadInputError
from ...optimise.dataset import Dataset
from .appearance_distance import appearance_distance
from .joint_fit import JointResult, draw, targets
from .object_views import area_fractions, with_cameras


@dataclass(frozen=True)
class OutlierConfig:
    """Limits of the test, as shares of the other views' mean distance that go away with a view.

    The paper's limit is 0.05 of LPIPS; a share means the same for objects that are easy to make and for those that are
    not.
    """

    least_gain: float = 0.1  # of an outlier
    clear_gain: float = 0.2  # from which on no other view is tried
    tries: int = 3  # views of each round, the worst first

    def __post_init__(self) -> None:
        if not 0 < self.least_gain <= self.clear_gain < 1 or self.tries < 1:
            raise BadInputError(
                f"least_gain, clear_gain and tries are {self.least_gain}, {self.clear_gain} and {self.tries}; expected "
                "0 < least_gain <= clear_gain < 1 and at least one try."
            )


@dataclass(frozen=True)
class Trial:
    """One view that was left out to see what the others gain."""

    view: int
    before: float  # mean distance of the other views in the reconstruction with it
    after: float  # of the same in the one without it

    @property
    def gain(self) -> float:
        """Share of the distance that went away."""
        return 1 - self.after / max(self.before, 1e-12)


@dataclass(frozen=True)
class Inliers:
    """Views that agree, the object that they make, and how that was found."""

    views: list[int]  # ascending
    fit: JointResult
    removed: list[int]  # in the order of their removal
    tried: list[Trial]  # in their order; what is not removed was put back


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
    config: OutlierConfig = OutlierConfig(),
) -> Inliers:
    """Remove views one by one while the others gain by it."""
    inliers = sorted(candidates)
    fit = fit_views(views, inliers)
    removed: list[int] = []
    tried: list[Trial] = []
    while len(removed) < most_removals(len(candidates)):
        distances = view_distances(views, fit)
        best: tuple[Trial, JointResult] | None = None
        for view in sorted(inliers, key=lambda view: -float(distances[view]))[: config.tries]:
            others = [other for other in inliers if other != view]
            without = fit_views(views, others)
            after = float(view_distances(views, without)[others].mean())
            trial = Trial(view, float(distances[others].mean()), after)
            tried.append(trial)
            if best is None or trial.gain > best[0].gain:
                best = trial, without
            if trial.gain >= config.clear_gain:
                break
        if best is None or best[0].gain < config.least_gain:
            break
        removed.append(best[0].view)
        inliers.remove(best[0].view)
        fit = best[1]
    return Inliers(inliers, fit, removed, tried)
