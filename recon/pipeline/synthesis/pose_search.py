"""Search for a photograph's camera everywhere around a known object: a grid of look-at cameras, with roll.

SparseAGS, outlier correction. The released search has no roll and hopes for noise to find it. Here a turn of the
photograph about its object is a roll of its camera, so that rolls cost nothing but turning one small picture: each
look-at camera is drawn once, and compared with every turn of the photograph by one product of matrices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ....scene.cameras import Cameras
from ....scene.gaussians import Gaussians
from ....scene.geometry import se3_inverse, so3_exp
from ...optimise.dataset import Dataset
from .joint_fit import draw, targets
from .novel_views import elevations, on_sphere

CROWDED = 40  # times as many candidates are looked through for distinct ones


@dataclass(frozen=True)
class SearchConfig:
    """Effort of the search. Angles and lengths are those of the released code, counts are a CPU's."""

    side_px: int = 32  # of the pictures that candidates are ranked with
    step_deg: float = 15.0  # between candidates, in elevation, azimuth and roll
    margin_deg: float = 20.0  # beyond the elevations of the cameras that are trusted
    radius_step: float = 0.2  # between candidates, and beyond the trusted cameras' distances
    kept: int = 24  # candidates that are refined
    apart_deg: float = 12.0  # least turn between two of them


def coarse_candidates(gaussians: Gaussians, views: Dataset, view: int, trusted: Tensor, config: SearchConfig) -> Tensor:
    """The best candidates [kept, 4, 4] of a grid of elevation, azimuth, distance and roll, best first."""
    center = (gaussians.means * gaussians.opacities[:, None]).sum(0) / gaussians.opacities.sum()
    poses = _grid(trusted, center, config)
    lens = _centred_lens(views, view, config.side_px)
    size = torch.full((len(poses),), config.side_px)
    with torch.no_grad():
        rgb, alpha = draw(gaussians, Cameras(poses, lens.expand(len(poses), 3, 3), size, size.clone()))
    drawn = torch.cat([rgb.clamp(0, 1), alpha[..., None]], dim=-1).flatten(1)
    rolls = torch.arange(0, 360, config.step_deg)
    turned, cam_from_turned = _turned(views, view, lens, rolls, config.side_px)
    error = drawn.square().sum(1)[None] + turned.square().sum(1)[:, None] - 2 * turned @ drawn.T  # [rolls, poses]
    best = error.flatten().argsort()[: config.kept * CROWDED]
    found = cam_from_turned[best // len(poses)] @ poses[best % len(poses)]
    return found[distinct(found, config.apart_deg)[: config.kept]]


def distinct(poses: Tensor, apart_deg: float) -> list[int]:
    """Indices of the poses [M, 4, 4] whose rotations differ by so much from all chosen before them."""
    chosen: list[int] = []
    least = 1 + 2 * math.cos(math.radians(apart_deg))
    for index in range(len(poses)):
        traces = (poses[chosen, :3, :3] * poses[index, :3, :3]).sum(dim=(1, 2))
        if not bool((traces > least).any()):
            chosen.append(index)
    return chosen


def _grid(trusted: Tensor, center: Tensor, config: SearchConfig) -> Tensor:
    """cam_from_world [G, 4, 4] of upright cameras that look at `center` [3]."""
    around = se3_inverse(trusted)[:, :3, 3] - center
    heights, radii = elevations(around), around.norm(dim=-1)
    low = max(float(heights.min()) - config.margin_deg, -89.0)
    high = min(float(heights.max()) + config.margin_deg, 89.0)
    elevation = torch.arange(low, high + 1e-3, config.step_deg)
    azimuth = torch.arange(0, 360, config.step_deg)
    radius = torch.arange(
        max(float(radii.min()) - config.radius_step, config.radius_step),
        float(radii.max()) + config.radius_step + 1e-3,
        config.radius_step,
    )
    grid = torch.cartesian_prod(elevation, azimuth, radius)
    return on_sphere(grid[:, 0], grid[:, 1], grid[:, 2], center)


def _centred_lens(views: Dataset, view: int, side_px: int) -> Tensor:
    """K [3, 3] with the view's focal lengths for pictures of side_px pixels, the principal point in the middle."""
    K = views.cameras.K[view] * (side_px / views.views[view].width)
    K[2, 2] = 1
    K[0, 2] = K[1, 2] = side_px / 2
    return K


def _turned(views: Dataset, view: int, lens: Tensor, rolls_deg: Tensor, side_px: int) -> tuple[Tensor, Tensor]:
    """A photograph as cameras saw it that look straight at the object and are rolled: [R, side_px ** 2 * 4].

    And cam_from_turned [R, 4, 4]. Both cameras share one centre, so that the pictures are homographies of each other.
    """
    colors, alpha = targets(views)
    alpha = torch.ones_like(colors[..., 0]) if alpha is None else alpha
    picture, K = torch.cat([colors[view], alpha[view, ..., None]], -1), views.cameras.K[view]
    side = picture.shape[0]
    ticks = torch.arange(side) + 0.5
    weight = picture[..., 3] / picture[..., 3].sum().clamp_min(1e-6)
    middle = torch.stack([(weight.sum(0) * ticks).sum(), (weight.sum(1) * ticks).sum(), torch.tensor(1.0)])
    ahead = F.normalize(torch.linalg.inv(K) @ middle, dim=0)
    axis = torch.linalg.cross(torch.tensor([0.0, 0.0, 1.0]), ahead)
    sine = axis.norm()
    aim = so3_exp(axis / sine.clamp_min(1e-12) * torch.atan2(sine, ahead[2]))  # takes the optical axis to the object
    roll = so3_exp(torch.stack([torch.zeros_like(rolls_deg)] * 2 + [torch.deg2rad(rolls_deg)], dim=-1))
    rotation = aim @ roll
    ticks = (torch.arange(side_px) + 0.5).expand(side_px, side_px)
    pixels = torch.stack([ticks, ticks.T, torch.ones_like(ticks)], dim=-1).reshape(-1, 3)
    there = pixels @ (K @ rotation @ torch.linalg.inv(lens)).transpose(1, 2)  # [R, P, 3]
    grid = (there[..., :2] / there[..., 2:] / side * 2 - 1).reshape(len(rolls_deg), side_px, side_px, 2)
    # Averaged to about the grid's own resolution first; what lies outside of the picture is background.
    small = F.interpolate(picture.permute(2, 0, 1)[None], size=(side_px, side_px), mode="area")
    background = torch.tensor([1.0, 1, 1, 0]).reshape(1, 4, 1, 1)
    seen = F.grid_sample((small - background).expand(len(rolls_deg), -1, -1, -1), grid, align_corners=False)
    turned = (seen + background).permute(0, 2, 3, 1).flatten(1)
    motion = torch.eye(4).repeat(len(rolls_deg), 1, 1)
    motion[:, :3, :3] = rotation
    return turned, motion
