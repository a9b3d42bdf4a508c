"""Depth maps of a splat from where its photographs were taken, and from all around where that is known to be right."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...render.aim import focus_point, look_at
from ...render.rendering import render
from ...render.surface_depth import surface_depth
from ...scene.cameras import Cameras
from ...scene.formats.axes import file_from_world
from ...scene.gaussians import Gaussians
from ...scene.geometry import transform_points
from ...scene.progress import Progress, silent
from ...scene.splat import Splat

OPAQUE, EMPTY = 0.5, 0.1  # alpha from which a pixel shows a surface, and up to which it shows that there is none
ONE_SURFACE = 0.6  # share of a pixel's alpha that must be at one depth: at an edge it is less
WITHIN_DEG = 30.0  # of a photograph's direction: from farther away nobody knows what a splat looks like
NEAR = 0.15  # of the distance to the focus: what is nearer to a camera than that stands in its way
_BLOCKED = 0.1  # share of a picture that may be so near before a camera of our own is left out
LENS_DEG = 50.0


@dataclass(frozen=True)
class DepthView:
    """A splat's surface and colours in one camera."""

    camera: Cameras  # []
    depth: Tensor  # [H, W] z, 0 where nothing is known, infinite where there is nothing
    weight: Tensor  # [H, W] in [0, 1]
    rgb: Tensor  # [H, W, 3] sRGB in [0, 1]
    is_photograph: bool

    @property
    def hit(self) -> Tensor:
        """bool [H, W]: where a surface is seen."""
        return (self.depth > 0) & self.depth.isfinite()

    def points(self) -> Tensor:
        """World points [n, 3] behind the pixels where a surface is seen."""
        row, column = self.hit.nonzero(as_tuple=True)
        depth = self.depth[row, column]
        K = self.camera.K.to(depth)
        x, y = (column + 0.5 - K[0, 2]) / K[0, 0], (row + 0.5 - K[1, 2]) / K[1, 1]
        in_camera = torch.stack([x * depth, y * depth, depth], dim=1)
        return transform_points(self.camera.world_from_cam.to(depth), in_camera)


def depth_views(
    splat: Splat,
    gaussians: Gaussians,  # of the moment
    cameras: Cameras | None,  # [C] of photographs, None for a bare splat
    count: int,  # of other cameras
    max_side_px: int,
    progress: Progress = silent,
) -> tuple[list[DepthView], tuple[str, ...]]:
    """(depth maps, sentences on cameras that were left out)."""
    if cameras is None:
        own, others = None, around_splat(gaussians, splat, max(count, 24), max_side_px)
        focus_distance = float((others.centers - _middle(gaussians)).norm(dim=1).median())
    else:
        own, others = _fitted(cameras, max_side_px), between_photographs(_fitted(cameras, max_side_px), count)
        focus_distance = float((own.centers - focus_point(own)).norm(dim=1).median())
    views, blocked = [], 0
    total = (0 if own is None else len(own)) + len(others)
    for batch, is_photograph in ((own, True), (others, False)):
        for i in range(0 if batch is None else len(batch)):
            assert batch is not None
            view, in_the_way = _view(splat, gaussians, batch[i], NEAR * focus_distance, is_photograph)
            if is_photograph or in_the_way <= _BLOCKED:
                views.append(view)
            else:
                blocked += 1
            progress("depth", len(views) + blocked, total)
    notes = (f"{blocked} of {len(others)} cameras around stood inside or behind something.",) if blocked else ()
    return views, notes


