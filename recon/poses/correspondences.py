"""Correspondences between photographs: keypoints with their colours, and matches of pairs."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import torch

from ...scene.capture import Capture, Frame, fit_size
from ...scene.progress import Progress
from .features import Features, Matcher
from .match_store import NO_STORE, MatchStore
from .quarter_turns import turned_back, turns_that_join
from .repetition import shows_pattern
from .verification import Pair
from .workers import each

# Matching costs the square of the keypoints: half of them take a quarter of the time and find half of the matches,
# which is as good where a pair has many, and where it has none.
COARSE_KEYPOINTS = 1024
COARSE_FROM = 9  # photographs; few have few pairs to hold on to
SURE = 80  # matches of the strongest keypoints that more would add nothing to
HOPELESS = 8  # matches that chance gives


@dataclass(frozen=True)
class Image:
    """A photograph once its features are known; of its pixels a small grey copy is kept."""

    features: Features
    colors: np.ndarray  # [N, 3] uint8 sRGB at the keypoints
    sharpness: float  # mean absolute Laplacian, relative to the contrast
    digest: bytes = b""  # of the pixels: the same photograph twice has the same
    grey: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.uint8))  # [H, W] copy that features are of
    pattern: bool = False  # shows one thing again and again at equal steps


@dataclass(frozen=True)
class Correspondences:
    """Keypoints of every photograph, and matches [M, 2] int64 between pairs of them."""

    images: list[Image]
    matches: dict[Pair, np.ndarray]

    def without(self, views: Collection[int]) -> Correspondences:
        """The same with nothing said about how these views relate to others."""
        return Correspondences(self.images, {pair: m for pair, m in self.matches.items() if not set(pair) & set(views)})

    def moved_px(self, pair: Pair) -> torch.Tensor:
        """Distances [M] between the places of matched keypoints in the two photographs of a pair."""
        matches = self.matches[pair]
        xy_a, xy_b = (self.images[view].features.xy_px[matches[:, k]] for k, view in enumerate(pair))
        return (xy_a - xy_b).norm(dim=1)

    def joined(self, other: Correspondences) -> Correspondences:
        """Both together: the keypoints of `other` follow these, so that its indices move up. Descriptors go."""
        images = []
        for a, b in zip(self.images, other.images, strict=True):
            xy_px = torch.cat([a.features.xy_px, b.features.xy_px])
            features = replace(a.features, xy_px=xy_px, descriptors=torch.zeros(len(xy_px), 0))
            images.append(replace(a, features=features, colors=np.concatenate((a.colors, b.colors))))
        matches = {}
        for first, second in sorted(self.matches.keys() | other.matches.keys()):
            shift = np.array([len(self.images[first].features), len(self.images[second].features)])
            empty = np.zeros((0, 2), np.int64)
            own, new = self.matches.get((first, second), empty), other.matches.get((first, second), empty)
            matches[first, second] = np.concatenate([own, new + shift])
        return Correspondences(images, matches)


@dataclass(frozen=True)
class Extracted:
    """A photograph's keypoints, as it is and as it is matched."""

    image: Image  # keypoints of the photograph as it is
    as_matched: Features  # the same in the same order, of the photograph turned

    @functools.cached_property
    def key(self) -> str:
        """Digest of all that its matches depend on."""
        arrays = (self.as_matched.xy_px, self.as_matched.descriptors)
        return hashlib.blake2b(b"".join(a.numpy().tobytes() for a in arrays), digest_size=20).hexdigest()


def find_correspondences(
    capture: Capture,
    matcher: Matcher,
    pairs_of: Callable[[list[Features]], list[Pair]],
    image_side_px: int,
    seconds: dict[str, float],
    progress: Progress,
) -> Correspondences:
    """Features of all photographs, in copies of `image_side_px` at most, and matches of the pairs that are chosen.

    Where the matcher wants upright photographs, those that a turn joins to the others are matched turned; keypoints are
    those of the photographs as they are.
    """

    def extracted(index: int, turns: int = 0) -> Extracted:
        return extract(capture, index, matcher, image_side_px, turns)

    with timed("features", seconds):
        found = each("Finding features", extracted, range(len(capture)), progress)
    with timed("matching", seconds):
        pairs = pairs_of([e.as_matched for e in found])

        def match(pair: Pair) -> np.ndarray:
            a, b = (found[view].as_matched for view in pair)
            if len(capture) < COARSE_FROM:
                return match_pair(matcher, a, b, thorough=True)
            coarse = match_pair(matcher, a, b, thorough=False)
            return match_pair(matcher, a, b, thorough=True) if HOPELESS <= len(coarse) < SURE else coarse

        matches = dict(zip(pairs, each("Matching photographs", match, pairs, progress), strict=True))
        turned = turned_to_join(matcher, found, matches, extracted)
        found = [turned.get(view, own) for view, own in enumerate(found)]
        again = [pair for pair in pairs if turned.keys() & set(pair)]
        matches |= dict(zip(again, each("Matching turned photographs", match, again, progress), strict=True))
    return Correspondences([e.image for e in found], matches)


