"""The matching cost of PatchMatch in plain NumPy: the definition of what the native kernel computes."""

from __future__ import annotations

import numpy as np

SPATIAL_SIGMA_PX = 5.0  # of the bilateral weight
INVALID_COST = 1.0  # where the source does not show the point
# Every second pixel of 11 x 11 in both directions, without the corners.
OFFSETS = [(dx, dy) for dy in range(-5, 6, 2) for dx in range(-5, 6, 2) if dx * dx + dy * dy < 50]


def patch_match_cost(
    reference: np.ndarray,  # [H, W] uint8
    source: list[np.ndarray],  # levels of uint8 [Hs, Ws], the finest first
    source_from_reference: np.ndarray,  # [3, 4] (A | b) to pixels of the source's finest level
    planes: np.ndarray,  # [H, W, 3] inverse depth, and its change per pixel to the right and down
    sigma_grey: float,
    noise_variance: float,
) -> np.ndarray:
    """1 - bilaterally weighted ZNCC of each pixel's slanted patch, at most INVALID_COST, [H, W] float64."""
    height, width = reference.shape
    grey = reference.astype(np.float64)
    m = source_from_reference.astype(np.float64)
    y, x = np.mgrid[0:height, 0:width]
    here = np.stack([x + 0.5, y + 0.5, np.ones_like(x)], axis=-1)
    weights, values, samples = [], [], []
    center = here @ m[:, :3].T + planes[..., :1] * m[:, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        u = center[..., :2] / center[..., 2:]
        level = _levels(m, planes, center, u, len(source))
        size = np.array([source[0].shape[1], source[0].shape[0]])
        valid = (center[..., 2] > 1e-9) & ((u >= 0) & (u < size)).all(-1)
        for dx, dy in OFFSETS:
            value = grey[np.clip(y + dy, 0, height - 1), np.clip(x + dx, 0, width - 1)]
            weights.append(np.exp(-(dx * dx + dy * dy) / (2 * SPATIAL_SIGMA_PX**2) - np.abs(value - grey) / sigma_grey))
            values.append(value)
            inverse = planes[..., 0] + planes[..., 1] * dx + planes[..., 2] * dy
            point = (here + np.array([dx, dy, 0])) @ m[:, :3].T + inverse[..., None] * m[:, 3]
            valid &= point[..., 2] > 1e-9
            samples.append(_sampled(source, level, point[..., :2] / point[..., 2:]))
    w, a, b = np.array(weights), np.array(values), np.array(samples)
    w /= w.sum(0)
    a -= (w * a).sum(0)
    b -= (w * b).sum(0)
    variances = ((w * a * a).sum(0) + noise_variance) * ((w * b * b).sum(0) + noise_variance)
    cost = 1 - (w * a * b).sum(0) / np.sqrt(variances)
    return np.where(valid, np.minimum(cost, INVALID_COST), INVALID_COST)


def _levels(m: np.ndarray, planes: np.ndarray, center: np.ndarray, u: np.ndarray, count: int) -> np.ndarray:
    """The level [H, W] at which the plane's picture of a pixel is nearest to a pixel in area."""
    right, down = m[:, 0] + planes[..., 1:2] * m[:, 3], m[:, 1] + planes[..., 2:3] * m[:, 3]
    ux, uy = ((step[..., :2] - u * step[..., 2:]) / center[..., 2:] for step in (right, down))
    area = np.abs(ux[..., 0] * uy[..., 1] - ux[..., 1] * uy[..., 0])
    return sum((area > 2.0 * 4.0**k).astype(int) for k in range(count - 1)) + np.zeros(area.shape, int)


def _sampled(levels: list[np.ndarray], level: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Bilinear values [H, W] at pixels u [H, W, 2] of the finest level, the border repeated."""
    out = np.zeros(level.shape)
    for k, image in enumerate(levels):
        at = level == k
        rows, columns = image.shape
        x = np.nan_to_num(u[at][:, 0] * columns / levels[0].shape[1] - 0.5).clip(0, columns - 1)
        y = np.nan_to_num(u[at][:, 1] * rows / levels[0].shape[0] - 0.5).clip(0, rows - 1)
        i, j = x.astype(int), y.astype(int)
        fx, fy = x - i, y - j
        i1, j1 = np.minimum(i + 1, columns - 1), np.minimum(j + 1, rows - 1)
        f = image.astype(np.float64)
        top = f[j, i] * (1 - fx) + f[j, i1] * fx
        out[at] = top * (1 - fy) + (f[j1, i] * (1 - fx) + f[j1, i1] * fx) * fy
    return out