@torch.no_grad()
def _view(
    splat: Splat, gaussians: Gaussians, camera: Cameras, near: float, is_photograph: bool
) -> tuple[DepthView, float]:
    """(one depth map on the CPU, the share of its pixels at which something is too near)."""
    found = surface_depth(gaussians, camera, antialiased=splat.antialiased)
    background = torch.tensor(splat.background, device=found.alpha.device)
    drawn = render(gaussians, camera, background=background, antialiased=splat.antialiased)
    solid = (found.alpha > OPAQUE) & (found.share > ONE_SURFACE)
    too_near = solid & (found.depth < near)
    depth = torch.where(solid & ~too_near, found.depth, 0)
    depth = torch.where(found.alpha < EMPTY, torch.inf, depth)
    weight = torch.where(depth > 0, 1.0, 0.0) * torch.where(
        found.alpha < EMPTY, 1 - found.alpha, found.alpha * found.share
    )
    view = DepthView(camera.to("cpu"), depth.cpu(), weight.cpu(), drawn.rgb.clamp(0, 1).cpu(), is_photograph)
    return view, float(too_near.float().mean())


def _fitted(cameras: Cameras, max_side_px: int) -> Cameras:
    """The cameras with pictures of at most that many pixels a side, all of one size."""
    width, height = int(cameras.width[0]), int(cameras.height[0])
    factor = min(1.0, max_side_px / max(width, height))
    return cameras.resized(max(1, round(width * factor)), max(1, round(height * factor)))


def between_photographs(cameras: Cameras, count: int) -> Cameras:
    """About `count` cameras on the sphere of the photographs, in directions that are near to one of them."""
    focus = focus_point(cameras)
    offset = cameras.centers - focus
    directions = torch.nn.functional.normalize(offset, dim=1)
    # As many on the whole sphere as leave `count` in the part that is covered.
    tried = fibonacci_sphere(4096).to(directions)
    covered = float(((tried @ directions.T).amax(1) > math.cos(math.radians(WITHIN_DEG))).float().mean())
    sphere = fibonacci_sphere(round(count / max(covered, 1e-3)) if covered else 0).to(directions)
    cosine, nearest = (sphere @ directions.T).max(1) if len(sphere) else (sphere[:, 0], sphere[:, 0].long())
    keep = cosine > math.cos(math.radians(WITHIN_DEG))
    nearest = nearest[keep]
    centers = focus + sphere[keep] * offset[nearest].norm(dim=1, keepdim=True)
    up = -cameras.world_from_cam[nearest, :3, 1]
    poses = torch.stack([look_at(c, focus, u) for c, u in zip(centers, up, strict=True)]) if len(centers) else None
    if poses is None:
        return cameras[:0]
    return Cameras(poses, cameras.K[nearest], cameras.width[nearest], cameras.height[nearest])


def around_splat(gaussians: Gaussians, splat: Splat, count: int, side_px: int) -> Cameras:
    """Cameras [count] on a sphere around the bulk of a splat that comes without any."""
    center = _middle(gaussians)
    radius = float(
        (gaussians.means - center).norm(dim=1).nan_to_num(posinf=0).sort().values[int(0.9 * (len(gaussians) - 1))]
    )
    upright = file_from_world(splat.up).rotation.to(gaussians.means)
    sphere = fibonacci_sphere(count).to(gaussians.means)
    distance = 1.4 * max(radius, 1e-6) / math.tan(math.radians(LENS_DEG / 2))
    up = torch.where(sphere[:, 1:2].abs() > 0.95, upright[2], upright[1])
    centers = center + distance * sphere @ upright
    poses = torch.stack([look_at(c, center, u) for c, u in zip(centers, up, strict=True)])
    return Cameras.pinhole(poses.cpu(), side_px / 2 / math.tan(math.radians(LENS_DEG / 2)), side_px, side_px)


def _middle(gaussians: Gaussians) -> Tensor:
    return gaussians.means[gaussians.means.isfinite().all(1)].median(0).values


def fibonacci_sphere(count: int) -> Tensor:
    """Unit vectors [count, 3] that are evenly spread, the second coordinate from 1 to -1."""
    i = torch.arange(count, dtype=torch.float64) + 0.5
    height = 1 - 2 * i / max(count, 1)
    turn = math.pi * (1 + math.sqrt(5)) * i
    flat = (1 - height**2).sqrt()
    return torch.stack([flat * turn.cos(), height, flat * turn.sin()], dim=1).float()
