"""Correspondences between photographs: keypoints with their colours, and matches of pairs."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from ...scene.capture import Capture, Frame, fit_size
from ...scene.progress import Progress
from .features import Features, Matcher
from .verification import Pair
from .workers import each


@dataclass(frozen=True)
class Image:
    """A photograph once its features are known; its pixels are not kept."""

    features: Features
    colors: np.ndarray  # [N, 3] uint8 sRGB at the keypoints
    sharpness: float  # mean absolute Laplacian, relative to the contrast
    digest: bytes = b""  # of the pixels: the same photograph twice has the same


@dataclass(frozen=True)
class Correspondences:
    """Keypoints of every photograph, and matches [M, 2] int64 between pairs of them."""

    images: list[Image]
    matches: dict[Pair, np.ndarray]

    def without(self, views: Collection[int]) -> Correspondences:
        """The same with nothing said about how these views relate to others."""
        return Correspondences(self.images, {pair: m for pair, m in self.matches.items() if not set(pair) & set(views)})

    def joined(self, other: Correspondences) -> Correspondences:
        """Both together: the keypoints of `other` follow these, so that its indices move up. Descriptors go."""
        images = []
        for a, b in zip(self.images, other.images, strict=True):
            xy_px = torch.cat([a.features.xy_px, b.features.xy_px])
            features = replace(a.features, xy_px=xy_px, descriptors=torch.zeros(len(xy_px), 0))
            images.append(Image(features, np.concatenate([a.colors, b.colors]), a.sharpness, a.digest))
        matches = {}
        for first, second in sorted(self.matches.keys() | other.matches.keys()):
            shift = np.array([len(self.images[first].features), len(self.images[second].features)])
            empty = np.zeros((0, 2), np.int64)
            own, new = self.matches.get((first, second), empty), other.matches.get((first, second), empty)
            matches[first, second] = np.concatenate([own, new + shift])
        return Correspondences(images, matches)


def find_correspondences(
    capture: Capture,
    matcher: Matcher,
    pairs_of: Callable[[list[Features]], list[Pair]],
    image_side_px: int,
    seconds: dict[str, float],
    progress: Progress,
) -> Correspondences:
    """Features of all photographs, in copies of `image_side_px` at most, and matches of the pairs that are chosen."""
    with timed("features", seconds):
        images = _extract(capture, matcher, image_side_px, progress)
    with timed("matching", seconds):
        features = [image.features for image in images]
        pairs = pairs_of(features)
        found = each(
            "Matching photographs", lambda pair: matcher.match(features[pair[0]], features[pair[1]]), pairs, progress
        )
    return Correspondences(images, dict(zip(pairs, found, strict=True)))


def _extract(capture: Capture, matcher: Matcher, side_px: int, progress: Progress) -> list[Image]:
    def one(index: int) -> Image:
        frame = capture.frames[index]
        width, height = fit_size(frame.width, frame.height, side_px)
        pixels = capture.image(index, width, height).numpy()
        image = np.ascontiguousarray(pixels[..., :3])
        features = _inside_mask(matcher.extract(image), counted_pixels(frame, pixels))
        column, row = features.xy_px.long().clamp_min(0).unbind(1)
        colors = image[row.clamp_max(height - 1).numpy(), column.clamp_max(width - 1).numpy()]
        return Image(features, colors, sharpness_of(image), hashlib.blake2b(pixels.tobytes()).digest())

    return each("Finding features", one, range(len(capture)), progress)


def counted_pixels(frame: Frame, pixels: np.ndarray) -> np.ndarray | None:
    """bool [H, W] of the pixels that count at the size of `pixels`, from the frame's mask and its alpha channel."""
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


def sharpness_of(image: np.ndarray) -> float:
    """Mean absolute Laplacian of a uint8 [H, W, 3] image, relative to its contrast."""
    gray = image.astype(np.float32).mean(2)
    laplacian = gray[1:-1, 1:-1] * 4 - gray[:-2, 1:-1] - gray[2:, 1:-1] - gray[1:-1, :-2] - gray[1:-1, 2:]
    return float(np.abs(laplacian).mean() / max(float(gray.std()), 1.0)) if laplacian.size else 0.0


@contextlib.contextmanager
def timed(stage: str, seconds: dict[str, float]) -> Iterator[None]:
    """Add the wall time of the block to `seconds[stage]`."""
    started = time.perf_counter()
    yield
    seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - started
