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
from .outlier_test import Inliers, Removal, find_inliers, view_distances
from .pose_rounds import FoundPoses, Photograph, RoundsConfig, reconsidered, refine_candidates
from .pose_search import SearchConfig, coarse_candidates

MIN_VIEWS = 3  # that an object can be made from


@dataclass(frozen=True)
class SynthesisConfig:
    """Settings of analysis by synthesis."""

    side_px: int = 64  # of the square pictures of the object
    fit: JointFitConfig = field(default_factory=JointFitConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    rounds: RoundsConfig = field(default_factory=RoundsConfig)
    # Share of the other views' mean distance that the removal of an outlier takes away. The paper's limit is 0.05 of
    # LPIPS, whatever the object; a share means the same for objects that are easy to make and for those that are not.
    outlier_gain: float = 0.12
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
    tried: list[Removal]  # the rounds of the outlier test
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
    """An object of all views that have a place, and where the places of the others come from."""

    fit: JointResult
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
                inliers = find_inliers(self.given, self.known, self._fit, self.config.outlier_gain)
            at_search = with_cameras(self.given, inliers.fit.cam_from_world)
            corrected = self._corrected(at_search, inliers)
            fit, chosen = corrected.fit, corrected.views
            views = with_cameras(self.given, fit.cam_from_world)
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

    def _fit(self, views: Dataset, chosen: Sequence[int]) -> JointResult:
        """The joint fit in the look-at frame of the chosen cameras, which drift from any other."""
        looking_at = views.transformed(look_at_from_world(views.cameras[torch.tensor(list(chosen))]))
        return fit_jointly(looking_at, chosen, self.config.fit, view_prior=self.view_prior)

    def _corrected(self, views: Dataset, inliers: Inliers) -> _Corrected:
        """All views with cameras again, as far as these can be found."""
        lost = inliers.removed + self.unknown
        if not lost:
            return _Corrected(inliers.fit, list(range(len(views))), [], {})
        gaussians, c = inliers.fit.gaussians, self.config
        searched, initial = (views.cameras.cam_from_world.clone() for _ in range(2))
        trusted = views.cameras.cam_from_world[inliers.views]
        found: dict[int, FoundPoses] = {}
        moved: list[int] = []  # removed views that the search has a better camera for than one near the given one
        with self._timed("search"):
            for view in lost:
                photograph = Photograph(views, view)
                starts = coarse_candidates(gaussians, views, view, trusted, c.search)
                found[view] = refine_candidates(gaussians, photograph, starts, c.rounds, c.fit.seed)
                searched[view] = initial[view] = found[view].cam_from_world[0]
                if view in inliers.removed:
                    given = views.cameras.cam_from_world[view]
                    initial[view] = reconsidered(gaussians, photograph, given, c.rounds, c.fit.seed)
                    pair = torch.stack([searched[view], initial[view]])
                    if all(bool(error[0] < error[1]) for error in photograph.errors(gaussians, pair)):
                        moved.append(view)
                    else:
                        searched[view] = initial[view]
        with self._timed("comparison"):
            everything = list(range(len(views)))
            fit, corrected = self._fit(with_cameras(views, searched), everything), moved + self.unknown
            if moved:
                without = self._fit(with_cameras(views, initial), everything)
                if not self._better(views, fit, without, moved):
                    fit, corrected = without, list(self.unknown)
        return self._trusted(views, inliers, fit, corrected, found)

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
                if alone > (1 - self.config.outlier_gain) * float(distances[inliers.views].mean()):
                    break
                worst = max(doubted, key=lambda view: float(distances[view]))
                doubted.remove(worst)
                chosen.remove(worst)
                fit = self._fit(with_cameras(views, fit.cam_from_world), chosen)
        return _Corrected(fit, chosen, [view for view in corrected if view in chosen], found)

    def _better(self, views: Dataset, a: JointResult, b: JointResult, lost: list[int]) -> bool:
        """The released rule: A is no worse in the mean, and better for each view that it has elsewhere in both errors.

        There all former outliers are elsewhere or none; here those whose given camera is the better one stay near it, so
        that a good view that was removed does not decide about the others.
        """
        distances = [view_distances(views, fit) for fit in (a, b)]
        if float(distances[0].mean()) > float(distances[1].mean()):
            return False
        for view in lost:
            photograph = Photograph(views, view)
            errors = [float(photograph.squared_error(fit.gaussians, fit.cam_from_world[view][None])) for fit in (a, b)]
            if not (errors[0] < errors[1] and distances[0][view] < distances[1][view]):
                return False
        return True

    def _left_out(self, views: Dataset, chosen: list[int]) -> Tensor:
        """Distance [N] of each view from an object that the others make, all cameras as they are."""
        errors = torch.full((len(views),), torch.nan)
        still = replace(self.config.fit, camera_lr=0.0, camera_lr_final=0.0)
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
