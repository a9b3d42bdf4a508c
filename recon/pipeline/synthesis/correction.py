"""Correction: cameras for the views that were taken out, and for those that never had any.

SparseAGS, outlier correction. A camera is looked for everywhere around the object that the trusted views make, and near
where it was given; objects of all views decide between the two. Unlike there that is done for all views at once and in
turn, and the better outcome is kept. Views that nobody placed are then placed one by one, the likeliest first, because
each of them adds a side to the object by which the next is found.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ....scene.geometry import rotation_angle
from ...optimise.dataset import Dataset
from ...poses.pose_errors import align_cameras
from .joint_fit import JointResult
from .look_at_frame import moved_poses
from .object_views import area_fractions, with_cameras
from .outlier_test import Inliers, Trial, view_distances
from .pose_rounds import FoundPoses, Photograph, modes_of, reconsidered, refine_candidates
from .pose_search import coarse_candidates
from .synthesis_config import SynthesisConfig

FitViews = Callable[[Dataset, Sequence[int]], JointResult]  # (views with their cameras, those to fit)


@dataclass
class Corrected:
    """Cameras of all views that have a place, and where the places of the doubtful ones come from."""

    fit: JointResult
    views: list[int]
    corrected: list[int]  # whose camera the search gave
    # Results of the searches, and the trusted views with their cameras at that time, which say in what frame.
    found: dict[int, FoundPoses] = field(default_factory=dict)
    trusted: dict[int, tuple[list[int], Tensor]] = field(default_factory=dict)


@dataclass(frozen=True)
class _BothWays:
    """Cameras of a removed view from a search everywhere around an object, and from near where it was given."""

    found: FoundPoses
    near: Tensor  # [4, 4]
    is_better_elsewhere: bool  # whether both errors are clearly smaller for the first one that was found
    distance: float  # of appearance for that one, by the object's share of the picture

    @property
    def better(self) -> Tensor:
        return self.found.cam_from_world[0] if self.is_better_elsewhere else self.near


def _first(ways: Mapping[int, _BothWays]) -> list[int]:
    """Views to put back next: those that stay where they were given, else the one that is likeliest elsewhere."""
    stay = [view for view, way in ways.items() if not way.is_better_elsewhere]
    return stay or [min(ways, key=lambda view: ways[view].distance)]


class Correction:
    """The cameras that a run corrects, with its settings."""

    def __init__(
        self,
        views: Dataset,
        fit_views: FitViews,
        config: SynthesisConfig,
        proposed: Mapping[int, Tensor] | None = None,  # cameras [M, 4, 4] of unknown views, in the world of `views`
    ) -> None:
        self._views, self._fit, self._config, self._proposed = views, fit_views, config, proposed or {}
        self._agreeing: list[int] = []  # views whose given cameras agree, and say where the proposed ones are

    def of(self, inliers: Inliers, unknown: Sequence[int]) -> Corrected:
        """Places for the removed views, then for those of the unknown ones that agree with the others."""
        self._agreeing = inliers.views
        so_far = self._put_back(inliers) if inliers.removed else Corrected(inliers.fit, inliers.views, [])
        remaining = list(unknown)
        while remaining:
            view = self._place_one(so_far, remaining)
            if view is None:
                break
            remaining.remove(view)
        return so_far

    def search(self, fit: JointResult, view: int, trusted: Sequence[int]) -> FoundPoses:
        """Cameras of a view everywhere around the object of a fit."""
        c, views = self._config, with_cameras(self._views, fit.cam_from_world)
        starts = coarse_candidates(fit.gaussians, views, view, fit.cam_from_world[list(trusted)], c.search)
        if view in self._proposed:
            given = self._views.cameras.cam_from_world[self._agreeing]
            move = align_cameras(given, fit.cam_from_world[self._agreeing])
            starts = torch.cat([moved_poses(self._proposed[view], move), starts])
        return refine_candidates(fit.gaussians, Photograph(views, view), starts, c.rounds, c.fit.seed)

    def _mean_distance(self, fit: JointResult, views: Sequence[int]) -> float:
        """Mean distance of some views from the object of a fit."""
        return float(view_distances(self._views, fit)[views].mean())

    # -- views that were removed ------------------------------------------------------------------------------------

    def _put_back(self, inliers: Inliers) -> Corrected:
        """All known views, the removed ones where they agree best: looked for at once, or in turn.

        An object of few views does not tell where a photograph of its other side belongs, and each view that is put
        back tells more; but one that is put on the wrong side misleads the next. So all views must gain by the turns.
        """
        ways = self._both_ways(inliers.fit, inliers.removed, inliers.views)
        at_once = self._put_back_so(inliers, ways, in_turn=False)
        if len(ways) == 1:
            return at_once
        in_turn = self._put_back_so(inliers, ways, in_turn=True)
        before, after = (self._mean_distance(made.fit, made.views) for made in (at_once, in_turn))
        return in_turn if after < (1 - self._config.turns_gain) * before else at_once

    def _put_back_so(self, inliers: Inliers, ways: Mapping[int, _BothWays], in_turn: bool) -> Corrected:
        """All known views, the removed ones at once or in turn.

        In one set of cameras each removed view has the better one of both ways, in the other the best near the given
        one; objects of all views decide.
        """
        so_far = Corrected(inliers.fit, sorted(inliers.views + inliers.removed), [])
        fit, searched, near, moved = self._looked_for(so_far, inliers, ways, in_turn)
        so_far.fit = self._fit(with_cameras(self._views, searched), so_far.views)
        if moved:
            so_far.fit, so_far.corrected = self._compared(searched, near, so_far.fit, moved, so_far.views)
        chosen = near.clone()
        chosen[so_far.corrected] = searched[so_far.corrected]
        self._other_sides(so_far, inliers.removed, fit, chosen)
        return so_far

    def _looked_for(
        self, so_far: Corrected, inliers: Inliers, ways: Mapping[int, _BothWays], in_turn: bool
    ) -> tuple[JointResult, Tensor, Tensor, list[int]]:
        """The last object, cameras [N, 4, 4] with the better of both ways and with the near ones, and who has moved.

        In turn come first the views that the object shows near where they were given about as well as anywhere, then
        one after the other those that it shows elsewhere, the likeliest first; each is part of the next object.
        """
        trusted, fit = inliers.views, inliers.fit
        searched, near = (fit.cam_from_world.clone() for _ in range(2))
        moved: list[int] = []
        while True:
            now = _first(ways) if in_turn else list(ways)
            for view, way in ways.items():
                so_far.found[view], so_far.trusted[view] = way.found, (trusted, fit.cam_from_world[trusted])
            for view in now:
                searched[view], near[view] = ways[view].better, ways[view].near
            moved += [view for view in now if ways[view].is_better_elsewhere]
            remaining = [view for view in ways if view not in now]
            if not remaining:
                return fit, searched, near, sorted(moved)
            known = sorted([*trusted, *now])
            grown = self._fit(with_cameras(self._views, searched), known)
            near = moved_poses(near, align_cameras(fit.cam_from_world[trusted], grown.cam_from_world[trusted]))
            near[inliers.views] = grown.cam_from_world[inliers.views]
            searched, trusted, fit = grown.cam_from_world.clone(), known, grown
            ways = self._both_ways(fit, remaining, trusted)

    def _both_ways(self, fit: JointResult, removed: Sequence[int], trusted: Sequence[int]) -> dict[int, _BothWays]:
        """Cameras of removed views from everywhere around the object of a fit, and near where they were given."""
        c, views, shares = self._config, with_cameras(self._views, fit.cam_from_world), area_fractions(self._views)
        ways = {}
        for view in removed:
            photograph = Photograph(views, view)
            found = self.search(fit, view, trusted)
            near = reconsidered(fit.gaussians, photograph, fit.cam_from_world[view], c.rounds, c.fit.seed)
            errors = photograph.errors(fit.gaussians, torch.stack([found.cam_from_world[0], near]))
            is_better = all(bool(error[0] < c.advantage * error[1]) for error in errors)
            ways[view] = _BothWays(found, near, is_better, float(found.distance[0] / shares[view]))
        return ways

    def _other_sides(self, so_far: Corrected, removed: Sequence[int], fit: JointResult, chosen: Tensor) -> None:
        """Exchange the camera of a removed view for another mode of its search where all views agree better with it.

        From the other side an object may look much the same, so that one picture does not tell; but what it shows then
        contradicts what the others show there, as that of an outlier does. Each view in turn, the worst first.
        """
        c, views, known = self._config, self._views, so_far.views
        alone = {view: Photograph(views, view) for view in removed}
        distances = view_distances(views, so_far.fit)
        for view in sorted(removed, key=lambda view: -float(distances[view])):
            trusted, then = so_far.trusted[view]
            move = align_cameras(then, fit.cam_from_world[trusted])
            poses = moved_poses(so_far.found[view].cam_from_world, move)
            rivals = poses[modes_of(poses, c.rounds)]
            errors, _ = alone[view].errors(fit.gaussians, torch.cat([rivals, chosen[view][None]]))
            for rival, error in zip(rivals, errors[:-1], strict=True):
                turn = rotation_angle(rival[:3, :3] @ chosen[view, :3, :3].T)
                if float(turn) < math.radians(c.rounds.mode_deg) or float(error) > c.rival * float(errors.min()):
                    continue
                other = chosen.clone()
                other[view] = rival
                again = self._fit(with_cameras(views, other), known)
                now = view_distances(views, again)
                if float(now[known].mean()) < float(distances[known].mean()):
                    so_far.fit, chosen, distances = again, other, now
                    so_far.corrected = sorted({*so_far.corrected, view})

    def _compared(
        self, searched: Tensor, near: Tensor, a: JointResult, moved: list[int], known: list[int]
    ) -> tuple[JointResult, list[int]]:
        """The object of all views with the cameras that deserve it, and the views whose camera the search gave.

        The released rule keeps the searched cameras (A) where the mean distance is no larger than with the given ones
        (B) and each former outlier is better in both errors, all or none. Here each view is judged for itself, so that
        a good view that was removed does not decide about the others; where they differ, a third object is made.
        """
        views = self._views
        b = self._fit(with_cameras(views, near), known)
        distances = [view_distances(views, fit) for fit in (a, b)]
        kept = []
        for view in moved:
            photograph = Photograph(views, view)
            error = [float(photograph.squared_error(fit.gaussians, fit.cam_from_world[view][None])) for fit in (a, b)]
            if error[0] < error[1] and distances[0][view] < distances[1][view]:
                kept.append(view)
        if kept and kept != moved:
            mixed = near.clone()
            mixed[kept] = searched[kept]
            a = self._fit(with_cameras(views, mixed), known)
            distances[0] = view_distances(views, a)
        return (a, kept) if kept and float(distances[0][known].mean()) <= float(distances[1][known].mean()) else (b, [])

    # -- views that nobody had placed -------------------------------------------------------------------------------

    def _place_one(self, so_far: Corrected, remaining: Sequence[int]) -> int | None:
        """Add the view that is nearest to the object, and from which the others do not suffer as from an outlier.

        Where few views are there an object can be made for almost any camera, so that the least sign of it counts.
        """
        found = {view: self._remember(so_far, so_far.fit, view, so_far.views) for view in remaining}
        shares = area_fractions(self._views)
        alone = self._mean_distance(so_far.fit, so_far.views)
        for view in sorted(remaining, key=lambda view: float(found[view].distance[0] / shares[view])):
            poses = so_far.fit.cam_from_world.clone()
            poses[view] = found[view].cam_from_world[0]
            fit = self._fit(with_cameras(self._views, poses), [*so_far.views, view])
            together = self._mean_distance(fit, so_far.views)
            if Trial(view, before=together, after=alone).gain < self._config.outliers.least_gain:
                so_far.fit, so_far.views = fit, sorted([*so_far.views, view])
                so_far.corrected.append(view)
                return view
        return None

    def _remember(self, so_far: Corrected, fit: JointResult, view: int, trusted: list[int]) -> FoundPoses:
        so_far.found[view] = self.search(fit, view, trusted)
        so_far.trusted[view] = trusted, fit.cam_from_world[trusted]
        return so_far.found[view]
