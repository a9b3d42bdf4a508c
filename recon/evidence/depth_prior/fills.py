"""Ways to fill depth between what is known of it, of which the depth prior chooses at each pixel.

None is right everywhere: the linear interpolation is right on planes between known pixels, the nearest known one
before plain backgrounds, a plane that goes on where a floor leaves what was seen, the farther of what is near by behind
a thing without texture. All scale with what is known.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy.spatial import cKDTree

from ..between_points import inverse_depth_between
from ..stereo.fill import EdgeAwareFill

MIN_KNOWN = 3  # pixels, without which there is nothing to fill from
INSIDE_EVERY = 4  # known pixels with known neighbours: only those of this grid are interpolated from
ITERATIONS = 120  # of conjugate gradients
NEIGHBOURS = 24  # known cells that say what is usual near by
OUTLIER, SPREADS = 0.08, 4.0  # log-depth, and median deviations of the neighbours, beyond both of which one is wrong
LOCAL, WIDE = 900, 250  # known cells that are asked, spread over the picture
LOCAL_NEAREST, WIDE_NEAREST = 24, 60  # of them, for each cell
QUANTILES = (0.15, 0.5, 0.85)  # of their inverse depth
COARSE, SMOOTH = 2, 4  # cells across, for the fill along colours and for those that are smooth
COLOR = 0.25  # side of the picture that a difference of all of black to white is worth
COLOR_NEAREST = 7
REACH = 3.0  # times the farthest known depth, and as many times nearer than the nearest, that a plane may go
REWEIGHTED = 2  # times, of a robust plane
PLANES, MOST_PLANES = 3, 6  # offered at a cell beside the largest one, and looked for in a picture
TRIALS = 300  # triples of known cells, of which the best plane is taken
ON_PLANE = 0.025  # relative inverse depth
SMALLEST_PLANE = 0.03  # of the known cells that are asked
NAMES = (
    "linear", "nearest", "membrane", "edge-aware", "like in colour", "local far", "local middle", "local near",
    "wide far", "local plane", "wide plane", "nearest plane", "second plane", "third plane", "largest plane",
)  # fmt: skip


def fills(
    image: np.ndarray,  # [h, w, 3] uint8
    inverse: np.ndarray,  # [h, w] float32 inverse depth, read where it is known
    weight: np.ndarray,  # [h, w] float32 >= 0; 0: not known
) -> np.ndarray:
    """Log-depth [len(NAMES), h, w] float32; the first is the plain interpolation. MIN_KNOWN cells are known."""
    known = weight > 0
    linear = interpolated_inverse(inverse, known)
    low, high = inverse[known].min() / REACH, inverse[known].max() * REACH
    even = EdgeAwareFill(np.zeros_like(image))
    sure = cleaned(inverse, known)
    places = np.argwhere(sure)
    found = [
        linear,
        nearest(inverse, known),
        even.solve(inverse, weight, linear, ITERATIONS),
        EdgeAwareFill(image).solve(inverse, weight, linear, ITERATIONS),
        _like_in_colour(image, inverse, places),
    ]
    local, wide = (places[_spread_over(places, known.shape, count)] for count in (LOCAL, WIDE))
    quantiles, local_plane = _of_neighbours(inverse, local, LOCAL_NEAREST)
    wide_quantiles, wide_plane = _of_neighbours(inverse, wide, WIDE_NEAREST)
    found += [*quantiles, wide_quantiles[0], local_plane, wide_plane, *planes(inverse, local)]
    return -np.log(np.clip(np.stack(found), low, high)).astype(np.float32)


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


def nearest(inverse: np.ndarray, known: np.ndarray) -> np.ndarray:
    """[h, w] the nearest known value."""
    _, labels = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    by_label = np.zeros(int(labels.max()) + 1, np.float32)
    by_label[labels[known]] = inverse[known]
    return np.asarray(by_label[labels])


def cleaned(inverse: np.ndarray, known: np.ndarray) -> np.ndarray:
    """bool [h, w]: known cells without those that their neighbours contradict."""
    places = np.argwhere(known)
    if len(places) <= NEIGHBOURS:
        return known
    asked = places[_spread_over(places, known.shape, 4 * LOCAL)]
    logs = np.log(inverse[tuple(asked.T)])
    _, rows = cKDTree(asked).query(places, min(NEIGHBOURS, len(asked)))
    around = logs[rows]
    middle = np.median(around, 1)
    deviation = np.median(np.abs(around - middle[:, None]), 1)
    right = np.abs(np.log(inverse[tuple(places.T)]) - middle) < np.maximum(OUTLIER, SPREADS * deviation)
    out = np.zeros_like(known)
    out[tuple(places[right].T)] = True
    return out if right.sum() > NEIGHBOURS else known


def _spread_over(places: np.ndarray, shape: tuple[int, ...], count: int) -> np.ndarray:
    """Rows [M <= count] of places [N, 2], one in each cell of a grid that has about so many."""
    step = 1
    while True:
        cell = (places[:, 0] // step) * (shape[1] // step + 1) + places[:, 1] // step
        _, first = np.unique(cell, return_index=True)
        if len(first) <= count:
            return np.asarray(first)
        step += 1


def _like_in_colour(image: np.ndarray, inverse: np.ndarray, places: np.ndarray) -> np.ndarray:
    """[h, w] the median of the known cells that are near both in the picture and in colour."""
    height, width = inverse.shape
    smooth = cv2.GaussianBlur(image, (0, 0), 1.0).astype(np.float32) / 255 * COLOR * max(height, width)
    grid = np.stack([*np.mgrid[:height, :width]], -1).astype(np.float32)
    cells = np.concatenate([grid, smooth], -1)
    some = places[_spread_over(places, inverse.shape, 3 * LOCAL)]
    tree = cKDTree(cells[tuple(some.T)])
    coarse = cells[::COARSE, ::COARSE].reshape(-1, 5)
    _, rows = tree.query(coarse, min(COLOR_NEAREST, len(some)), eps=0.3)
    values = inverse[tuple(some.T)][rows.reshape(len(coarse), -1)]
    return _enlarged(np.median(values, 1), inverse.shape, COARSE)


def _of_neighbours(inverse: np.ndarray, some: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(quantiles [3, h, w], robust plane [h, w]) of the inverse depth of the nearest of some known cells."""
    grid = np.stack([*np.mgrid[: inverse.shape[0] : SMOOTH, : inverse.shape[1] : SMOOTH]], -1).reshape(-1, 2)
    distance, rows = cKDTree(some).query(grid, min(count, len(some)))
    distance, rows = distance.reshape(len(grid), -1), rows.reshape(len(grid), -1)
    values = inverse[tuple(some.T)][rows].astype(np.float64)
    quantiles = np.quantile(values, QUANTILES, axis=1)
    offset = (some[rows] - grid[:, None]).astype(np.float64)
    reach = distance[:, -1:] + 1
    basis = np.concatenate([np.ones_like(values)[..., None], offset / reach[..., None]], -1)
    trust = np.exp(-0.5 * (1.5 * distance / reach) ** 2)
    robust, ridge = trust, np.diag([0, 0.02, 0.02])
    for _ in range(REWEIGHTED + 1):
        normal = np.einsum("nk,nki,nkj->nij", robust, basis, basis)
        normal += ridge * robust.sum(1)[:, None, None] + 1e-9 * np.eye(3)
        plane = np.linalg.solve(normal, np.einsum("nk,nki,nk->ni", robust, basis, values)[..., None])[..., 0]
        off = np.abs(np.einsum("nki,ni->nk", basis, plane) - values)
        scale = 2 * np.median(off, 1, keepdims=True) + 1e-3 * np.median(values, 1, keepdims=True)
        robust = trust / (1 + (off / scale) ** 2)
    large = [_enlarged(v, inverse.shape, SMOOTH) for v in (*quantiles, plane[:, 0])]
    return np.stack(large[:-1]), large[-1]