def turned_to_join(
    matcher: Matcher,
    found: Sequence[Extracted],
    matches: Mapping[Pair, np.ndarray],
    extracted: Callable[[int, int], Extracted],  # (view, quarter turns)
) -> dict[int, Extracted]:
    """The photographs that join the others only when they are turned, turned; for matchers that want them upright."""
    if not matcher.upright_only:
        return {}
    turned = functools.cache(extracted)

    def count_turned(pair: Pair, turns: int) -> int:
        return len(match_pair(matcher, found[pair[0]].as_matched, turned(pair[1], turns).as_matched, thorough=False))

    counts = {pair: len(m) for pair, m in matches.items()}
    turns = turns_that_join(len(found), sorted(matches), counts, count_turned)
    return {view: turned(view, turn) for view, turn in enumerate(turns) if turn}


def match_pair(matcher: Matcher, a: Features, b: Features, thorough: bool) -> np.ndarray:
    """Matches [M, 2] of all keypoints, or of the strongest alone where all would cost a lot."""
    if thorough or not matcher.costly or max(len(a), len(b)) <= COARSE_KEYPOINTS:
        return matcher.match(a, b)
    return matcher.match(*(_rows(f, torch.arange(len(f)) < COARSE_KEYPOINTS) for f in (a, b)))


def extract(
    capture: Capture, index: int, matcher: Matcher, side_px: int, turns: int = 0, store: MatchStore = NO_STORE
) -> Extracted:
    """Features of one photograph, of its copy of `side_px` at most, turned by quarters counter-clockwise."""
    frame = capture.frames[index]
    width, height = fit_size(frame.width, frame.height, side_px)
    pixels = capture.image(index, width, height).numpy()
    image = np.ascontiguousarray(pixels[..., :3])
    digest = hashlib.blake2b(pixels.tobytes()).digest()
    # A picture of one row or column is contiguous in whichever direction it is read: only a copy never runs backwards.
    turned = _features(matcher, np.rot90(image, turns).copy(), (digest, turns), store)
    xy_px = turned_back(turned.xy_px.numpy(), turned.width, turned.height, turns)
    features = Features(torch.from_numpy(np.ascontiguousarray(xy_px)), turned.descriptors, width, height)
    keep = _inside_mask(features, counted_pixels(frame, pixels)) & _inside_mask(features, _still_pixels(frame, pixels))
    features, turned = _rows(features, keep), _rows(turned, keep)
    column, row = features.xy_px.long().clamp_min(0).unbind(1)
    colors = image[row.clamp_max(height - 1).numpy(), column.clamp_max(width - 1).numpy()]
    grey, sharpness, pattern = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), sharpness_of(image), shows_pattern(turned)
    return Extracted(Image(features, colors, sharpness, digest, grey, pattern), turned)


def _features(matcher: Matcher, image: np.ndarray, key: tuple[object, ...], store: MatchStore) -> Features:
    """Features of a uint8 [H, W, 3] image, which the store may know."""
    found: Features | None = None

    def compute() -> tuple[np.ndarray, ...]:
        nonlocal found
        found = matcher.extract(image)
        return found.xy_px.numpy(), found.descriptors.numpy().reshape(-1, 1)

    whole = ("features", matcher.name, matcher.max_keypoints, image.shape, *key)
    xy, descriptors = store.arrays(whole, compute, ((np.float32, 2), (np.float32, 1)))
    if found is not None:
        return found
    height, width = image.shape[:2]
    rows = descriptors.reshape(len(xy), -1) if len(xy) else np.zeros((0, 1), np.float32)
    return Features(torch.from_numpy(xy), torch.from_numpy(rows), width, height)


def counted_pixels(frame: Frame, pixels: np.ndarray) -> np.ndarray | None:
    """bool [H, W] of the pixels that count at the size of `pixels`, from the frame's mask and its alpha channel."""
    height, width = pixels.shape[:2]
    mask = pixels[..., 3] >= 128 if pixels.shape[2] == 4 else None
    if frame.load_mask is not None:
        own = _at_size(frame.load_mask(), width, height)
        mask = own if mask is None else mask & own
    return mask


def _still_pixels(frame: Frame, pixels: np.ndarray) -> np.ndarray | None:
    """bool [H, W] of the pixels that show what stands still, at the size of `pixels`; None where nothing is known."""
    height, width = pixels.shape[:2]
    return None if frame.load_still is None else _at_size(frame.load_still(), width, height)


def _at_size(mask: np.ndarray, width: int, height: int) -> np.ndarray:
    """The nearest pixels of a mask."""
    rows = (np.arange(height) * mask.shape[0] // height)[:, None]
    columns = (np.arange(width) * mask.shape[1] // width)[None]
    return mask[rows, columns]


def _inside_mask(features: Features, mask: np.ndarray | None) -> torch.Tensor:
    """bool [N] of the keypoints on pixels that count."""
    if mask is None:
        return torch.ones(len(features), dtype=torch.bool)
    column, row = features.xy_px.long().unbind(1)
    return torch.from_numpy(mask)[row.clamp(0, mask.shape[0] - 1), column.clamp(0, mask.shape[1] - 1)]


def _rows(features: Features, keep: torch.Tensor) -> Features:
    if bool(keep.all()):
        return features
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
