"""Analysis by synthesis of small pictures: object and cameras fitted together, outliers taken out and looked for.

Zhao and Tulsiani, "Sparse-view Pose Estimation and Reconstruction via Analysis by Generative Synthesis", NeurIPS 2024.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ....scene.errors import BadInputError
from ....scene.gaussians import Gaussians
from ....scene.geometry import Similarity
from ....scene.progress import Progress, silent
from ....scene.torch_threads import torch_threads
from ...evidence.view_prior import ViewPrior
from ...optimise.dataset import Dataset
from ...poses.correspondences import timed
from ...poses.pose_errors import align_cameras
from .correction import Corrected, Correction
from .joint_fit import JointFitConfig, JointResult, fit_jointly
from .look_at_frame import look_at_from_world, moved_poses
from .object_views import with_cameras
from .outlier_test import Inliers, Trial, find_inliers, view_distances
from .pose_rounds import FoundPoses
from .synthesis_config import SynthesisConfig

MIN_VIEWS = 3  # that an object can be made from


@dataclass(frozen=True)
class Synthesis:
    """Cameras that agree, and the object that they agree on."""

    cam_from_world: Tensor  # [N, 4, 4] in the look-at frame
    gaussians: Gaussians  # in the same frame
    look_at_from_given: Similarity  # float64; from the world of the given cameras, as nearly as they agree with these
    views: list[int]  # that the object is made of: all but unknown ones that could not be placed
    distances: Tensor  # [N] of appearance, of each view from the object
    left_out: Tensor | None  # [N] the same from an object made without the view; None where it was not asked for
    removed: list[int]  # views that were outliers, in the order in which they were found, or that were not trusted
    corrected: list[int]  # those of them, and of the unknown ones, whose camera the search gave
    tried: list[Trial]  # views that were left out for a trial, in that order
    found: dict[int, FoundPoses]  # what the search gave for each view that it looked for
    seconds: dict[str, float]  # wall time of each part


def synthesise(
    views: Dataset,  # square pictures of the object, cameras in any world frame
    unknown: Sequence[int] = (),  # views whose pose is not known at all; only their lens is
    config: SynthesisConfig = SynthesisConfig(),  # noqa: B008
    *,
    trusted: Sequence[int] = (),  # views whose given cameras are believed to be right, where that is known
    proposed: Mapping[int, Tensor] | None = None,  # cameras [M, 4, 4] that unknown ones may have, in the given world
    view_prior: ViewPrior | None = None,
    progress: Progress = silent,
) -> Synthesis:
    """Fit object and cameras, take out the views that contradict the others, and look for their cameras.

    Where at least three views are trusted, the outcome is compared with what comes of keeping their cameras.
    Proposed cameras are looked at beside those that the search itself thinks of.
    Raises BadInputError for fewer than three views with poses.
    """
    known = [view for view in range(len(views)) if view not in set(unknown)]
    if len(known) < MIN_VIEWS:
        raise BadInputError(
            f"{len(known)} of {len(views)} photographs have cameras; analysis by synthesis makes the object from at "
            f"least {MIN_VIEWS}. Place more of them first."
        )
    return _Run(views, known, sorted(trusted), sorted(unknown), config, proposed or {}, view_prior, progress).result()


class _Run:
    """One run, and what it knows so far."""

    def __init__(
        self,
        views: Dataset,
        known: list[int],
        trusted: list[int],
        unknown: list[int],
        config: SynthesisConfig,
        proposed: Mapping[int, Tensor],
        view_prior: ViewPrior | None,
        progress: Progress,
    ) -> None:
        self.given, self.known, self.trusted, self.unknown = views, known, trusted, unknown
        self.config, self.view_prior, self.progress = config, view_prior, progress
        self.proposed = proposed
        self.seconds: dict[str, float] = {}

    def result(self) -> Synthesis:
        with torch_threads(1):
            with self._timed("outliers"):
                inliers = find_inliers(self.given, self.known, self._trial, self.config.outliers)
            found = self._made(inliers, left_out=self.config.left_out_scores)
            unlike = self.trusted != self.known or set(found.corrected) & set(self.known)
            if len(self.trusted) >= MIN_VIEWS and unlike:
                found = self._deserved(found, inliers)
        return found

    def _deserved(self, found: Synthesis, inliers: Inliers) -> Synthesis:
        """Object as found, or that of the trusted cameras as they were given where it shows photographs better.

        Each photograph is compared with an object made without it: one made with it looks like it from anywhere.
        """
        left_out = self._left_out(found.cam_from_world, found.views) if found.left_out is None else found.left_out
        with self._timed("as given"):
            fit = self._trial(self.given, self.trusted)
        doubted = [view for view in self.known if view not in self.trusted]
        given = self._made(Inliers(self.trusted, fit, doubted, inliers.tried), left_out=True)
        assert given.left_out is not None
        is_better = float(given.left_out[self.known].mean()) < float(left_out[self.known].mean())
        return given if is_better else found

    def _made(self, inliers: Inliers, left_out: bool) -> Synthesis:
        """The object of the views that agree, of the removed ones and of the unknown ones that could be placed."""
        corrected, start = None, self.given.cameras.cam_from_world
        if inliers.removed or self.unknown:
            with self._timed("correction"):
                correction = Correction(self.given, self._trial, self.config, self.proposed)
                corrected = correction.of(inliers, self.unknown)
            start = corrected.fit.cam_from_world
        chosen = self.known if corrected is None else corrected.views
        with self._timed("fit"):
            fit = self._fit(with_cameras(self.given, start), chosen, self.config.fit)
        agreed = inliers.views
        return Synthesis(
            fit.cam_from_world,
            fit.gaussians,
            align_cameras(self.given.cameras.cam_from_world[agreed], fit.cam_from_world[agreed]),
            chosen,
            view_distances(with_cameras(self.given, fit.cam_from_world), fit),
            self._left_out(fit.cam_from_world, chosen) if left_out else None,
            inliers.removed,
            [] if corrected is None else corrected.corrected,
            inliers.tried,
            {} if corrected is None else _found_now(corrected, fit.cam_from_world),
            self.seconds,
        )

    def _trial(self, views: Dataset, chosen: Sequence[int]) -> JointResult:
        return self._fit(views, chosen, self.config.trial)

    def _fit(self, views: Dataset, chosen: Sequence[int], config: JointFitConfig) -> JointResult:
        """The joint fit in the look-at frame of the chosen cameras, which drift from any other."""
        looking_at = views.transformed(look_at_from_world(views.cameras[torch.tensor(list(chosen))]))
        return fit_jointly(looking_at, chosen, config, view_prior=self.view_prior)

    def _left_out(self, cam_from_world: Tensor, chosen: list[int]) -> Tensor:
        """Distance [N] of each view from an object that the others make, all cameras as they are."""
        views = with_cameras(self.given, cam_from_world)
        errors = torch.full((len(views),), torch.nan)
        still = replace(self.config.trial, camera_lr=0.0, camera_lr_final=0.0)
        with self._timed("left out"):
            for view in chosen:
                fit = fit_jointly(views, [other for other in chosen if other != view], still)
                errors[view] = view_distances(views, fit)[view]
        return errors

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        self.progress(f"analysis by synthesis: {name}", 0, 1)
        with timed(name, self.seconds):
            yield


def _found_now(corrected: Corrected, cam_from_world: Tensor) -> dict[int, FoundPoses]:
    """Each search's cameras in the frame that the trusted views [N, 4, 4] have now."""
    now = {}
    for view, found in corrected.found.items():
        trusted, then = corrected.trusted[view]
        move = align_cameras(then, cam_from_world[trusted])
        now[view] = replace(found, cam_from_world=moved_poses(found.cam_from_world, move))
    return now