def planes(inverse: np.ndarray, some: np.ndarray) -> np.ndarray:
    """[PLANES + 1, h, w] inverse depth of the picture's planes carried on: those seen nearest by, and the largest.

    Planes of the scene are linear in inverse depth. They are found by random triples that lie near each other, one
    after the other, each without the cells of those before. Where there are fewer, the last stands for the others.
    """
    rng = np.random.default_rng(len(some))
    basis = np.concatenate([np.ones((len(some), 1)), some / max(inverse.shape)], 1)
    values = inverse[tuple(some.T)].astype(np.float64)
    left = np.arange(len(some))
    y, x = (v / max(inverse.shape) for v in np.mgrid[: inverse.shape[0], : inverse.shape[1]])
    found: list[tuple[np.ndarray, np.ndarray]] = []  # carried on, distance to its cells
    sizes: list[int] = []  # its cells
    while len(found) < MOST_PLANES and len(left) >= max(6, SMALLEST_PLANE * len(some)):
        tree = cKDTree(some[left])
        first = rng.integers(len(left), size=TRIALS)
        count = min(len(left), int(rng.integers(8, 60)))
        _, around = tree.query(some[left[first]], count)
        pair = rng.integers(1, count, size=(TRIALS, 2)) if count > 1 else np.zeros((TRIALS, 2), int)
        triple = np.concatenate([around[:, :1], np.take_along_axis(around, pair, 1)], 1)
        system = basis[left][triple] + 1e-9 * rng.standard_normal((TRIALS, 3, 3))
        trial = np.linalg.solve(system, values[left][triple][..., None])[..., 0]
        on = np.abs(trial @ basis[left].T / values[left] - 1) < ON_PLANE
        best = on[on.sum(1).argmax()]
        if best.sum() < max(6, SMALLEST_PLANE * len(some)):
            break
        for _ in range(2):
            plane = np.linalg.lstsq(basis[left[best]], values[left[best]], rcond=None)[0]
            on_plane = np.abs(basis[left] @ plane / values[left] - 1) < ON_PLANE
            best = on_plane if on_plane.sum() >= 6 else best
        seen = np.ones(inverse.shape, np.uint8)
        seen[tuple(some[left[best]].T)] = 0
        sizes.append(int(best.sum()))
        found.append((plane[0] + plane[1] * y + plane[2] * x, cv2.distanceTransform(seen, cv2.DIST_L2, 5)))
        left = left[~best]
    if not found:
        return np.broadcast_to(np.float32(np.median(values)), (PLANES + 1, *inverse.shape)).astype(np.float32)
    order = np.argsort(np.stack([d for _, d in found]), axis=0, kind="stable")
    order = order[np.minimum(np.arange(PLANES), len(found) - 1)]
    carried_on = np.stack([p for p, _ in found])
    near = np.take_along_axis(carried_on, order, 0)
    return np.concatenate([near, carried_on[[int(np.argmax(sizes))]]]).astype(np.float32)


def _enlarged(coarse: np.ndarray, shape: tuple[int, ...], step: int) -> np.ndarray:
    """[h, w] of values [N] at every so many rows and columns."""
    rows, columns = (-(-n // step) for n in shape)
    y, x = (np.arange(n, dtype=np.float32) / step for n in shape)
    maps = np.meshgrid(np.minimum(x, columns - 1), np.minimum(y, rows - 1))
    return cv2.remap(coarse.reshape(rows, columns).astype(np.float32), *maps, cv2.INTER_LINEAR)
