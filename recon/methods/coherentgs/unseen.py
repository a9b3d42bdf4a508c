"""Guesses of what no photograph shows: surfaces go on behind what is before them, and beyond the photographs' borders.

The released method leaves such areas empty, and its paper fills them with a diffusion model. Here they get what is
around them, blurred.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from ....scene.gaussians import SH_C0, Gaussians
from ....scene.geometry import transform_points
from ....scene.point_cloud import PointCloud
from ...evidence.depth_maps import DepthMap, Stereo
from ..instantsplat.extend_views import points_beyond
from .pixel_lattice import PixelLattice
from .prepared_views import PreparedViews

SPACING_PX, OPACITY = 4, 0.95  # of the guesses
SPREAD = 1.0  # standard deviation of a guess, in its cells: no gaps, also from twice as near
REACH = 0.12  # of the longer side: so far behind its rim a thing hides what is guessed
STEP = 1.15  # a surface that lies so many times farther is behind, and not the same one
BLUR_PX = 4.0  # over which colours behind are averaged, in cells
HIDDEN = 1.03  # so many times farther than what a view shows a point is out of its sight


def guessed_gaussians(prepared: PreparedViews, depths: list[Tensor], border: float) -> Gaussians:
    """Gaussians behind what the views show, and `border` longer sides beyond; `depths` [h, w] of each, world units."""
    lattice = prepared.lattice
    maps = tuple(DepthMap(d, torch.ones_like(d)) for d in depths)
    stereo = Stereo(lattice.cameras, maps)
    clouds = [_behind(lattice, stereo, view) for view in range(len(lattice))]
    sizes = [_size(stereo, view, cloud.xyz) for view, cloud in enumerate(clouds)]
    if border > 0:
        beyond = points_beyond(prepared.dataset, stereo, border, SPACING_PX)
        clouds.append(beyond)
        sizes.append(torch.stack([_size(stereo, v, beyond.xyz) for v in range(len(stereo))]).amin(0))
    xyz, rgb, size = torch.cat([c.xyz for c in clouds]), torch.cat([c.rgb for c in clouds]), torch.cat(sizes)
    count = len(xyz)
    return Gaussians(
        means=xyz,
        quats=torch.tensor([1.0, 0, 0, 0]).repeat(count, 1),
        log_scales=size.log()[:, None].repeat(1, 3),
        opacity_logits=torch.full((count,), OPACITY).logit(),
        sh=((rgb.float() / 255 - 0.5) / SH_C0)[:, None],
    )


def _size(stereo: Stereo, view: int, xyz: Tensor) -> Tensor:
    """Standard deviation [M] at which points cover cells of `SPACING_PX` in a view."""
    z = transform_points(stereo.cameras.cam_from_world[view], xyz)[:, 2].clamp_min(1e-6)
    return SPREAD * SPACING_PX * z / stereo.cameras.K[view, 0, 0]


def _behind(lattice: PixelLattice, stereo: Stereo, view: int) -> PointCloud:
    """Points behind the rims of what a view shows, of the farther surface around, that no view shows."""
    depth = stereo.maps[view].depth
    height, width = depth.shape
    small = (max(1, width // SPACING_PX), max(1, height // SPACING_PX))
    inverse = cv2.resize((1 / depth).numpy(), small, interpolation=cv2.INTER_AREA)
    color = cv2.resize(lattice.colors[view].numpy(), small, interpolation=cv2.INTER_AREA).astype(np.float32)
    counts = cv2.resize(lattice.counts[view].numpy().astype(np.uint8), small, interpolation=cv2.INTER_NEAREST) > 0
    reach = 2 * max(1, round(REACH * max(small) / 2)) + 1
    far = cv2.erode(np.where(counts, inverse, np.inf).astype(np.float32), np.ones((reach, reach), np.uint8))
    is_far = counts & (inverse / STEP < far)
    weight = cv2.GaussianBlur(is_far.astype(np.float32), (0, 0), BLUR_PX)[..., None]
    blurred = [cv2.GaussianBlur(v * is_far[..., None], (0, 0), BLUR_PX) for v in (color, inverse[..., None])]
    rgb, behind = (b.reshape(*weight.shape[:2], -1) / np.maximum(weight, 1e-6) for b in blurred)
    rim = counts & (inverse > STEP * behind[..., 0]) & (weight[..., 0] > 1e-4)
    rows, columns = (torch.from_numpy(index) for index in rim.nonzero())
    K = stereo.cameras.K[view]
    x = ((columns + 0.5) * width / small[0] - K[0, 2]) / K[0, 0]
    y = ((rows + 0.5) * height / small[1] - K[1, 2]) / K[1, 1]
    z = torch.from_numpy(1 / np.maximum(behind[..., 0][rim], 1e-9)).float()
    points = transform_points(
        stereo.cameras.world_from_cam[view], torch.stack([x, y, torch.ones_like(x)], dim=1) * z[:, None]
    )
    hidden = torch.stack([_out_of_sight(stereo, other, points) for other in range(len(stereo))]).all(0)
    return PointCloud(points[hidden], torch.from_numpy(rgb[rim]).round().clamp(0, 255).to(torch.uint8)[hidden])


def _out_of_sight(stereo: Stereo, view: int, points: Tensor) -> Tensor:
    """bool [M]: outside a view's picture, or farther than what it shows there."""
    in_camera = transform_points(stereo.cameras.cam_from_world[view], points)
    depth, z = stereo.maps[view].depth, in_camera[:, 2]
    pixel = (in_camera @ stereo.cameras.K[view].T)[:, :2] / z.clamp_min(1e-6)[:, None]
    column, row = pixel[:, 0].long(), pixel[:, 1].long()
    inside = (z > 1e-6) & (pixel >= 0).all(-1) & (column < depth.shape[1]) & (row < depth.shape[0])
    hidden = ~inside
    hidden[inside] = z[inside] > HIDDEN * depth[row[inside], column[inside]]
    return hidden
