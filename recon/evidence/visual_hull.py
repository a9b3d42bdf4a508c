"""The visual hull of transparent photographs with cameras (Laurentini 1994): all that no silhouette excludes.

It holds the object, and with few views more than that; where photographs share nothing that could be matched, it is the
only thing known about where the object is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...scene.capture import Capture
from ...scene.point_cloud import PointCloud

SIDE_PX = 400  # longer side at which silhouettes are looked up
OPAQUE = 0.5  # alpha from which a pixel is of the object
COARSE, FINE = 48, 96  # voxels a side, of the whole room and of what is left of it
MAX_POINTS = 20_000
_SEEN_WITHIN = 3.0  # voxels behind the nearest surface of a pixel


@dataclass(frozen=True)
class CarvedHull:
    """Voxels in the silhouettes of all photographs: (i, j, k) has its middle at corner + (i + 0.5, ...) * size."""

    views: list[_View]
    filled: Tensor  # [X, Y, Z] bool
    corner: Tensor  # [3] float64 world
    size: Tensor  # [3] float64 of a voxel

    def points(self) -> PointCloud | None:
        """Middles of the voxels at the surface, with the views that see them; None where there is none."""
        xyz = self.corner + (_surface(self.filled).nonzero() + 0.5) * self.size
        if len(xyz) == 0:
            return None
        if len(xyz) > MAX_POINTS:
            xyz = xyz[torch.linspace(0, len(xyz) - 1, MAX_POINTS).long()]
        return _seen(self.views, xyz, float(self.size.max()))


def visual_hull(capture: Capture) -> PointCloud | None:
    """Points on the hull's surface, in the world of the cameras, with the views that see them.

    None where fewer than two photographs are transparent somewhere and opaque somewhere, or nothing is in all of their
    silhouettes.
    """
    hull = carved_hull(capture)
    return None if hull is None else hull.points()


def carved_hull(capture: Capture) -> CarvedHull | None:
    """The voxels of the hull; None as in `visual_hull`."""
    views = _views(capture)
    if len(views) < 2:
        return None
    low, high = _room(views)
    filled, corner, size = _carve(views, low, high, COARSE)
    inside = filled.nonzero()
    if len(inside) == 0:
        return None
    low = corner + (inside.min(0).values - 1) * size
    high = corner + (inside.max(0).values + 2) * size
    return CarvedHull(views, *_carve(views, low, high, FINE))


class _View:
    """One photograph [H, W, 4] of floats in [0, 1] with its camera."""

    def __init__(self, index: int, pixels: Tensor, cam_from_world: Tensor, K: Tensor) -> None:
        self.index, self.pixels, self.cam_from_world, self.K = index, pixels, cam_from_world, K

    def project(self, xyz: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(flat pixel [N], depth [N], which points [N] are in front and in the picture) of world points [N, 3]."""
        camera = xyz @ self.cam_from_world[:3, :3].T + self.cam_from_world[:3, 3]
        depth = camera[:, 2]
        image = camera @ self.K.T
        column, row = (image[:, :2] / depth.clamp(min=1e-9)[:, None]).floor().long().unbind(-1)
        height, width = self.pixels.shape[:2]
        there = (depth > 0) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
        return torch.where(there, row * width + column, 0), depth, there


def _views(capture: Capture) -> list[_View]:
    """Those photographs that show a silhouette."""
    assert capture.cameras is not None
    found = []
    for i, frame in enumerate(capture.frames):
        factor = min(1.0, SIDE_PX / max(frame.width, frame.height))
        width, height = max(1, round(frame.width * factor)), max(1, round(frame.height * factor))
        pixels = capture.image(i, width, height).cpu()
        if pixels.shape[-1] != 4:
            continue
        pixels = pixels.float() / 255
        opaque = pixels[..., 3] > OPAQUE
        if not bool(opaque.any()) or bool(opaque.all()):
            continue
        camera = capture.cameras[i].resized(torch.tensor(width), torch.tensor(height))
        found.append(_View(i, pixels, camera.cam_from_world.double().cpu(), camera.K.double().cpu()))
    return found


