"""Structure from motion: photographs without cameras to placed cameras with sparse points."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from ...scene.capture import Capture
from ...scene.errors import BadInputError, FewviewError
from ...scene.progress import Progress, silent
from ...scene.torch_threads import torch_threads
from .best_model import held_once_lost, solve, solve_again
from .correspondences import Correspondences, timed
from .degenerate_motion import duplicate_reasons, find_duplicates, refuse_pure_rotation, refuse_still_camera
from .faint_pairs import faint_pairs
from .focal_prior import Lenses, group_lenses
from .gps_scale import in_metres
from .grown_correspondences import grow_correspondences
from .held_out import camera_of, register_held_out
from .judge.agreement import agreement
from .judge.confidence import (
    confidence_of_cameras,
    confidence_of_registered,
    look_alike_reasons,
    looks_of_registered,
    notes_on_confidence,
    notes_on_patterns,
    refused_reasons,
)
from .judge.cut_off_side import notes_on_cut_off_side
from .judge.least_contradicted import least_contradicted
from .judge.misleading_pairs import SeparatedModel, separated
from .judge.open_focal_length import bend_deg, notes_on_focal_length
from .judge.torn_links import notes_on_torn_links
from .judge.two_against_two import notes_on_dispute
from .lens_groups import lenses_apart, note_on_lenses
from .mapping import Model, quiet_pycolmap
from .matchers import load_matcher, matcher_kinds
from .moving_pixels import film_motion, is_film
from .placed_capture import placed_capture
from .pose_estimator import Poses
from .poses_config import PosesConfig
from .standing_camera import goes_round, is_cut_out, moving_note, standing_camera
from .still_background import STILL_BACKGROUND, without_still_background, without_still_outline
from .unplaced import blur_reasons, reasons_for_unplaced, too_blurred
from .untorn import untorn
from .verification import Verified, ViewGraph, verify
from .weak_links import notes_on_weak_links, strongest_links

MIN_SEEN = 8  # observed points that pin a camera's six numbers down with some to spare; a view with fewer is let go


@dataclass(frozen=True)
class StructureFromMotion:
    """Features, matches and incremental mapping; see `PoseEstimator`."""

    config: PosesConfig = field(default_factory=PosesConfig)
    name: ClassVar[str] = "structure from motion"

    def place(self, capture: Capture, progress: Progress = silent) -> Poses:
        """See `estimate_poses`."""
        return estimate_poses(capture, self.config, progress)


def estimate_poses(
    capture: Capture,
    config: PosesConfig = PosesConfig(),  # noqa: B008
    progress: Progress = silent,
) -> Poses:
    """Cameras and sparse points for photographs, from what they have in common.

    Cameras that the capture already has are not looked at. Photographs that cannot be placed are named with a reason,
    and the others go on; of photographs of several scenes, those of the largest group are placed.
    Photographs in `capture.test` take no part: they are registered to the finished solution and change nothing in it.
    Where lens distortion was found, the frames of the result are undistorted when loaded.
    Of a film (frames with times) the cameras are found from what stands still, and the frames of the result say what
    that is; where the camera stands while something moves, all frames have one camera, whose focal length is a guess.
    Raises BadInputError for fewer than two photographs, FewviewError when fewer than two can be placed.
    """
    if len(capture) < 2:
        raise BadInputError(
            f"{capture.source} holds {'one photograph' if len(capture) else 'no photographs'}; at least two that show "
            "the same things from different places are needed, better six to twelve. Add photographs, or give a "
            "capture that has cameras."
        )
    if not is_film(capture):
        return _placed(capture, config, progress)
    started = time.perf_counter()
    motion = film_motion(capture, progress)
    took_s = time.perf_counter() - started
    if motion.camera_stands and motion.share > 0:
        poses = _of_standing_camera(capture, config, progress)
    else:
        poses = _of_moving_camera(motion.with_still_pixels(capture), config, progress)
    notes = [*poses.notes, moving_note(motion)] if motion.share > 0 and not motion.camera_stands else poses.notes
    stats = {**poses.stats, "moving_share": round(motion.share, 4)}
    return replace(poses, seconds={"motion": took_s, **poses.seconds}, stats=stats, notes=tuple(notes))


def _of_standing_camera(capture: Capture, config: PosesConfig, progress: Progress) -> Poses:
    """Of something that turns before a still background, the cameras around it; of all else, the one camera."""
    try:
        poses = _placed(capture, config, progress)
    except BadInputError:
        raise
    except FewviewError:
        return standing_camera(capture)
    around = STILL_BACKGROUND in poses.notes and goes_round(poses, len(capture))
    return poses if around else standing_camera(capture)


def _of_moving_camera(capture: Capture, config: PosesConfig, progress: Progress) -> Poses:
    """Structure from motion; of a cut-out object that no motion of a camera explains, a standing camera."""
    try:
        poses = _placed(capture, config, progress)
    except BadInputError:
        raise
    except FewviewError:
        if not is_cut_out(capture):
            raise
        return standing_camera(capture)
    return poses if not is_cut_out(capture) or goes_round(poses, len(capture)) else standing_camera(capture)


def _placed(capture: Capture, config: PosesConfig, progress: Progress) -> Poses:
    seconds: dict[str, float] = {}
    kinds = matcher_kinds(config.features, len(capture))
    correspondences: Correspondences | None = None
    found_model: SeparatedModel | None = None
    names, notes = list[str](), list[str]()
    held_out = set(capture.test or ())

    for kind in kinds:
        matcher = load_matcher(kind, config.keypoints, config.device)
        known: Verified = {}
        found = grow_correspondences(capture, matcher, config, held_out, seconds, progress, known)
        duplicates = find_duplicates(found, held_out)
        if len(duplicates) < len(capture) - 1:
            found = found.without(duplicates)
        turning = without_still_background(found)
        if turning is not None:
            found, notes = turning, [STILL_BACKGROUND]
        found = without_still_outline(found) or found
        refuse_still_camera(capture, found)
        correspondences = found if correspondences is None else correspondences.joined(found)
        names.append(matcher.name)
        lenses = _lenses(capture, correspondences)
        known = known if correspondences is found else {}
        new, own_lenses = _place(capture, correspondences, lenses, held_out, config, seconds, progress, known)
        if found_model is None or _n_views(new.model) >= _n_views(found_model.model):
            found_model, used, used_lenses = new, correspondences, own_lenses
        if _n_views(found_model.model) == len(capture) - len(held_out | set(duplicates)):
            break
    assert found_model is not None
    graph, model, lenses = found_model.graph, found_model.model, used_lenses
    sharpness = np.array([image.sharpness for image in used.images])
    blurred = _without_blurred_views(model, sharpness)
    mapped = [] if model is None else model.views
    unplaced = reasons_for_unplaced(capture, graph, sorted({*mapped, *held_out}), sharpness)
    unplaced |= look_alike_reasons(capture.names, mapped, [*unplaced], found_model.misleading)
    unplaced |= blur_reasons(capture, blurred, sharpness) | duplicate_reasons(capture, duplicates)
    if model is None:
        raise FewviewError(_failure(capture, unplaced))
    with timed("held-out", seconds):
        registered, reasons = register_held_out(
            capture, used, lenses, model, sorted(held_out - set(duplicates)), config.seed
        )
    unplaced |= reasons
    with timed("judging", seconds), torch_threads(1), quiet_pycolmap():

        def again(some: ViewGraph, number: int) -> Model | None:
            return solve_again(some, lenses, config, number)

        bends = bend_deg(model)
        beliefs = confidence_of_cameras(found_model, used.images, bends, again, config.seed)
        confidence: dict[int, float | None] = {**beliefs}
        cameras = {view: (pose, camera_of(lenses, model, view)) for view, pose in registered.items()}
        for view, look in looks_of_registered(found_model, used.images, cameras).items():
            confidence[view] = confidence_of_registered(look, beliefs)
    refused = refused_reasons(capture.names, confidence, config.min_confidence)
    unplaced |= refused
    registered = {view: pose for view, pose in registered.items() if view not in refused}
    _let_go(model, refused.keys() & set(model.views))
    if len(model.views) < 2:
        raise FewviewError(_failure(capture, unplaced))
    placed = placed_capture(capture, model, lenses, registered, [image.colors for image in used.images], unplaced)
    placed, scale = in_metres(placed)
    stats = _stats(names, graph, model, placed)
    if scale is not None:
        stats["scale"] = scale.as_stats()
    views = sorted([*model.views, *registered])
    believed = tuple(confidence[view] for view in views)
    notes += notes_on_patterns(used.images)
    notes += note_on_lenses(capture.names, _lenses(capture, used), lenses, model)
    notes += notes_on_confidence([capture.names[view] for view in views], believed)
    notes += notes_on_focal_length(capture.names, bends)
    notes += notes_on_torn_links(capture.names, agreement(model, found_model.verified))
    notes += notes_on_dispute(capture.names, found_model.denied)
    notes += notes_on_cut_off_side(capture.names, found_model)
    assert placed.cameras is not None
    assert placed.points is not None
    notes += notes_on_weak_links(placed.points, placed.cameras.centers, placed.names)
    stats["links"] = strongest_links(placed.points, placed.names)
    return Poses(placed, views, unplaced, seconds, stats, believed, notes=tuple(notes))


def _lenses(capture: Capture, correspondences: Correspondences) -> Lenses:
    features = [image.features for image in correspondences.images]
    return group_lenses(list(capture.frames), [(f.width, f.height) for f in features])


def _place(
    capture: Capture,
    correspondences: Correspondences,
    lenses: Lenses,
    held_out: set[int],
    config: PosesConfig,
    seconds: dict[str, float],
    progress: Progress,
    known: Verified,
) -> tuple[SeparatedModel, Lenses]:
    features = [image.features for image in correspondences.images]
    matches = {pair: m for pair, m in correspondences.matches.items() if not held_out & set(pair)}
    with timed("verification", seconds):
        cameras = lenses.of_views(lenses.cameras("SIMPLE_PINHOLE", 1.0))
        graph = verify(features, matches, cameras, config.seed, progress, known)
        refuse_pure_rotation(capture, graph, lenses)

    def solved(some: ViewGraph) -> Model | None:
        return _without_weak_views(solve(some, lenses, config, progress))

    def again(some: ViewGraph, number: int) -> Model | None:
        return _without_weak_views(solve_again(some, lenses, config, number))

    def closed(some: ViewGraph, model: Model | None) -> Model | None:
        return None if model is None else _without_weak_views(untorn(some, model, lenses, config))

    with timed("mapping", seconds), quiet_pycolmap():
        consistent = graph.without(faint_pairs(graph))
        first = solved(consistent)
        apart = lenses_apart(consistent, lenses, first, config)
        if apart is not None:
            lenses, first = apart[0], _without_weak_views(apart[1])
        config = held_once_lost(config, first, lenses)
        if first is not None:
            first, consistent = least_contradicted(consistent, first, again, config.seed)
            first = closed(consistent, first)

    def mapped(some: ViewGraph) -> Model | None:
        if some is consistent:
            return first
        with timed("mapping", seconds), quiet_pycolmap():
            return closed(some, solved(some))

    with timed("judging", seconds), torch_threads(1):
        mapping_s = seconds.get("mapping", 0.0)
        found = separated(graph, consistent, mapped, [image.grey for image in correspondences.images])
    seconds["judging"] -= seconds["mapping"] - mapping_s
    return found, lenses


def _n_views(model: Model | None) -> int:
    return 0 if model is None else len(model.views)


def _without_weak_views(model: Model | None) -> Model | None:
    """Let go of views that see too few points for their place to be trusted; None when fewer than two are left."""
    if model is None:
        return None
    reconstruction = model.reconstruction
    while True:
        weak = [v for v in model.views if reconstruction.image(v + 1).num_points3D < MIN_SEEN]
        if not weak:
            return model if len(model.views) >= 2 else None
        _let_go(model, weak)


def _without_blurred_views(model: Model | None, sharpness: np.ndarray) -> list[int]:
    """Let go of views that are too blurred to be used, and say which."""
    if model is None:
        return []
    blurred = too_blurred(model.views, sharpness)
    _let_go(model, blurred)
    return blurred


def _let_go(model: Model, views: Collection[int]) -> None:
    for view in sorted(views):
        model.reconstruction.deregister_frame(model.reconstruction.image(view + 1).frame_id)


def _failure(capture: Capture, unplaced: dict[int, str]) -> str:
    shown = list(unplaced.values())[:3]
    more = f" And {len(unplaced) - len(shown)} more." if len(unplaced) > len(shown) else ""
    return (
        f"No two of the {len(capture)} photographs of {capture.source} could be placed. {' '.join(shown)}{more} "
        "Take photographs that overlap by half or more, from places at least a step apart, sharp and of things that do "
        "not move; or give a capture that has cameras."
    )


def _stats(features: list[str], graph: ViewGraph, model: Model, placed: Capture) -> dict[str, object]:
    assert placed.cameras is not None
    assert placed.points is not None
    return {
        "features": "+".join(features),
        "keypoints": sum(len(f) for f in graph.features),
        "photographs": len(graph.features),
        "placed": len(placed),
        "pairs": len(graph.matches),
        "verified_pairs": len(graph.geometries),
        "matches": sum(graph.matches.values()),
        "inliers": sum(len(g.inlier_matches) for g in graph.geometries.values()),
        "points": len(placed.points),
        "observations": model.observations,
        "error_px": round(model.error_px, 4),
        "focal_px": [round(float(f), 2) for f in placed.cameras.K[:, 0, 0].unique()],
        "distortion": round(model.distortion, 5),
    }
