"""Denied surface: one photograph shows a surface all around a place that another sees, too, but not what is there.

A thing that looks the same from two sides but for a mark is compared everywhere between the points of a model, because
on the mark itself there are hardly any: it has no match on the other side. Where the surface around a place agrees and
the place does not, neither a wrong depth nor something in front explains it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from ..mapping import Model
from ..verification import Pair
from .shown_surface import MIN_COSINE, Surface, View, dots, project, view_of

# Lengths in pixels are in the copies that `shown_surface` makes.
PATCH_PX = 11  # that normalised cross-correlation looks at
SHIFTS_PX = (-3, 0, 3)  # both ways, that a patch may be off: the surface between points is not quite flat
PLACE_PX = 31  # side of a place, of which the denied share counts
AROUND_PX = 33  # side of each of the four squares around a pixel, in which the surface must agree
AROUND = 0.06  # share of such a square that agrees
IN_QUARTERS = 3  # of the four squares
AGREED = 0.5  # share of a place that agrees, or shows nothing, in two photographs that show the same there
MIN_CONTRAST = 6.0  # grey levels of 255, standard deviation of a patch in one of the two photographs
AGREEING, DENYING = 0.7, 0.4  # the best correlation of what is the same, and of what is not
IN_FRONT = 1.05  # relative depth from which on a surface hides another
MAX_ANGLE_DEG = 45.0  # between the two rays to a place
MAX_SCALE = 1.8  # between the sizes in which the two photographs show a place
BORDER_PX = 7  # of a photograph, where no whole patch is
WHOLE = 0.95  # of a patch both must show
MIN_PIXELS = 500  # that both see, below which nothing is compared
MAX_TURN_DEG = 60.0  # between two viewing directions
MOST_PARTNERS, MOST_PAIRS = 8, 400  # of each view, the nearest; of all together
CELL_PX = 8  # of the maps of places that are kept


@dataclass(frozen=True)
class DeniedSurface:
    """Surface that views of a model deny each other, though both show it."""

    # Largest share of a place that the two views of a pair deny each other. What only one of them denies is 0: mostly
    # the surface there is not where it was taken to be.
    shares: Mapping[Pair, float] = field(default_factory=dict)
    # Of a view and another [h, w] float16: the largest share, of the places in each cell of the view, that the two deny
    # each other there.
    places: Mapping[tuple[int, int], np.ndarray] = field(default_factory=dict)
    # Of a view and another bool [h, w]: whether the other shows the same in a place of each cell of the view.
    agreed: Mapping[tuple[int, int], np.ndarray] = field(default_factory=dict)
    centers: Mapping[int, np.ndarray] = field(default_factory=dict)  # [3] of each view's camera, in the world

    def apart(self, a: int, b: int) -> float:
        """Distance between the cameras of two views, in the model's unit."""
        return float(np.linalg.norm(self.centers[a] - self.centers[b]))

    def share_in_one_place(self, view: int, others: Pair, alike: int) -> float:
        """Largest share of a place of the view that both others deny and another view shows alike.

        0 where it was not compared with all three.
        """
        maps = [self.places.get((view, other)) for other in others]
        agreed = self.agreed.get((view, alike))
        if maps[0] is None or maps[1] is None or agreed is None:
            return 0.0
        return float((np.minimum(maps[0], maps[1]) * agreed).max())


@dataclass(frozen=True)
class SurfaceComparison:
    """Surface that one view shows, as another denies it or agrees, in cells of CELL_PX pixels of the one."""

    shares: np.ndarray  # [h, w] float32, the largest of the places in each cell
    agreed: np.ndarray  # [h, w] bool, whether the other shows the same in a place of each cell
    there: np.ndarray  # [h, w, 2] int, row and column of the cell of the other, -1 where it does not see it

    @property
    def most(self) -> float:
        return float(self.shares.max())

    def mutual(self, back: SurfaceComparison) -> np.ndarray:
        """Share [h, w] float16 that both deny in each cell; `back` is of the same two the other way round."""
        near = cv2.dilate(back.shares, np.ones((3, 3), np.uint8))  # the two surfaces differ a little
        row, column = (self.there[..., k].clip(0, near.shape[k] - 1) for k in (0, 1))
        both = np.where(self.there[..., 0] >= 0, np.minimum(self.shares, near[row, column]), 0.0)
        return np.asarray(both, np.float16)