def _room(views: list[_View]) -> tuple[Tensor, Tensor]:
    """Corners [3] of a cube around where the cameras look that holds what all of them see whole."""
    normal, right = torch.zeros(3, 3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    centers = []
    for view in views:
        R, t = view.cam_from_world[:3, :3], view.cam_from_world[:3, 3]
        center, axis = -R.T @ t, R[2]
        across = torch.eye(3, dtype=torch.float64) - axis[:, None] * axis
        normal, right = normal + across, right + across @ center
        centers.append(center)
    # The point nearest to all optical axes; parallel ones leave it open, and the regulariser picks one by the cameras.
    middle = torch.stack(centers).mean(0)
    weak = 1e-6 * len(views)
    target = torch.linalg.solve(normal + weak * torch.eye(3, dtype=torch.float64), right + weak * middle)
    half = 0.0
    for view, center in zip(views, centers, strict=True):
        height, width = view.pixels.shape[:2]
        widest = max(float(width / view.K[0, 0]), float(height / view.K[1, 1])) / 2
        half = max(half, float((target - center).norm()) * widest)
    return target - half, target + half


def _carve(views: list[_View], low: Tensor, high: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """(bool [side, side, side] in all silhouettes, the corner [3], the voxel's size [3])."""
    size = (high - low) / side
    ticks = [low[a] + (torch.arange(side, dtype=torch.float64) + 0.5) * size[a] for a in range(3)]
    xyz = torch.stack(torch.meshgrid(*ticks, indexing="ij"), -1).reshape(-1, 3)
    kept = torch.arange(len(xyz))
    for view in views:
        pixel, _, there = view.project(xyz[kept])
        opaque = view.pixels[..., 3].flatten()[pixel] > OPAQUE
        kept = kept[there & opaque]
    filled = torch.zeros(len(xyz), dtype=torch.bool)
    filled[kept] = True
    return filled.reshape(side, side, side), low, size


def _surface(filled: Tensor) -> Tensor:
    """Filled voxels with an empty neighbour across a face, or at the border."""
    padded = torch.nn.functional.pad(filled, (1, 1, 1, 1, 1, 1))
    inner = filled.clone()
    for axis in range(3):
        for by in (-1, 1):
            inner &= padded.roll(by, axis)[1:-1, 1:-1, 1:-1]
    return filled & ~inner


def _seen(views: list[_View], xyz: Tensor, voxel: float) -> PointCloud:
    """The points with their colours, the mean over the views that see them, and these views."""
    total, count = torch.zeros(len(xyz), 3), torch.zeros(len(xyz))
    seen_point, seen_view = [], []
    for view in views:
        pixel, depth, there = view.project(xyz)
        if not bool(there.any()):
            continue
        # Cells as wide as two voxels, so that no gap between points in front lets those behind be seen.
        width = view.pixels.shape[1]
        step = max(1, math.ceil(2 * voxel * float(view.K[0, 0]) / float(depth[there].min())))
        cell = (pixel // width // step) * width + pixel % width // step
        nearest = torch.full((view.pixels[..., 0].numel(),), torch.inf, dtype=torch.float64)
        nearest.scatter_reduce_(0, cell[there], depth[there], "amin")
        rows = (there & (depth <= nearest[cell] + _SEEN_WITHIN * voxel)).nonzero()[:, 0]
        total[rows] += view.pixels[..., :3].reshape(-1, 3)[pixel[rows]]
        count[rows] += 1
        seen_point.append(rows)
        seen_view.append(torch.full_like(rows, view.index))
    rgb = (255 * total / count.clamp(min=1)[:, None]).round().to(torch.uint8)
    cloud = PointCloud(xyz.float(), rgb, torch.cat(seen_point), torch.cat(seen_view))
    return cloud[count > 0]
