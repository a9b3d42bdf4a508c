"""The up axis and the point of interest of a set of cameras, and poses that look at a point."""

from __future__ import annotations

import torch
from torch import Tensor

from ..scene.cameras import Cameras
from ..scene.formats.axes import snapped
from ..scene.geometry import se3_from, se3_inverse
from ..scene.splat import Axis


def up_direction(cameras: Cameras) -> Tensor:
    """The scene's up axis in the world, a unit vector [3].

    The mean of the cameras' up axes, corrected by the habit of holding a camera level: the up axis is at right
    angles to the cameras' x axes as far as these tell it apart. Cameras that look down from one side therefore
    still give the vertical, not their own tilt.
    """
    world_from_cam = cameras.world_from_cam.reshape(-1, 4, 4).double()
    right, up = world_from_cam[:, :3, 0], -world_from_cam[:, :3, 1]
    mean_up = up.mean(0)
    if mean_up.norm() < 1e-3:  # as many cameras upside down as upright: nothing is known
        mean_up = up[0]
    mean_up = mean_up / mean_up.norm()
    # 0.01 is the variance of sin(roll) of a camera held by hand with six degrees of roll.
    prior = 0.01 * torch.eye(3, dtype=torch.float64, device=up.device)
    level = torch.linalg.solve(right.T @ right / len(right) + prior, prior @ mean_up)
    level = level / level.norm()
    chosen = level if level @ mean_up > 0.5 else mean_up
    return chosen.to(cameras.cam_from_world)


def world_up(cameras: Cameras) -> Axis:
    """`up_direction` as numbers, on an axis where it nearly is: an estimate is not exact to half a degree."""
    x, y, z = up_direction(cameras.to("cpu")).double().tolist()
    return snapped((x, y, z))


def focus_point(cameras: Cameras) -> Tensor:
    """The point [3] in the world that the cameras look at: nearest to all viewing rays in the least-squares sense.

    Rays that are nearly parallel or diverge have no such point; then it lies on the mean ray, three times as far
    from the mean camera as the cameras are spread.
    """
    world_from_cam = cameras.world_from_cam.reshape(-1, 4, 4).double()
    centers, forward = world_from_cam[:, :3, 3], world_from_cam[:, :3, 2]
    across = torch.eye(3, dtype=torch.float64) - forward[:, :, None] * forward[:, None, :]
    mean_center = centers.mean(0)
    if len(centers) > 1 and torch.linalg.eigvalsh(across.mean(0))[0] > 1e-4:  # more than half a degree of spread
        point = torch.linalg.solve(across.sum(0), (across @ centers[:, :, None]).sum(0)).squeeze(-1)
        ahead = ((point - centers) * forward).sum(-1)
        if ahead.median() > 0:
            return point.to(cameras.cam_from_world)
    mean_forward = forward.mean(0)
    if mean_forward.norm() < 1e-3:
        mean_forward = forward[0]
    spread = float((centers - mean_center).norm(dim=-1).max())
    distance = 3 * spread if spread > 0 else 1.0
    return (mean_center + distance * mean_forward / mean_forward.norm()).to(cameras.cam_from_world)


def look_at(center: Tensor, target: Tensor, up: Tensor) -> Tensor:
    """cam_from_world [..., 4, 4] of cameras at `center` [..., 3] that look at `target` [3], upright along `up` [3].

    >>> origin, y_points_down = torch.zeros(3), torch.tensor([0.0, -1.0, 0.0])
    >>> cam_from_world = look_at(torch.tensor([0.0, 0.0, -4.0]), origin, y_points_down)
    >>> float(cam_from_world[2, 3])  # depth of the world's origin
    4.0
    """
    forward = torch.nn.functional.normalize(target - center, dim=-1)
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, up.expand_as(forward)), dim=-1)
    down = torch.linalg.cross(forward, right)
    return se3_inverse(se3_from(torch.stack([right, down, forward], dim=-1), center))
