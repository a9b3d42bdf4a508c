"""Structure from motion: photographs without cameras to placed cameras with sparse points."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from ...scene.capture import Capture
from ...scene.errors import BadInputError, FewviewError
from ...scene.progress import Progress, silent
from .best_model import solve
from .correspondences import Correspondences, find_correspondences, timed
from .degenerate_motion import duplicate_reasons, find_duplicates, refuse_pure_rotation, refuse_still_camera
from .features import Features
from .focal_prior import Lenses, group_lenses
from .gps_scale import in_metres
from .held_out import register_held_out
from .mapping import Model, quiet_pycolmap
from .matchers import load_matcher, matcher_kinds
from .pair_selection import choose_pairs
from .placed_capture import placed_capture
from .pose_estimator import Poses
from .poses_config import PosesConfig
from .unplaced import blur_reasons, reasons_for_unplaced, too_blurred
from .verification import Pair, ViewGraph, verify

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
    Raises BadInputError for fewer than two photographs, FewviewError when fewer than two can be placed.
    """
    if len(capture) < 2:
        raise BadInputError(
            f"{capture.source} holds {'one photograph' if len(capture) else 'no photographs'}; at least two that show "
            "the same things from different places are needed, better six to twelve. Add photographs, or give a "
            "capture that has cameras."
        )
    seconds: dict[str, float] = {}
    kinds = matcher_kinds(config.features, len(capture))
    correspondences, graph, model, names = None, None, None, []
    held_out = set(capture.test or ())

    def likely_pairs(features: list[Features]) -> list[Pair]:
        pairs = choose_pairs(features, config.all_pairs_up_to, config.neighbours, progress)
        return [(a, b) for a, b in pairs if a not in held_out or b not in held_out]

    for kind in kinds:
        matcher = load_matcher(kind, config.keypoints_for(len(capture)))
        found = find_correspondences(capture, matcher, likely_pairs, config.image_side_px, seconds, progress)
        duplicates = find_duplicates(found, held_out)
        if len(duplicates) < len(capture) - 1:
            found = found.without(duplicates)
        refuse_still_camera(capture, found)
        correspondences = found if correspondences is None else correspondences.joined(found)
        names.append(matcher.name)
        lenses = _lenses(capture, correspondences)
        new_graph, new_model = _place(capture, correspondences, lenses, held_out, config, seconds, progress)
        if graph is None or _n_views(new_model) >= _n_views(model):
            graph, model, used = new_graph, new_model, correspondences
        if _n_views(model) == len(capture) - len(held_out | set(duplicates)):
            break
    assert graph is not None
    sharpness = np.array([image.sharpness for image in used.images])
    blurred = _without_blurred_views(model, sharpness)
    mapped = [] if model is None else model.views
    unplaced = reasons_for_unplaced(capture, graph, sorted({*mapped, *held_out}), sharpness)
    unplaced |= blur_reasons(capture, blurred, sharpness) | duplicate_reasons(capture, duplicates)
    if model is None:
        raise FewviewError(_failure(capture, unplaced))
    with timed("held-out", seconds):
        registered, reasons = register_held_out(
            capture, used, lenses, model, sorted(held_out - set(duplicates)), config.seed
        )
    unplaced |= reasons
    placed = placed_capture(capture, model, lenses, registered, [image.colors for image in used.images], unplaced)
    placed, scale = in_metres(placed)
    stats = _stats(names, graph, model, placed)
    if scale is not None:
        stats["scale"] = scale.as_stats()
    return Poses(placed, sorted([*model.views, *registered]), unplaced, seconds, stats)


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
) -> tuple[ViewGraph, Model | None]:
    features = [image.features for image in correspondences.images]
    matches = {pair: m for pair, m in correspondences.matches.items() if not held_out & set(pair)}
    with timed("verification", seconds):
        cameras = lenses.of_views(lenses.cameras("SIMPLE_PINHOLE", 1.0))
        graph = verify(features, matches, cameras, config.seed, progress)
        refuse_pure_rotation(capture, graph, lenses)
    with timed("mapping", seconds), quiet_pycolmap():
        model = solve(graph, lenses, config, progress)
        return graph, _without_weak_views(model)


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
        for view in weak:
            reconstruction.deregister_frame(reconstruction.image(view + 1).frame_id)


def _without_blurred_views(model: Model | None, sharpness: np.ndarray) -> list[int]:
    """Let go of views that are too blurred to be used, and say which."""
    if model is None:
        return []
    blurred = too_blurred(model.views, sharpness)
    for view in blurred:
        model.reconstruction.deregister_frame(model.reconstruction.image(view + 1).frame_id)
    return blurred


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
