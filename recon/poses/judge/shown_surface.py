"""Surface between the points of a model, as each of its views shows it: triangles between neighbouring points."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import pycolmap
from scipy.spatial import Delaunay, QhullError, cKDTree

from ..mapping import Model

SIDE_PX = 480  # longer side of the copies that are looked at; other lengths in pixels are in these
MAX_EDGE_PX = 96.0  # of a triangle between points that stands for the surface
MAX_STEP = 1.2  # between the depths of its corners; more is the edge of one thing before another
OUTLIER = 0.1  # relative to the median inverse depth of the nearest points in the photograph
MIN_COSINE = 0.3  # of the angle between a ray and the surface's normal
NEAREST = 8  # points in a photograph, of which the usual depth is


@dataclass(frozen=True)
class View:
    """A view at the size that is looked at, and the surface between the points that it observes."""

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

    def surface(self) -> Surface:
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
        cosine = dots(towards, normal) / distance
        faces = np.abs(cosine) > MIN_COSINE
        towards /= distance[:, None]
        normal *= np.sign(cosine)[:, None]
        return Surface(pixels[faces], xyz[faces], towards[faces], distance[faces], normal[faces])


@dataclass(frozen=True)
class Surface:
    """Places of a surface that a view shows, one in each of its pixels."""

    pixels: np.ndarray  # [M, 2] row and column
    xyz: np.ndarray  # [M, 3] in the world
    towards: np.ndarray  # [M, 3] unit vector to the camera
    distance: np.ndarray  # [M] to the camera
    normal: np.ndarray  # [M, 3] on the camera's side


def view_of(model: Model, view: int, grey: np.ndarray) -> View:
    """View of a model, with its photograph [H, W] uint8."""
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
    xy = project(lens, in_cam) * (size / full)
    if len(xy) > NEAREST:
        _, near = cKDTree(xy).query(xy, k=NEAREST)
        usual = np.median(1 / in_cam[near, 2], axis=1)
        kept = np.abs(1 / (in_cam[:, 2] * usual) - 1) < OUTLIER
        xy, in_cam = xy[kept], in_cam[kept]
    triangle, normal, inverse = _surface(xy, in_cam, size)
    return View(pose, lens, size / full, small.astype(np.float32), triangle, normal @ pose[:, :3], inverse)


def project(lens: pycolmap.Camera, in_cam: np.ndarray) -> np.ndarray:
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


def dots(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Products [M] of vectors [M, 3]."""
    products: np.ndarray = np.einsum("ij,ij->i", a, b)
    return products
