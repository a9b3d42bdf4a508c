"""The look-at frame: the world that analysis by synthesis works in, whatever frame the cameras came in.

SparseAGS (Zhao and Tulsiani 2024): the origin is where the optical axes cross, the mean distance of the cameras to it
is 1.85, and the up axis is the direction in which the cameras' x axes vary least.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ....render.aim import focus_point
from ....scene.cameras import Cameras
from ....scene.geometry import Similarity, se3_from, se3_inverse

MEAN_DISTANCE = 1.85  # of the cameras to the origin; the released code's


def look_at_from_world(cameras: Cameras) -> Similarity:
    """The similarity from the cameras' [N] world to the frame in which they look at the origin, z up; float64.

    Another world frame of the same cameras gives the same look-at frame but for a turn about z, which the first camera
    settles: it looks along +y, seen from above.
    """
    world_from_cam = cameras.world_from_cam.double().cpu()
    origin = focus_point(cameras).double().cpu()
    distance = (world_from_cam[:, :3, 3] - origin).norm(dim=-1).mean().clamp_min(1e-12)
    up = level_up(world_from_cam)
    ahead = world_from_cam[0, :3, 2] - (world_from_cam[0, :3, 2] @ up) * up
    if ahead.norm() < 1e-6:  # the first camera looks straight down: the top of its picture is ahead
        ahead = -world_from_cam[0, :3, 1] + (world_from_cam[0, :3, 1] @ up) * up
    ahead = ahead / ahead.norm()
    rotation = torch.stack([torch.linalg.cross(ahead, up), ahead, up])
    scale = MEAN_DISTANCE / distance
    return Similarity(scale, rotation, -scale * rotation @ origin)


def moved_poses(cam_from_world: Tensor, move: Similarity) -> Tensor:
    """The same cameras [..., 4, 4] in the world that `move` (float64) leads to; float32."""
    world_from_cam = se3_inverse(cam_from_world.double())
    moved = se3_from(move.rotation @ world_from_cam[..., :3, :3], move(world_from_cam[..., :3, 3]))
    return se3_inverse(moved).float()


def level_up(world_from_cam: Tensor) -> Tensor:
    """The unit vector [3] across which the x axes of cameras [N, 4, 4] vary least, on the first camera's upper side.

    Cameras that are held level have x axes in one plane, and up is its normal.
    """
    right = world_from_cam[:, :3, 0]
    _, _, vt = torch.linalg.svd(right)  # not centred: level axes lie in a plane through the origin
    up = vt[-1] if len(right) > 1 else -world_from_cam[0, :3, 1]
    return up if up @ world_from_cam[0, :3, 1] <= 0 else -up
