"""`estimate_poses`: photographs without cameras to placed cameras with sparse points."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pycolmap
import torch

from ...scene.capture import Capture, Frame, fit_size
from ...scene.errors import BadInputError, FewviewError
from ...scene.progress import Progress, silent
from .config import Poses, PosesConfig
from .features import Features, Matcher, load_matcher, matcher_kinds
from .focal import group_lenses
from .mapping import Model
from .pairs import choose_pairs
from .placed import placed_capture
from .reasons import reasons_for_unplaced
from .solve import solve
from .verification import Pair, ViewGraph, verify
from .workers import each

MIN_SEEN = 8  # observed points that pin a camera's six numbers down with some to spare; a view with fewer is let go


def estimate_poses(
    capture: Capture,
    config: PosesConfig = PosesConfig(),  # noqa: B008
    progress: Progress = silent,
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
    kinds = matcher_kinds(config.features, len(capture))
    evidence, graph, model, names = None, None, None, []
    for kind in kinds:
        matcher = load_matcher(kind, config.keypoints_for(len(capture)))
        more = _gather(capture, matcher, config, seconds, progress)
        evidence = more if evidence is None else evidence.joined(more)
        names.append(matcher.name)
        new_graph, new_model = _place(capture, evidence, config, seconds, progress)
        if graph is None or _n_views(new_model) >= _n_views(model):
            graph, model, used = new_graph, new_model, evidence
        if _n_views(model) == len(capture):
            break
    assert graph is not None
    sharpness = np.array([image.sharpness for image in used.images])
    unplaced = reasons_for_unplaced(capture, graph, [] if model is None else model.views, sharpness)
    if model is None:
        raise FewviewError(_failure(capture, unplaced))
    placed = placed_capture(capture, model, [image.colors for image in used.images], unplaced)
    return Poses(placed, model.views, unplaced, seconds, _stats(names, graph, model, placed))


@dataclass(frozen=True)
class _Image:
    """What is kept of a photograph once its features are known; the pixels are not."""

    features: Features
    colors: np.ndarray  # [N, 3] uint8 sRGB at the keypoints
    sharpness: float  # mean absolute Laplacian, relative to the contrast


@dataclass(frozen=True)
class _Evidence:
    """Keypoints of every photograph, and matches [M, 2] int64 between pairs of them."""

    images: list[_Image]
    matches: dict[Pair, np.ndarray]

    def joined(self, other: _Evidence) -> _Evidence:
        """Both together: the keypoints of `other` follow these, so that its indices move up. Descriptors go."""
        images = []
        for a, b in zip(self.images, other.images, strict=True):
            xy_px = torch.cat([a.features.xy_px, b.features.xy_px])
            features = replace(a.features, xy_px=xy_px, descriptors=torch.zeros(len(xy_px), 0))
            images.append(_Image(features, np.concatenate([a.colors, b.colors]), a.sharpness))
        matches = {}
        for first, second in sorted(self.matches.keys() | other.matches.keys()):
            shift = np.array([len(self.images[first].features), len(self.images[second].features)])
            empty = np.zeros((0, 2), np.int64)
            own, new = self.matches.get((first, second), empty), other.matches.get((first, second), empty)
            matches[first, second] = np.concatenate([own, new + shift])
        return _Evidence(images, matches)


def _gather(
    capture: Capture, matcher: Matcher, config: PosesConfig, seconds: dict[str, float], progress: Progress
) -> _Evidence:
    with _timed("features", seconds):
        images = _extract(capture, matcher, config.image_side_px, progress)
    with _timed("matching", seconds):
        matches = _match([image.features for image in images], matcher, config, progress)
    return _Evidence(images, matches)


def _place(
    capture: Capture, evidence: _Evidence, config: PosesConfig, seconds: dict[str, float], progress: Progress
) -> tuple[ViewGraph, Model | None]:
    features = [image.features for image in evidence.images]
    lenses = group_lenses(list(capture.frames), [(f.width, f.height) for f in features])
    with _timed("verification", seconds):
        cameras = lenses.of_views(lenses.cameras("SIMPLE_PINHOLE", 1.0))
        graph = verify(features, evidence.matches, cameras, config.seed, progress)
    with _timed("mapping", seconds), _quiet_pycolmap():
        model = solve(graph, lenses, config, progress)
        return graph, _without_weak_views(model)


def _n_views(model: Model | None) -> int:
    return 0 if model is None else len(model.views)


def _extract(capture: Capture, matcher: Matcher, side_px: int, progress: Progress) -> list[_Image]:
    def one(index: int) -> _Image:
        frame = capture.frames[index]
        width, height = fit_size(frame.width, frame.height, side_px)
        pixels = capture.image(index, width, height).numpy()
        image = np.ascontiguousarray(pixels[..., :3])
        features = _inside_mask(matcher.extract(image), _mask(frame, pixels))
        column, row = features.xy_px.long().clamp_min(0).unbind(1)
        colors = image[row.clamp_max(height - 1).numpy(), column.clamp_max(width - 1).numpy()]
        return _Image(features, colors, _sharpness(image))

    return each("Finding features", one, range(len(capture)), progress)


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
    found = each(
        "Matching photographs", lambda pair: matcher.match(features[pair[0]], features[pair[1]]), pairs, progress
    )
    return dict(zip(pairs, found, strict=True))


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


def _stats(features: list[str], graph: ViewGraph, model: Model, placed: Capture) -> dict[str, object]:
    assert placed.cameras is not None
    assert placed.points is not None
    return {
        "features": "+".join(features),
        "keypoints": sum(len(f) for f in graph.features),
        "photographs": len(graph.features),
        "placed": len(model.views),
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
    seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - started
