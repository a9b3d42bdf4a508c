"""Input of the depth prior: what is known of the depth of a photograph, and a plain interpolation of that."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..between_points import inverse_depth_between

MIN_KNOWN = 3  # pixels, without which there is nothing to interpolate
INSIDE_EVERY = 4  # known pixels with known neighbours: only those of this grid are interpolated from
TOLD = 6  # channels: base about its median, known, weight, distance, slopes of the base to the right and down
DISTANCE = 3  # channel
BASE_RANGE = 4.0  # of log-depth about the median, beyond which all looks alike


@dataclass(frozen=True)
class SparseInput:
    """One photograph at half of its size: h = H / 2, w = W / 2."""

    told: np.ndarray  # [TOLD, h, w] float32 of `told_channels`
    base: np.ndarray  # [h, w] float32 log-depth: what is known, and interpolated in between
    weight: np.ndarray  # [h, w] float32, of what is known; 0 elsewhere

    @property
    def known(self) -> np.ndarray:
        """bool [h, w]."""
        return np.asarray(self.weight > 0)


def sparse_input(
    inverse_depth: np.ndarray,  # [H, W] float32, H and W even, read where the weight is positive
    weight: np.ndarray,  # [H, W] float32 >= 0, how well it is known; 0: not at all
) -> SparseInput:
    """Nothing in it depends on the unit of depth but `base`, of which `told` shows what lies about its median.

    Raises ValueError where fewer than MIN_KNOWN pixels are known.
    """
    blocks = _blocks(weight)
    best = blocks.argmax(0)[None]
    strongest = np.take_along_axis(blocks, best, 0)[0]
    inverse = np.take_along_axis(_blocks(inverse_depth), best, 0)[0]
    known = (strongest > 0) & (inverse > 0)
    if int(known.sum()) < MIN_KNOWN:
        raise ValueError(f"expected depth at {MIN_KNOWN} or more pixels, found it at {int(known.sum())}")
    base = -np.log(interpolated_inverse(inverse, known)).astype(np.float32)
    weight = np.where(known, strongest, 0).astype(np.float32)
    return SparseInput(told_channels(base, weight), base, weight)


def told_channels(
    base: np.ndarray,  # [h, w] log-depth
    weight: np.ndarray,  # [h, w], positive at one pixel at least
) -> np.ndarray:
    """The input [TOLD, h, w] float32 of the network; a part of a picture gives what that part alone would."""
    known = weight > 0
    distance = cv2.distanceTransform((~known).astype(np.uint8), cv2.DIST_L2, 5)
    relative = np.clip(base - np.median(base[known]), -BASE_RANGE, BASE_RANGE)
    slopes = [np.clip(20 * np.gradient(base, axis=axis), -4, 4) for axis in (1, 0)]
    return np.stack([relative, known, np.log1p(weight), np.log1p(distance) / 2, *slopes]).astype(np.float32)


def _blocks(pixels: np.ndarray) -> np.ndarray:
    """[4, H / 2, W / 2, ...]: the pixels of each block of 2 x 2."""
    return np.stack([pixels[row::2, column::2] for row in (0, 1) for column in (0, 1)])


def interpolated_inverse(inverse: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Inverse depth [h, w]: the known one, linear between known pixels as it is on planes, the nearest outside them."""
    inside = cv2.erode(known.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1).astype(bool)
    grid = np.zeros_like(known)
    grid[::INSIDE_EVERY, ::INSIDE_EVERY] = True
    row, column = (known & (~inside | grid)).nonzero()
    if len(row) < MIN_KNOWN:
        row, column = known.nonzero()
    out = inverse.copy()
    wanted = np.stack((~known).nonzero(), axis=1)
    if len(wanted):
        places = np.stack([row, column], axis=1).astype(np.float64)
        out[~known] = inverse_depth_between(places, inverse[row, column].astype(np.float64), wanted)
    return np.maximum(out, 1e-12)
