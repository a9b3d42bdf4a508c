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
import pycolmap
from scipy.spatial import Delaunay, QhullError, cKDTree

from ..mapping import Model
from ..verification import Pair

SIDE_PX = 480  # longer side of the copies that are compared; other lengths in pixels are in these
PATCH_PX = 11  # that normalised cross-correlation looks at
SHIFTS_PX = (-3, 0, 3)  # both ways, that a patch may be off: the surface between points is not quite flat
PLACE_PX = 31  # side of a place, of which the denied share counts
AROUND_PX = 33  # side of each of the four squares around a pixel, in which the surface must agree
AROUND = 0.06  # share of such a square that agrees
IN_QUARTERS = 3  # of the four squares
AGREED = 0.5  # share of a place that agrees, or shows nothing, in two photographs that show the same there
MIN_CONTRAST = 6.0  # grey levels of 255, standard deviation of a patch in one of the two photographs
AGREEING, DENYING = 0.7, 0.4  # the best correlation of what is the same, and of what is not
MAX_EDGE_PX = 96.0  # of a triangle between points that stands for the surface
MAX_STEP = 1.2  # between the depths of its corners; more is the edge of one thing before another
OUTLIER = 0.1  # relative to the median inverse depth of the nearest points in the photograph
IN_FRONT = 1.05  # relative depth from which on a surface hides another
MAX_ANGLE_DEG = 45.0  # between the two rays to a place
MIN_COSINE = 0.3  # of the angle between a ray and the surface's normal
MAX_SCALE = 1.8  # between the sizes in which the two photographs show a place
BORDER_PX = 7  # of a photograph, where no whole patch is
WHOLE = 0.95  # of a patch both must show
NEAREST = 8  # points in a photograph, of which the usual depth is
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
class _View:
    """A view at the size that is compared, and the surface between the points that it observes."""

    cam_from_world: np.ndarray  # [3, 4]
    lens: pycolmap.Camera
    scale: np.ndarray  # [2] pixels here over pixels of the lens
    grey: np.ndarray  # [H, W] float32
    triangle: np.ndarray  # [H, W] int32, -1 where there is no surface
    normal: np.ndarray  # [T, 3] of each triangle, in the world
    inverse_depth: np.ndarray  # [H, W] float32, 0 where there is no surface

    @property
    def center(self) -> np.ndarray:
        """Of the camera, in the world [3]."""
        return -self.cam_from_world[:, :3].T @ self.cam_from_world[:, 3]

    @property
    def focal_px(self) -> float:
        return float(self.lens.mean_focal_length() * self.scale.mean())

    def surface(self) -> _Surface:
        """Surface that its pixels show, where that faces the camera."""
        pixels = np.argwhere(self.triangle >= 0)
        row, column = pixels.T
        xy = (pixels[:, ::-1] + 0.5) / self.scale
        rays = np.pad(np.asarray(self.lens.cam_from_img(xy))[:, :2], ((0, 0), (0, 1)), constant_values=1.0)
        in_cam = rays / self.inverse_depth[row, column, None]
        xyz = (in_cam - self.cam_from_world[:, 3]) @ self.cam_from_world[:, :3]
        towards = self.center - xyz
        distance = np.linalg.norm(towards, axis=1)
        normal = self.normal[self.triangle[row, column]]
        cosine = _dots(towards, normal) / distance
        faces = np.abs(cosine) > MIN_COSINE
        towards /= distance[:, None]
        normal *= np.sign(cosine)[:, None]
        return _Surface(pixels[faces], xyz[faces], towards[faces], distance[faces], normal[faces])


@dataclass(frozen=True)
class _Surface:
    """Places of a surface that a view shows, one in each of its pixels."""

    pixels: np.ndarray  # [M, 2] row and column
    xyz: np.ndarray  # [M, 3] in the world
    towards: np.ndarray  # [M, 3] unit vector to the camera
    distance: np.ndarray  # [M] to the camera
    normal: np.ndarray  # [M, 3] on the camera's side


