"""Pixels of a film that show something that moves by itself, found by their flow against the camera's.

Dense flow between neighbouring frames (DIS; Kroeger et al., ECCV 2016) obeys one fundamental matrix where everything
stands still, and one homography where that is flat, far, or the camera only turns. What is further from the one that
most pixels agree on than their own spread is moving. Two frames cannot tell two things, and they are taken as
still: what moves along the epipolar lines, as something that is carried beside the camera does, and what moves as one
piece and is larger in the picture than all that stands off its main plane, which then says where these lines are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from ...scene.capture import Capture, fit_size
from ...scene.progress import Progress, silent
from .correspondences import counted_pixels
from .workers import each

MIN_FRAMES = 3
SIDE_PX = 480  # of the small copies: a hand or a ball is still some pixels wide, and a pair takes 40 ms
GAPS = (1, 2)  # frames from one to the other; what moves slowly shows over two
GRID_PX = 8  # between the pixels that the motion of the camera is fitted to
TEXTURE = 8.0  # grey levels a pixel: below it flow is interpolated from elsewhere
MAX_SAMPLES, MAX_TRIALS = 1200, 2000  # in the robust fit of the camera's motion
SLOW_PX = 25.0  # of flow, beyond which two steps at once are too long to follow
MIN_SAMPLES = 100  # pixels with reliable flow, below which a pair says nothing
MIN_FOLLOWED = 0.4  # share of the texture whose flow leads back; with less, the step was too long to follow
MIN_AGREEING = 0.5  # share of them that must agree on one motion of the camera; else the pair says nothing
# Tuned on the generated films of the tests, on lady_running (DAVIS 2017), and on 50 frames of a stuffed fox, in which
# nothing moves.
SPREADS = 6.0  # times the usual distance from the camera's motion, from which a pixel moves
LEAST_PX, LONG_FLOW = 0.8, 0.02  # of it in any case, and of the flow's length: flow is no better
# Where a homography leaves so few pixels of most, the camera has moved so little that the epipolar lines are not known:
# they would be taken from what moves.
FLAT_PX, FLAT_SHARE = 1.0, 0.77
ENOUGH_KNOWN = 0.2  # of a pixel's neighbourhood; the rest has no texture, or is hidden in the other frame
SURE = 1.8  # times the threshold, somewhere in each thing that moves
MIN_AREA = 0.002  # of the picture
STANDS_PX = 0.35  # median flow, at SIDE_PX, in most pairs of a camera that stands
LASTING = 0.5  # of a thing that moves is moving in a frame beside, too
NOTHING_MOVES = 0.005  # of the pictures on average; less is noise, and everything is taken as still
MOST_MOVES = 0.7  # of a picture; what moves then is the camera, whose motion was not found


@dataclass(frozen=True)
class FilmMotion:
    """Motion of the things before a camera, and of the camera."""

    moving: tuple[np.ndarray, ...]  # bool [h, w] of each frame of the capture, at the size of small copies
    camera_stands: bool

    def with_still_pixels(self, capture: Capture) -> Capture:
        """The capture whose frames say what stands still in them, for the estimation of cameras."""
        frames = tuple(
            replace(frame, load_still=_Still(moving, frame.width, frame.height)) if moving.any() else frame
            for frame, moving in zip(capture.frames, self.moving, strict=True)
        )
        return replace(capture, frames=frames)

    @property
    def share(self) -> float:
        """Mean share of the pictures that moves."""
        return float(np.mean([moving.mean() for moving in self.moving]))


@dataclass(frozen=True)
class _Still:
    """bool [H, W] of a frame, True where it stands still."""

    moving: np.ndarray  # bool [h, w] of its small copy
    width: int
    height: int

    def __call__(self) -> np.ndarray:
        moving = cv2.resize(self.moving.astype(np.uint8), (self.width, self.height), interpolation=cv2.INTER_NEAREST)
        return moving == 0


@dataclass(frozen=True)
class _Small:
    """A small copy of a frame."""

    grey: np.ndarray  # uint8 [h, w]
    counts: np.ndarray  # bool [h, w]
    textured: np.ndarray  # bool [h, w]


@dataclass(frozen=True)
class _Pair:
    """Flow from one frame to another, and how far each pixel is from moving with the camera."""

    flow: np.ndarray  # float32 [h, w, 2] pixels
    score: np.ndarray  # float32 [h, w]; from 1 on it moves; NaN where nothing is known
    flow_px: float  # median of the samples; NaN for a pair that says nothing


def is_film(capture: Capture) -> bool:
    """True for frames of one camera at different times and of one size."""
    times_s = capture.times_s
    return (
        times_s is not None
        and len(times_s.unique()) == len(capture) >= MIN_FRAMES
        and len({(frame.width, frame.height) for frame in capture.frames}) == 1
        and all(frame.camera is None for frame in capture.frames)
    )


def film_motion(capture: Capture, progress: Progress = silent) -> FilmMotion:
    """Moving pixels of the frames of a film; transparent and masked ones never move.

    Held-out frames have no part in it. Raises ValueError for what is no film.
    """
    times_s = capture.times_s
    if times_s is None or not is_film(capture):
        raise ValueError("expected a film: frames of one camera with times, and of one size")
    out = set(capture.test or ())
    order = [int(i) for i in times_s.argsort(stable=True) if int(i) not in out]
    small = each("Looking for motion", lambda i: _small(capture, i), order, progress)
    found: dict[tuple[int, int], _Pair] = {}
    for gap in GAPS:
        pairs = [(a, a + gap) for a in range(len(order) - gap) if gap == 1 or _is_slow(found, a, a + gap)]
        both = each("Following motion", lambda p: _both_ways(small[p[0]], small[p[1]]), pairs, progress)
        for (a, b), (there, back) in zip(pairs, both, strict=True):
            found[a, b], found[b, a] = there, back
    scores = [_mean([pair.score for (a, _), pair in found.items() if a == frame]) for frame in range(len(order))]
    moving = [_cleaned(_steadied(a, scores, found), small[a].counts) for a in range(len(order))]
    moving = [_lasting(a, moving, found) for a in range(len(order))]
    if float(np.mean([m.mean() for m in moving])) < NOTHING_MOVES:
        moving = [np.zeros_like(m) for m in moving]
    neighbours = [found[a, a + 1].flow_px for a in range(len(order) - 1)]
    known = [flow_px for flow_px in neighbours if np.isfinite(flow_px)]
    stands = bool(known) and float(np.mean([flow_px < STANDS_PX for flow_px in known])) > 0.8
    nothing = np.zeros(small[0].grey.shape, bool)
    of_frame = dict(zip(order, moving, strict=True))
    return FilmMotion(tuple(of_frame.get(i, nothing) for i in range(len(capture))), stands)


def _is_slow(found: Mapping[tuple[int, int], _Pair], a: int, b: int) -> bool:
    """True where the flow from each frame to the next between a and b is short: only then longer steps say more."""
    return all(found[i, i + 1].flow_px < SLOW_PX for i in range(a, b))


def _small(capture: Capture, index: int) -> _Small:
    frame = capture.frames[index]
    pixels = capture.image(index, *fit_size(frame.width, frame.height, SIDE_PX)).numpy()
    grey = cv2.cvtColor(np.ascontiguousarray(pixels[..., :3]), cv2.COLOR_RGB2GRAY)
    counts = counted_pixels(frame, pixels)
    counts = np.ones(grey.shape, bool) if counts is None else counts
    slope = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)) / 4
    return _Small(grey, counts, cv2.GaussianBlur(slope, (0, 0), 2) > TEXTURE / 4)


def _both_ways(a: _Small, b: _Small) -> tuple[_Pair, _Pair]:
    """The pair (a, b) and the pair (b, a)."""
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    empty = np.zeros((*a.grey.shape, 2), np.float32)
    there, back = method.calc(a.grey, b.grey, empty.copy()), method.calc(b.grey, a.grey, empty)
    return _pair(a, b, there, back), _pair(b, a, back, there)


def _pair(a: _Small, b: _Small, flow: np.ndarray, back: np.ndarray) -> _Pair:
    """Scores of a from its flow [h, w, 2] to b, where `back` leads back."""
    length_px = np.hypot(flow[..., 0], flow[..., 1])
    returned = flow + _sampled(back, flow, 1e3)
    lands = _sampled(b.counts.astype(np.float32), flow, 0) > 0.5
    reliable = a.counts & lands & a.textured & (np.hypot(returned[..., 0], returned[..., 1]) < 1 + 0.02 * length_px)
    chosen = np.zeros_like(reliable)
    chosen[GRID_PX // 2 :: GRID_PX, GRID_PX // 2 :: GRID_PX] = True
    chosen &= reliable
    nothing = _Pair(flow, np.full(a.grey.shape, np.nan, np.float32), float("nan"))
    followed = reliable.sum() / max(1, int((a.counts & a.textured).sum()))
    if chosen.sum() < MIN_SAMPLES or followed < MIN_FOLLOWED:
        return nothing
    error_px = _distance(flow, chosen)
    if error_px is None:
        return nothing
    threshold = max(LEAST_PX, SPREADS * float(np.median(error_px[chosen])))
    if float((error_px[chosen] < threshold).mean()) < MIN_AGREEING:
        return nothing
    # Long flow is less exact.
    score = np.minimum(error_px / np.maximum(threshold, LEAST_PX + LONG_FLOW * length_px), 3)
    return _Pair(flow, np.where(reliable, score, np.nan).astype(np.float32), float(np.median(length_px[chosen])))


def _sampled(values: np.ndarray, flow: np.ndarray, beyond: float) -> np.ndarray:
    """Values [h, w, ...] at the ends of the flow [h, w, 2]; `beyond` outside of the picture."""
    height, width = flow.shape[:2]
    x = flow[..., 0] + np.arange(width, dtype=np.float32)
    y = flow[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    border = (beyond,) * 4
    return cv2.remap(values, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=border)


def _distance(flow: np.ndarray, chosen: np.ndarray) -> np.ndarray | None:
    """Distances [h, w] in pixels of the flow [h, w, 2] from the camera's, on which most of the chosen [h, w] agree."""
    height, width = chosen.shape
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    u, v = x + flow[..., 0], y + flow[..., 1]
    from_xy, to_xy = np.stack([x[chosen], y[chosen]], 1), np.stack([u[chosen], v[chosen]], 1)
    step = -(-len(from_xy) // MAX_SAMPLES)
    try:
        homography, _ = cv2.findHomography(from_xy[::step], to_xy[::step], cv2.USAC_MAGSAC, FLAT_PX)
        fundamental, _ = cv2.findFundamentalMat(from_xy[::step], to_xy[::step], cv2.USAC_MAGSAC, 0.7, 0.999, MAX_TRIALS)
    except cv2.error:
        return None
    flat = None if homography is None else _from_homography(homography, x, y, u, v)
    deep = None if fundamental is None or fundamental.shape != (3, 3) else _from_epipolar(fundamental, x, y, u, v)
    if flat is None or deep is None:
        return flat if deep is None else deep
    usual_px = float(np.median(flat[chosen]))
    is_flat = usual_px < FLAT_PX and float((flat[chosen] < max(FLAT_PX, SPREADS * usual_px)).mean()) >= FLAT_SHARE
    return flat if is_flat else deep


def _lines(matrix: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """matrix @ (x, y, 1) of each pixel [h, w]."""
    a, b, c = (np.float64(row[0]) * x + np.float64(row[1]) * y + np.float64(row[2]) for row in matrix)
    return a, b, c


def _from_homography(matrix: np.ndarray, x: np.ndarray, y: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    a, b, c = _lines(matrix, x, y)
    c = np.where(np.abs(c) < 1e-9, 1e-9, c)
    return np.hypot(a / c - u, b / c - v)


def _from_epipolar(matrix: np.ndarray, x: np.ndarray, y: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Sampson's distance (Hartley and Zisserman 2004, equation 11.9)."""
    a, b, c = _lines(matrix, x, y)
    d, e, _ = _lines(matrix.T, u, v)
    return np.abs(a * u + b * v + c) / np.sqrt(np.maximum(a * a + b * b + d * d + e * e, 1e-12))


def _mean(scores: Sequence[np.ndarray]) -> np.ndarray:
    """Mean [h, w] of the scores that are known; NaN where none is."""
    stacked = np.stack(scores)
    known = np.isfinite(stacked)
    total = np.where(known, stacked, 0).sum(0)
    return np.where(known.any(0), total / np.maximum(known.sum(0), 1), np.nan).astype(np.float32)


def _steadied(a: int, scores: Sequence[np.ndarray], found: Mapping[tuple[int, int], _Pair]) -> np.ndarray:
    """The scores of frame a with those of its neighbours in time, along the flow: what moves goes on moving."""
    around = [
        np.where(np.isfinite(found[a, b].score), _sampled(np.nan_to_num(scores[b]), found[a, b].flow, np.nan), np.nan)
        for b in (a - 1, a + 1)
        if (a, b) in found
    ]
    return _mean([scores[a], scores[a], *around])


def _cleaned(score: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """bool [h, w] of the things that move, without specks and holes, and a little larger than they seem."""
    side = max(score.shape)
    score = _spread(score, 0.004 * side)
    near, far = (_disc(share * side) for share in (0.006, 0.015))
    mask = cv2.morphologyEx((score > 1).astype(np.uint8), cv2.MORPH_OPEN, near)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, far)
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(mask, outlines, -1, 1, cv2.FILLED)  # what lies within a moving thing is its own plain part
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
    kept = np.zeros(count, bool)
    for label in range(1, count):
        sure = (score[labels == label] > SURE).mean() > 0.1
        kept[label] = sure and stats[label, cv2.CC_STAT_AREA] >= MIN_AREA * mask.size
    moving = cv2.dilate(kept[labels].astype(np.uint8), near).astype(bool) & counts
    return moving if moving.mean() <= MOST_MOVES else np.zeros_like(moving)


def _lasting(a: int, moving: Sequence[np.ndarray], found: Mapping[tuple[int, int], _Pair]) -> np.ndarray:
    """The moving things [h, w] of frame a that are seen moving in a frame beside it, too; a flash or a slip goes."""
    around = np.zeros(moving[a].shape, bool)
    for b in (a - 1, a + 1):
        if (a, b) in found:
            around |= _sampled(moving[b].astype(np.float32), found[a, b].flow, 0) > 0.5
    count, labels = cv2.connectedComponents(moving[a].astype(np.uint8))
    kept = [label > 0 and float(around[labels == label].mean()) >= LASTING for label in range(count)]
    return np.array(kept)[labels]


def _spread(score: np.ndarray, sigma_px: float) -> np.ndarray:
    """Scores [h, w] averaged over a neighbourhood, where enough of it is known; 0 elsewhere."""
    known = np.isfinite(score)
    weight = cv2.GaussianBlur(known.astype(np.float32), (0, 0), sigma_px)
    total = cv2.GaussianBlur(np.where(known, score, 0).astype(np.float32), (0, 0), sigma_px)
    return np.where(weight > ENOUGH_KNOWN, total / np.maximum(weight, 1e-6), 0)


def _disc(radius_px: float) -> np.ndarray:
    size = 2 * max(1, round(radius_px)) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