def _cells(pixels: np.ndarray, outside: float) -> np.ndarray:
    """Largest value [h, w, ...] of an array [H, W, ...] in each cell."""
    height, width = pixels.shape[:2]
    rest = [(0, 0)] * (pixels.ndim - 2)
    padded = np.pad(pixels, [(0, -height % CELL_PX), (0, -width % CELL_PX), *rest], constant_values=outside)
    cells = padded.reshape(padded.shape[0] // CELL_PX, CELL_PX, -1, CELL_PX, *pixels.shape[2:])
    return np.asarray(cells.max((1, 3)))


def denied_surface(model: Model, grey: Sequence[np.ndarray]) -> DeniedSurface:
    """Surface that the views of a model deny each other; pairs that show too little together are left out.

    `grey` holds the photographs [H, W] uint8 of every view.
    """
    views = {view: view_of(model, view, grey[view]) for view in model.views if grey[view].size}
    found: dict[tuple[int, int], SurfaceComparison] = {}
    for view, others in _partners(views).items():
        surface = views[view].surface()
        for other in others:
            comparison = _compared(views[view], surface, views[other])
            if comparison is not None:
                found[view, other] = comparison
    shares: dict[Pair, float] = {}
    places: dict[tuple[int, int], np.ndarray] = {}
    agreed: dict[tuple[int, int], np.ndarray] = {}
    for (view, other), comparison in found.items():
        back = found.get((other, view))
        shares[min(view, other), max(view, other)] = 0.0 if back is None else min(comparison.most, back.most)
        if back is not None:
            places[view, other] = comparison.mutual(back)
            agreed[view, other] = comparison.agreed
    return DeniedSurface(shares, places, agreed, {view: views[view].center for view in views})


def _partners(views: Mapping[int, View]) -> dict[int, list[int]]:
    """Of each view the nearest others that look in a similar direction."""
    order = sorted(views)
    most = min(MOST_PARTNERS, max(2, MOST_PAIRS // max(1, len(order))))
    centers = np.array([views[v].center for v in order])
    forward = np.array([views[v].cam_from_world[2, :3] for v in order])
    partners = {}
    for i, view in enumerate(order):
        far = np.linalg.norm(centers - centers[i], axis=1)
        far[(forward @ forward[i] < np.cos(np.radians(MAX_TURN_DEG))) | (np.arange(len(order)) == i)] = np.inf
        partners[view] = [order[j] for j in np.argsort(far, kind="stable")[:most] if np.isfinite(far[j])]
    return partners


def _compared(a: View, surface: Surface, b: View) -> SurfaceComparison | None:
    """Surface of view a as view b denies it or agrees; None where they show too little together."""
    towards = b.center - surface.xyz
    distance = np.sqrt(dots(towards, towards))
    scale = (surface.distance / a.focal_px) / (distance / b.focal_px)
    seen = dots(towards, surface.towards) > np.cos(np.radians(MAX_ANGLE_DEG)) * distance
    seen &= dots(towards, surface.normal) > MIN_COSINE * distance
    seen &= (np.maximum(scale, 1 / scale) < MAX_SCALE) & (towards @ b.cam_from_world[2, :3] < 0)
    if seen.sum() < MIN_PIXELS:
        return None
    pixels = surface.pixels[seen]
    in_b = surface.xyz[seen] @ b.cam_from_world[:, :3].T + b.cam_from_world[:, 3]
    xy = project(b.lens, in_b) * b.scale
    height, width = b.grey.shape
    column, row = np.floor(xy).astype(int).T
    inside = (column >= BORDER_PX) & (row >= BORDER_PX) & (column < width - BORDER_PX) & (row < height - BORDER_PX)
    in_front = b.inverse_depth[row.clip(0, height - 1), column.clip(0, width - 1)]
    inside &= in_front * in_b[:, 2] < IN_FRONT
    if inside.sum() < MIN_PIXELS:
        return None
    # The part of view a that shows anything, with room for patches.
    low = np.maximum(pixels.min(0) - BORDER_PX, 0)
    high = np.minimum(pixels.max(0) + BORDER_PX + 1, a.grey.shape)
    place = tuple((pixels - low).T)
    there = np.full((*(high - low), 2), -1e4, np.float32)
    there[place] = xy - 0.5  # OpenCV's pixel centres are at whole numbers
    both = np.zeros(high - low, np.float32)
    both[place] = inside
    here = a.grey[low[0] : high[0], low[1] : high[1]]
    moved = cv2.remap(b.grey, there[..., 0], there[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    shares, agreed = np.zeros_like(a.grey), np.zeros_like(a.grey)
    shown = slice(low[0], high[0]), slice(low[1], high[1])
    shares[shown], agreed[shown] = _denied_and_agreed(here, moved, _mean(both, PATCH_PX) > WHOLE)
    at = np.full((*a.grey.shape, 2), -1, np.int64)
    at[tuple(pixels[inside].T)] = np.stack([row, column], axis=1)[inside] // CELL_PX
    return SurfaceComparison(_cells(shares, 0.0), _cells(agreed, 0.0) > AGREED, _cells(at, -1))


def _denied_and_agreed(here: np.ndarray, moved: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shares [H, W] of the place around each pixel that two pictures of one surface deny and agree on where `seen`."""
    alike, contrast = _best_correlation(here, moved)
    textured = seen & (contrast > MIN_CONTRAST)
    around = _mean((textured & (alike > AGREEING)).astype(np.float32), AROUND_PX)
    quarters = np.zeros(here.shape, int)
    for dy in (-(AROUND_PX // 2), AROUND_PX // 2):
        for dx in (-(AROUND_PX // 2), AROUND_PX // 2):
            shift = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
            quarters += cv2.warpAffine(around, shift, here.shape[::-1]) > AROUND
    denied = textured & (alike < DENYING) & (quarters >= IN_QUARTERS)
    same = seen & ((alike > AGREEING) | (contrast <= MIN_CONTRAST))
    return _mean(denied.astype(np.float32), PLACE_PX), _mean(same.astype(np.float32), PLACE_PX)


def _best_correlation(here: np.ndarray, moved: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Best normalised cross-correlation [H, W] of the patches over SHIFTS_PX, and the larger contrast of the two."""
    mean, spread = _moments(here)
    mean_moved, spread_moved = _moments(moved)
    best = np.full(here.shape, -1, np.float32)
    for dy in SHIFTS_PX:
        for dx in SHIFTS_PX:
            other, m, s = (np.roll(x, (dy, dx), (0, 1)) for x in (moved, mean_moved, spread_moved))
            np.maximum(best, (_mean(here * other, PATCH_PX) - mean * m) / np.maximum(spread * s, 3.0), out=best)
    return best, np.maximum(spread, spread_moved)


def _moments(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the patch around every pixel."""
    mean = _mean(image, PATCH_PX)
    return mean, np.sqrt(np.maximum(_mean(image * image, PATCH_PX) - mean * mean, 0))


def _mean(image: np.ndarray, side: int) -> np.ndarray:
    return cv2.blur(image, (side, side))
