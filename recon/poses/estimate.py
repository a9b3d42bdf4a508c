"""`estimate_poses`: photographs without cameras to placed cameras with sparse points."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pycolmap
import torch

from ...scene.capture import Capture, Frame, fit_size
from ...scene.errors import BadInputError, FewviewError
from ...scene.progress import Progress, silent
from .config import Poses, PosesConfig
from .features import Features, Matcher, choose_matcher
from .focal import Lenses, group_lenses
from .mapping import Model
from .pairs import choose_pairs
from .placed import placed_capture
from .reasons import reasons_for_unplaced
from .solve import solve
from .verification import Pair, ViewGraph, verify

MIN_SEEN = 8  # observed points that pin a camera's six numbers down with some to spare; a view with fewer is let go


def estimate_poses(
    capture: Capture,
    config: PosesConfig = PosesConfig(),
    progress: Progress = silent,  # noqa: B008
) -> Poses:
    """Cameras and sparse points for photographs, from what they have in common.

    Cameras that the capture already has are not looked at. Photographs that cannot be placed are named with a reason,
    and the others go on; of photographs of several scenes, those of the largest group are placed.
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
    matcher = choose_matcher(config.features, len(capture), config.keypoints_for(len(capture)))
    with _timed("features", seconds):
        images = _extract(capture, matcher, config.image_side_px, progress)
    features = [image.features for image in images]
    lenses = group_lenses(list(capture.frames), [(f.width, f.height) for f in features])
    with _timed("matching", seconds):
        matches = _match(features, matcher, config, progress)
    with _timed("verification", seconds):
        cameras = lenses.of_views(lenses.cameras("SIMPLE_PINHOLE", 1.0))
        graph = verify(features, matches, cameras, config.seed, progress)
    with _timed("mapping", seconds), _quiet_pycolmap():
        model = solve(graph, lenses, config, progress)
        model = _without_weak_views(model)
    sharpness = np.array([image.sharpness for image in images])
    unplaced = reasons_for_unplaced(capture, graph, [] if model is None else model.views, sharpness)
    if model is None:
        raise FewviewError(_failure(capture, unplaced))
    placed = placed_capture(capture, model, [image.colors for image in images], unplaced)
    stats = _stats(matcher, graph, model, placed, lenses)
    return Poses(placed, model.views, unplaced, seconds, stats)


class _Image:
    """What is kept of a photograph once its features are known; the pixels are not."""

    def __init__(self, features: Features, colors: np.ndarray, sharpness: float) -> None:
        self.features = features
        self.colors = colors  # [N, 3] uint8 sRGB at the keypoints
        self.sharpness = sharpness  # mean absolute Laplacian, relative to the contrast


def _extract(capture: Capture, matcher: Matcher, side_px: int, progress: Progress) -> list[_Image]:
    images = []
    for index, frame in enumerate(capture.frames):
        progress("Finding features", index, len(capture))
        width, height = fit_size(frame.width, frame.height, side_px)
        pixels = capture.image(index, width, height).numpy()
        image = np.ascontiguousarray(pixels[..., :3])
        features = _inside_mask(matcher.extract(image), _mask(frame, pixels))
        column, row = features.xy_px.long().clamp_min(0).unbind(1)
        colors = image[row.clamp_max(height - 1).numpy(), column.clamp_max(width - 1).numpy()]
        images.append(_Image(features, colors, _sharpness(image)))
    progress("Finding features", len(capture), len(capture))
    return images


def _mask(frame: Frame, pixels: np.ndarray) -> np.ndarray | None:
    """bool [H, W] of the pixels that count at working size, from the frame's mask and its alpha channel."""
    height, width = pixels.shape[:2]
    mask = pixels[..., 3] >= 128 if pixels.shape[2] == 4 else None
    if frame.load_mask is not None:
        rows = (np.arange(height) * frame.height // height)[:, None]
        columns = (np.arange(width) * frame.width // width)[None]
        own = frame.load_mask()[rows, columns]
        mask = own if mask is None else mask & own
    return mask


def _inside_mask(features: Features, mask: np.ndarray | None) -> Features:
    if mask is None:
        return features
    column, row = features.xy_px.long().unbind(1)
    keep = torch.from_numpy(mask)[row.clamp(0, mask.shape[0] - 1), column.clamp(0, mask.shape[1] - 1)]
    return replace(features, xy_px=features.xy_px[keep], descriptors=features.descriptors[keep])


def _sharpness(image: np.ndarray) -> float:
    gray = image.astype(np.float32).mean(2)
    laplacian = gray[1:-1, 1:-1] * 4 - gray[:-2, 1:-1] - gray[2:, 1:-1] - gray[1:-1, :-2] - gray[1:-1, 2:]
    return float(np.abs(laplacian).mean() / max(float(gray.std()), 1.0)) if laplacian.size else 0.0


def _match(
    features: list[Features], matcher: Matcher, config: PosesConfig, progress: Progress
) -> dict[Pair, np.ndarray]:
    pairs = choose_pairs(features, config.all_pairs_up_to, config.neighbours, progress)
    matches = {}
    for done, (a, b) in enumerate(pairs):
        progress("Matching photographs", done, len(pairs))
        matches[a, b] = matcher.match(features[a], features[b])
    progress("Matching photographs", len(pairs), len(pairs))
    return matches


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


def _failure(capture: Capture, unplaced: dict[int, str]) -> str:
    shown = list(unplaced.values())[:3]
    more = f" And {len(unplaced) - len(shown)} more." if len(unplaced) > len(shown) else ""
    return (
        f"No two of the {len(capture)} photographs of {capture.source} could be placed. {' '.join(shown)}{more} "
        "Take photographs that overlap by half or more, from places at least a step apart, sharp and of things that do "
        "not move; or give a capture that has cameras."
    )


def _stats(matcher: Matcher, graph: ViewGraph, model: Model, placed: Capture, lenses: Lenses) -> dict[str, object]:
    assert placed.cameras is not None and placed.points is not None
    return {
        "features": matcher.name,
        "keypoints": int(sum(len(f) for f in graph.features)),
        "photographs": len(graph.features),
        "placed": len(model.views),
        "pairs": len(graph.matches),
        "verified_pairs": len(graph.geometries),
        "matches": int(sum(graph.matches.values())),
        "inliers": int(sum(len(g.inlier_matches) for g in graph.geometries.values())),
        "points": len(placed.points),
        "observations": model.observations,
        "error_px": round(model.error_px, 4),
        "focal_px": [round(float(f), 2) for f in placed.cameras.K[:, 0, 0].unique()],
        "focal_from_exif": lenses.is_known,
        "distortion": model.distortion,
    }


@contextlib.contextmanager
def _quiet_pycolmap() -> Iterator[None]:
    """Failed attempts are expected, and its remarks about them are for developers: only fatal ones are printed."""
    before = pycolmap.logging.minloglevel
    pycolmap.logging.minloglevel = pycolmap.logging.Level.FATAL.value
    try:
        yield
    finally:
        pycolmap.logging.minloglevel = before


@contextlib.contextmanager
def _timed(stage: str, seconds: dict[str, float]) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - started
