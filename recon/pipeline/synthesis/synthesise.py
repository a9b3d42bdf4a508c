"""Analysis by synthesis of small pictures: object and cameras fitted together, outliers taken out and looked for.

Zhao and Tulsiani, "Sparse-view Pose Estimation and Reconstruction via Analysis by Generative Synthesis", NeurIPS 2024.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ....scene.errors import BadInputError
from ....scene.gaussians import Gaussians
from ....scene.geometry import Similarity, se3_from, se3_inverse
from ....scene.progress import Progress, silent
from ...evidence.view_prior import ViewPrior
from ...optimise.dataset import Dataset
from ...optimise.trainer import torch_threads
from ...poses.pose_errors import align_cameras
from .joint_fit import JointFitConfig, JointResult, fit_jointly
from .look_at_frame import look_at_from_world
from .object_views import with_cameras
from .outlier_test import Inliers, OutlierConfig, Trial, find_inliers, view_distances
from .pose_rounds import FoundPoses, Photograph, RoundsConfig, reconsidered, refine_candidates
from .pose_search import SearchConfig, coarse_candidates

MIN_VIEWS = 3  # that an object can be made from


@dataclass(frozen=True)
class SynthesisConfig:
    """Settings of analysis by synthesis."""

    side_px: int = 64  # of the square pictures of the object
    fit: JointFitConfig = field(default_factory=JointFitConfig)
    trial: JointFitConfig = field(default_factory=lambda: JointFitConfig(steps=150))  # of objects that are compared
    search: SearchConfig = field(default_factory=SearchConfig)
    rounds: RoundsConfig = field(default_factory=RoundsConfig)
    outliers: OutlierConfig = field(default_factory=OutlierConfig)
    # Share of the errors near the given camera of a removed view that a camera from elsewhere may have, to be taken.
    advantage: float = 0.8
    left_out_scores: bool = True  # whether each view is also measured in an object made without it

    def __post_init__(self) -> None:
        if self.side_px < 32:
            raise BadInputError(f"side_px is {self.side_px}; at least 32 pixels are expected.")


@dataclass(frozen=True)
class Synthesis:
    """Cameras that agree, and the object that they agree on."""

    cam_from_world: Tensor  # [N, 4, 4] in the look-at frame
    gaussians: Gaussians  # in the same frame
    look_at_from_given: Similarity  # float64; from the world of the given cameras, as nearly as they agree with these
    views: list[int]  # that the object is made of: all but unknown ones that could not be placed
    distances: Tensor  # [N] of appearance, of each view from the object
    left_out: Tensor | None  # [N] the same from an object made without the view; None where it was not asked for
    removed: list[int]  # views that were outliers, in the order in which they were found
    corrected: list[int]  # those of them, and of the unknown ones, whose camera the search gave
    tried: list[Trial]  # views that were left out for a trial, in that order
    found: dict[int, FoundPoses]  # what the search gave for each view that it looked for
    seconds: dict[str, float]  # wall time of each part


def synthesise(
    views: Dataset,  # square pictures of the object, cameras in any world frame
    unknown: Sequence[int] = (),  # views whose pose is not known at all; only their lens is
    config: SynthesisConfig = SynthesisConfig(),
    *,
    view_prior: ViewPrior | None = None,
    progress: Progress = silent,
) -> Synthesis:
    """Fit object and cameras, take out the views that contradict the others, and look for their cameras.

    Raises BadInputError for fewer than three views with poses.
    """
    known = [view for view in range(len(views)) if view not in set(unknown)]
    if len(known) < MIN_VIEWS:
        raise BadInputError(
            f"{len(known)} of {len(views)} photographs have cameras; analysis by synthesis makes the object from at "
            f"least {MIN_VIEWS}. Place more of them first."
        )
    return _Run(views, known, sorted(unknown), config, view_prior, progress).result()


@dataclass(frozen=True)
class _Corrected:
    """Cameras of all views that have a place, and where the places of the doubtful ones come from."""

    cam_from_world: Tensor  # [N, 4, 4]
    views: list[int]
    corrected: list[int]  # whose camera the search gave
    found: dict[int, FoundPoses]  # what it gave


class _Run:
    """One run, and what it knows so far."""

    def __init__(
        self,
        views: Dataset,
        known: list[int],
        unknown: list[int],
        config: SynthesisConfig,
        view_prior: ViewPrior | None,
        progress: Progress,
    ) -> None:
        self.given, self.known, self.unknown = views, known, unknown
        self.config, self.view_prior, self.progress = config, view_prior, progress
        self.seconds: dict[str, float] = {}

    def result(self) -> Synthesis:
        with torch_threads(1, torch.device("cpu")):
            with self._timed("outliers"):
                inliers = find_inliers(self.given, self.known, self._trial, self.config.outliers)
            corrected = self._corrected(with_cameras(self.given, inliers.fit.cam_from_world), inliers)
            with self._timed("fit"):
                fit = self._fit(with_cameras(self.given, corrected.cam_from_world), corrected.views, self.config.fit)
            views, chosen = with_cameras(self.given, fit.cam_from_world), corrected.views
            left_out = self._left_out(views, chosen) if self.config.left_out_scores else None
        agreed = inliers.views
        now_from_search = align_cameras(inliers.fit.cam_from_world[agreed], fit.cam_from_world[agreed])
        return Synthesis(
            fit.cam_from_world,
            fit.gaussians,
            align_cameras(self.given.cameras.cam_from_world[agreed], fit.cam_from_world[agreed]),
            chosen,
            view_distances(views, fit),
            left_out,
            inliers.removed,
            corrected.corrected,
            inliers.tried,
            {view: _moved(found, now_from_search) for view, found in corrected.found.items()},
            self.seconds,
        )

    def _trial(self, views: Dataset, chosen: Sequence[int]) -> JointResult:
        return self._fit(views, chosen, self.config.trial)

    def _fit(self, views: Dataset, chosen: Sequence[int], config: JointFitConfig) -> JointResult:
        """The joint fit in the look-at frame of the chosen cameras, which drift from any other."""
        looking_at = views.transformed(look_at_from_world(views.cameras[torch.tensor(list(chosen))]))
        return fit_jointly(looking_at, chosen, config, view_prior=self.view_prior)

    def _corrected(self, views: Dataset, inliers: Inliers) -> _Corrected:
        """All views with cameras again, as far as these can be found."""
        everything = list(range(len(views)))
        if not inliers.removed and not self.unknown:
            return _Corrected(self.given.cameras.cam_from_world, everything, [], {})
        with self._timed("search"):
            found, searched, near = self._searched(views, inliers)
            moved = [view for view in inliers.removed if not torch.equal(searched[view], near[view])]
        with self._timed("comparison"):
            fit = self._trial(with_cameras(views, searched), everything)
            if moved:
                fit, moved = self._compared(views, searched, near, fit, moved)
        return self._trusted(views, inliers, fit, moved + self.unknown, found)

    def _searched(self, views: Dataset, inliers: Inliers) -> tuple[dict[int, FoundPoses], Tensor, Tensor]:
        """Cameras that the search gives for each view without a trusted one, and two sets of cameras [N, 4, 4].

        In the first each removed view has the better one of both ways, in the second the best near the given one.
        """
        gaussians, c = inliers.fit.gaussians, self.config
        searched, near = (views.cameras.cam_from_world.clone() for _ in range(2))
        trusted = views.cameras.cam_from_world[inliers.views]
        found: dict[int, FoundPoses] = {}
        for view in inliers.removed + self.unknown:
            photograph = Photograph(views, view)
            starts = coarse_candidates(gaussians, views, view, trusted, c.search)
            found[view] = refine_candidates(gaussians, photograph, starts, c.rounds, c.fit.seed)
            searched[view] = found[view].cam_from_world[0]
            if view in self.unknown:
                near[view] = searched[view]
                continue
            near[view] = reconsidered(gaussians, photograph, near[view], c.rounds, c.fit.seed)
            errors = photograph.errors(gaussians, torch.stack([searched[view], near[view]]))
            if not all(bool(error[0] < c.advantage * error[1]) for error in errors):
                searched[view] = near[view]
        return found, searched, near

    def _compared(
        self, views: Dataset, searched: Tensor, near: Tensor, a: JointResult, moved: list[int]
    ) -> tuple[JointResult, list[int]]:
        """The object of all views with the cameras that deserve it, and the views whose camera the search gave.

        The released rule keeps the searched cameras (A) where the mean distance is no larger than with the given ones
        (B) and each former outlier is better in both errors, all or none. Here each view is judged for itself, so that
        a good view that was removed does not decide about the others; where they differ, a third object is made.
        """
        b = self._trial(with_cameras(views, near), range(len(views)))
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
            a = self._trial(with_cameras(views, mixed), range(len(views)))
            distances[0] = view_distances(views, a)
        return (a, kept) if kept and float(distances[0].mean()) <= float(distances[1].mean()) else (b, [])

    def _trusted(
        self, views: Dataset, inliers: Inliers, fit: JointResult, corrected: list[int], found: dict[int, FoundPoses]
    ) -> _Corrected:
        """The same without views that nobody had placed and that the inliers agree worse with."""
        chosen = list(range(len(views)))
        alone = float(view_distances(views, inliers.fit)[inliers.views].mean())
        doubted = list(self.unknown)
        with self._timed("doubts"):
            while doubted:
                distances = view_distances(views, fit)
                if alone > (1 - self.config.outliers.least_gain) * float(distances[inliers.views].mean()):
                    break
                worst = max(doubted, key=lambda view: float(distances[view]))
                doubted.remove(worst)
                chosen.remove(worst)
                fit = self._trial(with_cameras(views, fit.cam_from_world), chosen)
        return _Corrected(fit.cam_from_world, chosen, [view for view in corrected if view in chosen], found)

    def _left_out(self, views: Dataset, chosen: list[int]) -> Tensor:
        """Distance [N] of each view from an object that the others make, all cameras as they are."""
        errors = torch.full((len(views),), torch.nan)
        still = replace(self.config.trial, camera_lr=0.0, camera_lr_final=0.0)
        with self._timed("left out"):
            for view in chosen:
                fit = fit_jointly(views, [other for other in chosen if other != view], still)
                errors[view] = view_distances(views, fit)[view]
        return errors

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        self.progress(f"analysis by synthesis: {name}", 0, 1)
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


def _moved(found: FoundPoses, new_from_world: Similarity) -> FoundPoses:
    """The same cameras in another frame."""
    world_from_cam = se3_inverse(found.cam_from_world.double())
    centers = new_from_world(world_from_cam[:, :3, 3])
    rotations = new_from_world.rotation @ world_from_cam[:, :3, :3]
    return replace(found, cam_from_world=se3_inverse(se3_from(rotations, centers)).float())
