"""`CutFinder`: frames of a film that share nothing with the one before."""

from __future__ import annotations

import cv2
import numpy as np

from .safe_paths import listed

_THUMBNAIL = 32  # pixels a side: sensor noise is gone, and a camera in a hand moves by less than one of them
_ALIKE = 0.6  # correlation of thumbnails from which two frames are taken for the same place without a closer look
_JUMP = 3.0  # times the film's usual difference between neighbours; a film of noise has no cuts
_SIDE_PX = 320  # of the copies in which features are matched
_SHARED = 12  # matches that agree on one motion; chance gives up to eight
_RATIO = 0.8  # Lowe 2004, section 7.1


class CutFinder:
    """Finds cuts in frames that come in the order of time, one by one."""

    def __init__(self) -> None:
        self._before: tuple[np.ndarray, np.ndarray] | None = None
        self._differences: list[float] = []
        self._strangers: dict[int, float] = {}  # difference of frames that share no features with the one before

    def add(self, pixels: np.ndarray) -> None:
        """The next frame, uint8 [H, W], or [H, W, 3 or 4] with colours."""
        grey = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels[..., :3], cv2.COLOR_RGB2GRAY)
        factor = _SIDE_PX / max(grey.shape)
        if factor < 1:
            grey = cv2.resize(grey, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        small = cv2.resize(grey, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA).astype(np.float32)
        if self._before is not None:
            difference = 1 - _correlation(self._before[1], small)
            self._differences.append(difference)
            if difference > 1 - _ALIKE and _shared(self._before[0], grey) < _SHARED:
                self._strangers[len(self._differences)] = difference
        self._before = grey, small

    @property
    def cuts(self) -> list[int]:
        """Numbers of the frames, from 0, before which the film was cut."""
        if not self._strangers:
            return []
        usual = float(np.median(self._differences)) if len(self._differences) > 1 else 0.0
        return [number for number, difference in self._strangers.items() if difference > _JUMP * usual]


def cut_notes(times_s: list[float], name: str) -> list[str]:
    """A sentence on the cuts of a film, which are at these times; nothing where there are none."""
    if not times_s:
        return []
    at = listed([f"{time:.2f} s" for time in times_s], most=3)
    return [
        f"{name} is cut at {at}: the frame there shares nothing with the one before. Give one piece of it, unless "
        "other frames join the pieces."
    ]


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Of two thumbnails; 1 where both are flat, which a fade to black is and no cut."""
    a, b = a - a.mean(), b - b.mean()
    energy = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return 1.0 if max(a.std(), b.std()) < 1 else float((a * b).sum()) / max(energy, 1e-6)


def _shared(a: np.ndarray, b: np.ndarray) -> int:
    """Matches of SIFT between two grey images that agree on one homography, which neighbours of a film do roughly."""
    sift = cv2.SIFT.create(nfeatures=500)
    (keys_a, found_a), (keys_b, found_b) = sift.detectAndCompute(a, None), sift.detectAndCompute(b, None)
    if found_a is None or found_b is None or min(len(keys_a), len(keys_b)) < 2:
        return 0
    pairs = [
        m for m, second in cv2.BFMatcher().knnMatch(found_a, found_b, k=2) if m.distance < _RATIO * second.distance
    ]
    if len(pairs) < 4:
        return 0
    xy_a = np.array([keys_a[m.queryIdx].pt for m in pairs], np.float32)
    xy_b = np.array([keys_b[m.trainIdx].pt for m in pairs], np.float32)
    _, inside = cv2.findHomography(xy_a, xy_b, cv2.RANSAC, 5.0)
    return 0 if inside is None else int(inside.sum())
