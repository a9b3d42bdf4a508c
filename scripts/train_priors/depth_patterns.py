"""Known pixels as points and stereo leave them: where there is texture and overlap, and sometimes wrong."""

from __future__ import annotations

import math

import cv2
import numpy as np
from depth_pictures import Picture
from numpy.random import Generator

POINT_WEIGHT = 10.0  # of a sparse point, as the evidence has it


def known_depth(picture: Picture, rng: Generator) -> tuple[np.ndarray, np.ndarray]:
    """(inverse depth [S, S], weight [S, S]) float32, both 0 where nothing is known."""
    side = len(picture.depth)
    value, weight = np.zeros((side, side), np.float32), np.zeros((side, side), np.float32)
    grey = cv2.cvtColor(picture.rgb, cv2.COLOR_RGB2GRAY)
    there = picture.depth > 0
    inverse = np.where(there, 1 / np.maximum(picture.depth, 1e-6), 0).astype(np.float32)
    overlap = there & (picture.shared > 0 if rng.random() < 0.85 else there)
    overlap &= _half(side, rng)
    if rng.random() < 0.65:
        _stereo(grey, inverse, overlap, rng, value, weight)
    _points(grey, inverse, overlap, rng, value, weight)
    return value, weight


def _half(side: int, rng: Generator) -> np.ndarray:
    """Sometimes only one side of the picture is seen by others."""
    if rng.random() < 0.7:
        return np.ones((side, side), bool)
    y, x = np.mgrid[:side, :side] / side - 0.5
    angle = rng.uniform(0, 2 * math.pi)
    return x * math.cos(angle) + y * math.sin(angle) < rng.uniform(-0.2, 0.4)


def _blobs(side: int, rng: Generator, share: float) -> np.ndarray:
    """bool [S, S]: random patches of about that share of the picture."""
    cells = int(rng.integers(3, 16))
    field = cv2.resize(
        rng.standard_normal((cells, cells)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC
    )
    return field < np.quantile(field, share)


def _stereo(grey, inverse, overlap, rng, value, weight) -> None:  # type: ignore[no-untyped-def]
    side = len(grey)
    values = grey.astype(np.float32)
    mean = cv2.boxFilter(values, -1, (7, 7))
    spread = np.sqrt(np.maximum(cv2.boxFilter(values * values, -1, (7, 7)) - mean * mean, 0))
    trusted = overlap & (spread > rng.uniform(2, 9)) & ~_blobs(side, rng, rng.uniform(0, 0.75))
    seen = inverse
    if rng.random() < 0.5:  # windows carry the nearer surface across its border
        seen = cv2.dilate(inverse, np.ones((3, 3) if rng.random() < 0.6 else (5, 5), np.uint8))
    scale = np.median(inverse[inverse > 0])
    wave = cv2.resize(rng.standard_normal((12, 12)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    seen = seen + scale * rng.uniform(0, 0.01) * wave + scale * rng.normal(0, rng.uniform(0, 0.006), seen.shape)
    if rng.random() < 0.5:
        wrong = _blobs(side, rng, rng.uniform(0, 0.04) if rng.random() < 0.7 else rng.uniform(0.04, 0.2))
        bent = cv2.resize(rng.standard_normal((6, 6)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
        seen = np.where(wrong, seen * rng.uniform(0.7, 1.4) * np.exp(rng.uniform(0, 0.3) * bent), seen)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(trusted.astype(np.uint8), connectivity=4)
    trusted &= stats[labels, cv2.CC_STAT_AREA] >= 40
    trusted &= seen > 0
    certainty = 4 * np.exp(-np.clip(8 / np.maximum(spread, 1), 0.05, 2)) * (1 + (wave > 0))
    value[trusted], weight[trusted] = seen[trusted], certainty[trusted]


def _points(grey, inverse, overlap, rng, value, weight) -> None:  # type: ignore[no-untyped-def]
    count = int(math.exp(rng.uniform(math.log(12), math.log(700))))
    found = cv2.goodFeaturesToTrack(grey, count * 2, 0.003, 3, mask=overlap.astype(np.uint8))
    if found is None:
        return
    column, row = found[:, 0].astype(int).T
    kept = rng.permutation(len(row))[:count]
    row, column = row[kept], column[kept]
    depth = inverse[row, column] * np.exp(rng.normal(0, rng.uniform(0.001, 0.01), len(row)))
    wrong = rng.random(len(row)) < rng.uniform(0, 0.04)
    depth[wrong] *= np.exp(rng.normal(0, 0.4, int(wrong.sum())))
    value[row, column], weight[row, column] = depth, POINT_WEIGHT
