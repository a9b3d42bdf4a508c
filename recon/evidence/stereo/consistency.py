"""Confidence of matched depth: do the other views' depths lead back to the same pixel?"""

from __future__ import annotations

import cv2
import numpy as np

from ..depth_maps import MAX_CONFIDENCE


def consistent_views(
    planes: np.ndarray,  # [H, W, 3] hypotheses: inverse depth, and its change per pixel to the right and down
    source_planes: list[np.ndarray],  # [Hs, Ws, 3] each
    there: np.ndarray,  # [S, 3, 4] reference pixels to those of the source, (A | b) with b times the inverse depth
    back: np.ndarray,  # [S, 3, 4]
    max_error_px: float,
    max_depth_difference: float,  # relative
) -> np.ndarray:
    """Number [H, W] of sources whose own depth where a pixel lands leads back near it, int32."""
    height, width = planes.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) + np.float32(0.5)
    inverse = planes[..., 0]
    count = np.zeros((height, width), np.int32)
    for s, other in enumerate(source_planes):
        u, v, z = _moved(there[s], x, y, inverse)
        rows, columns = other.shape[:2]
        inside = (z > 1e-9) & (u >= 0) & (v >= 0) & (u < columns) & (v < rows)
        column = np.where(inside, u, 0).astype(np.int32)
        row = np.where(inside, v, 0).astype(np.int32)
        h = other[row, column]
        found = h[..., 0] + h[..., 1] * (u - column - 0.5) + h[..., 2] * (v - row - 0.5)
        px, py, z_back = _moved(back[s], u, v, found)
        error = (px - x) ** 2 + (py - y) ** 2
        # _moved gives depth times the inverse depth it was given, so found / z_back is inverse depth here.
        difference = np.abs(found / np.maximum(z_back, 1e-9) - inverse)
        good = inside & (found > 0) & (z_back > 1e-9) & (error < max_error_px**2)
        count += good & (difference < max_depth_difference * inverse)
    return count


def _moved(
    transform: np.ndarray, x: np.ndarray, y: np.ndarray, inverse: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels in the other view and depth there as a multiple of the depth here."""
    m = transform.astype(np.float32)
    X, Y, Z = (r[0] * x + r[1] * y + r[2] + r[3] * inverse for r in m)
    with np.errstate(divide="ignore", invalid="ignore"):
        return X / Z, Y / Z, Z


def without_specks(
    trusted: np.ndarray,  # [H, W] bool
    inverse: np.ndarray,  # [H, W]
    min_pixels: int,
    max_step: float,  # relative change of depth between neighbours of one patch
) -> np.ndarray:
    """The trusted pixels [H, W] that belong to connected patches of at least `min_pixels`."""
    logs = np.log(np.maximum(inverse, 1e-12)).astype(np.float32)
    joined = np.where(trusted, logs, -1e3)
    # Labels by connected components of a grid of twice the resolution, where steps between neighbours are cells.
    height, width = trusted.shape
    cells = np.zeros((2 * height - 1, 2 * width - 1), np.uint8)
    cells[::2, ::2] = trusted
    cells[::2, 1::2] = np.abs(np.diff(joined, axis=1)) < max_step
    cells[1::2, ::2] = np.abs(np.diff(joined, axis=0)) < max_step
    cells[::2, 1::2] &= trusted[:, 1:]
    cells[1::2, ::2] &= trusted[1:]
    _, labels = cv2.connectedComponents(cells, connectivity=4)
    labels = labels[::2, ::2]
    sizes = np.bincount(labels[trusted], minlength=int(labels.max()) + 1)
    return trusted & (sizes[labels] >= min_pixels)


def confidence(
    cost: np.ndarray,  # [H, W] photometric, 0 .. 1
    views: np.ndarray,  # [H, W] consistent ones
    trusted: np.ndarray,  # [H, W] bool
    gain: float,
    cost_scale: float,
) -> np.ndarray:
    """1 + gain exp(-cost / cost_scale) views, at most MAX_CONFIDENCE; exactly 1 where depth is not trusted. [H, W]"""
    value = 1 + gain * np.exp(-cost / cost_scale) * views
    # The next number above 1 at least: "trusted" stays visible however small the gain.
    value = np.clip(value, np.nextafter(np.float32(1), np.float32(2)), MAX_CONFIDENCE)
    return np.where(trusted, value, 1).astype(np.float32)
