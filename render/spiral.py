"""The spiral of forward-facing scenes: a gentle helix around the middle of the cameras, all looking at one point."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..scene.cameras import Cameras
from ..scene.geometry import se3_from, transform_points
from .aim import focus_point, look_at, up_direction
from .paths import check_path, median_lens

TURNS = 2  # of the helix
DEPTH_RATE = 0.5  # swings in depth for each turn; TURNS * DEPTH_RATE is whole, so that the path closes
REACH_QUANTILE = 0.9  # of the cameras' offsets from their middle, for each axis
REACH_SHARE = 0.7  # of it, where the original goes all the way: few photographs stand in the corners of that box
MIN_REACH = 0.02  # of the distance to the focus, so that a single photograph comes alive too


def spiral(cameras: Cameras, n: int) -> Cameras:
    """`n` cameras [n] on the spiral of forward-facing captures (Mildenhall 2019, LLFF; used by NeRF), a closed path.

    In the frame of the average camera the centre goes (r_x cos a, r_y sin a, r_z sin(a / 2)) for two turns of a,
    where r is 0.7 of the 90th percentile of the cameras' offsets, so that it stays near the photographs. All cameras
    look at the point where the photographs' rays meet: the original takes it from the scene's depth bounds,
    which few captures have. The lens and the image size are those of the camera with the median field of view.
    """
    check_path(cameras, n)
    focus, up = focus_point(cameras).double(), up_direction(cameras).double()
    world_from_middle = _average_frame(cameras, focus, up)
    offsets = (cameras.centers.double() - world_from_middle[:3, 3]) @ world_from_middle[:3, :3]
    distance = float((focus - world_from_middle[:3, 3]).norm())
    reach = REACH_SHARE * offsets.abs().quantile(REACH_QUANTILE, dim=0)
    reach = reach.clamp_min(MIN_REACH * distance)
    reach[2] = reach[2].clamp_max(0.5 * distance)  # never through what is looked at
    angle = torch.arange(n, dtype=torch.float64) * (2 * math.pi * TURNS / n)
    swing = torch.stack([angle.cos(), angle.sin(), (DEPTH_RATE * angle).sin()], dim=-1)
    centers = transform_points(world_from_middle, reach * swing)
    lens = median_lens(cameras)
    return Cameras(
        look_at(centers, focus, up).to(cameras.cam_from_world),
        lens.K.expand(n, 3, 3).clone(),
        lens.width.expand(n).clone(),
        lens.height.expand(n).clone(),
    )


def _average_frame(cameras: Cameras, focus: Tensor, up: Tensor) -> Tensor:
    """world_from_middle [4, 4] float64: at the mean centre, looking at the focus, upright."""
    middle = cameras.centers.double().mean(0)
    forward = focus - middle
    if forward.norm() < 1e-9:  # cameras that stand in a ring around the focus: no side is the front
        forward = cameras.world_from_cam[0, :3, 2].double()
    forward = forward / forward.norm()
    right = torch.linalg.cross(forward, up)
    if right.norm() < 1e-6:  # straight up or down
        right = cameras.world_from_cam[0, :3, 0].double()
        right = right - (right @ forward) * forward
    right = right / right.norm()
    return se3_from(torch.stack([right, torch.linalg.cross(forward, right), forward], dim=-1), middle)