def _dots(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Products [M] of vectors [M, 3]."""
    products: np.ndarray = np.einsum("ij,ij->i", a, b)
    return products


@dataclass(frozen=True)
class _Denied:
    """Surface that one view shows and another denies, in cells of CELL_PX pixels of the one."""

    shares: np.ndarray  # [h, w] float32, the largest of the places in each cell
    agreed: np.ndarray  # [h, w] bool, whether the other shows the same in a place of each cell
    there: np.ndarray  # [h, w, 2] int, row and column of the cell of the other, -1 where it does not see it

    @property
    def most(self) -> float:
        return float(self.shares.max())

    def mutual(self, back: _Denied) -> np.ndarray:
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
    views = {view: _view(model, view, grey[view]) for view in model.views if grey[view].size}
    found: dict[tuple[int, int], _Denied] = {}
    for view, others in _partners(views).items():
        surface = views[view].surface()
        for other in others:
            denied = _denied(views[view], surface, views[other])
            if denied is not None:
                found[view, other] = denied
    shares: dict[Pair, float] = {}
    places: dict[tuple[int, int], np.ndarray] = {}
    agreed: dict[tuple[int, int], np.ndarray] = {}
    for (view, other), denied in found.items():
        back = found.get((other, view))
        shares[min(view, other), max(view, other)] = 0.0 if back is None else min(denied.most, back.most)
        if back is not None:
            places[view, other] = denied.mutual(back)
            agreed[view, other] = denied.agreed
    return DeniedSurface(shares, places, agreed, {view: views[view].center for view in views})


def _partners(views: Mapping[int, _View]) -> dict[int, list[int]]:
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


def _view(model: Model, view: int, grey: np.ndarray) -> _View:
    reconstruction = model.reconstruction
    image = reconstruction.image(view + 1)
    pose, lens = model.camera(view)
    full = np.array(grey.shape[::-1])
    size = np.maximum(1, np.round(full * min(1.0, SIDE_PX / max(full)))).astype(int)
    small = cv2.resize(grey, (int(size[0]), int(size[1])), interpolation=cv2.INTER_AREA)
    ids = sorted({p.point3D_id for p in image.points2D if p.has_point3D()})
    xyz = np.array([reconstruction.point3D(i).xyz for i in ids], np.float64).reshape(-1, 3)
    in_cam = xyz @ pose[:, :3].T + pose[:, 3]
    in_cam = in_cam[in_cam[:, 2] > 1e-6]
    xy = _project(lens, in_cam) * (size / full)
    if len(xy) > NEAREST:
        _, near = cKDTree(xy).query(xy, k=NEAREST)
        usual = np.median(1 / in_cam[near, 2], axis=1)
        kept = np.abs(1 / (in_cam[:, 2] * usual) - 1) < OUTLIER
        xy, in_cam = xy[kept], in_cam[kept]
    triangle, normal, inverse = _surface(xy, in_cam, size)
    return _View(pose, lens, size / full, small.astype(np.float32), triangle, normal @ pose[:, :3], inverse)


def _project(lens: pycolmap.Camera, in_cam: np.ndarray) -> np.ndarray:
    """Pixels [M, 2] of points [M, 3] before the camera."""
    xy = np.asarray(lens.img_from_cam(in_cam / np.maximum(in_cam[:, 2:], 1e-9)), np.float64)[:, :2]
    return np.nan_to_num(xy, nan=-1e4).clip(-1e4, 1e6)  # far outside, but a number that pixels may have


def _surface(
    xy: np.ndarray,  # [P, 2] pixels
    in_cam: np.ndarray,  # [P, 3] the points there
    size: np.ndarray,  # [2] width, height
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Triangle [H, W] between neighbouring points that lie on one surface, normals [T, 3], inverse depth [H, W]."""
    width, height = size
    nothing = np.full((height, width), -1, np.int32), np.zeros((0, 3)), np.zeros((height, width), np.float32)
    try:
        mesh = Delaunay(xy) if len(xy) >= 4 else None
    except QhullError:
        mesh = None
    if mesh is None:
        return nothing
    corners = mesh.simplices
    edge_px = np.linalg.norm(xy[corners] - xy[np.roll(corners, 1, 1)], axis=2).max(1)
    depth = in_cam[corners, 2]
    one_surface = (edge_px < MAX_EDGE_PX) & (depth.max(1) < MAX_STEP * depth.min(1))
    low = np.maximum(np.floor(xy.min(0)).astype(int), 0)
    high = np.minimum(np.ceil(xy.max(0)).astype(int) + 1, size)
    if (high <= low).any():
        return nothing
    column, row = np.meshgrid(np.arange(low[0], high[0]), np.arange(low[1], high[1]))
    pixel = np.stack([column, row], axis=-1).reshape(-1, 2) + 0.5
    found = mesh.find_simplex(pixel)
    inside = (found >= 0) & one_surface[found]
    pixel, found = pixel[inside], found[inside]
    transform = mesh.transform[found]
    share = np.einsum("nij,nj->ni", transform[:, :2], pixel - transform[:, 2])
    share = np.column_stack([share, 1 - share.sum(1)])
    triangle, _, inverse = nothing
    place = pixel[:, 1].astype(int), pixel[:, 0].astype(int)
    triangle[place] = found
    inverse[place] = (share / depth[found]).sum(1)  # linear in the photograph over a plane
    a, b, c = (in_cam[corners[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    return triangle, normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12), inverse


def _denied(a: _View, surface: _Surface, b: _View) -> _Denied | None:
    """Surface of view a that view b denies; None where they show too little together."""
    towards = b.center - surface.xyz
    distance = np.sqrt(_dots(towards, towards))
    scale = (surface.distance / a.focal_px) / (distance / b.focal_px)
    seen = _dots(towards, surface.towards) > np.cos(np.radians(MAX_ANGLE_DEG)) * distance
    seen &= _dots(towards, surface.normal) > MIN_COSINE * distance
    seen &= (np.maximum(scale, 1 / scale) < MAX_SCALE) & (towards @ b.cam_from_world[2, :3] < 0)
    if seen.sum() < MIN_PIXELS:
        return None
    pixels = surface.pixels[seen]
    in_b = surface.xyz[seen] @ b.cam_from_world[:, :3].T + b.cam_from_world[:, 3]
    xy = _project(b.lens, in_b) * b.scale
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
    return _Denied(_cells(shares, 0.0), _cells(agreed, 0.0) > AGREED, _cells(at, -1))


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
