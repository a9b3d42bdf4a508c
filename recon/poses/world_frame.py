"""The world frame of `Poses`: z up, the scene at the origin, a sane size."""

from __future__ import annotations

import torch
from torch import Tensor

from ...scene.geometry import Similarity, se3_inverse

# Where the scale is unknown. Viewers made for NeRF-synthetic scenes expect about this; their near plane of 0.2 is 5 %.
MEDIAN_DEPTH = 4.0
TILT_PRIOR = 0.03  # variance of sin(roll) that people allow themselves: about 10 degrees


def upright_from_world(
    cam_from_world: Tensor,  # [N, 4, 4] float64
    xyz: Tensor,  # [P, 3] float64
    seen_point: Tensor,  # [T] int64
    seen_view: Tensor,  # [T] int64
) -> Similarity:
    """The similarity upright_from_world from an arbitrary world to an upright one (see `Poses`).

    Photographs are held level far more often than they are held straight ahead: up is the mean of the cameras' own
    up directions after their sideways axes have been taken out of it, u = (mean(x x^T) + tilt I)^-1 mean(-y).
    """
    world_from_cam = se3_inverse(cam_from_world)
    right, down, forward = (world_from_cam[:, :3, k] for k in range(3))
    sideways = (right[:, :, None] * right[:, None, :]).mean(0)
    mean_up = -down.mean(0)
    if mean_up.norm() < 1e-6:  # as many upside down as upright: take the first one's word
        mean_up = -down[0]
    up = torch.linalg.solve(sideways + TILT_PRIOR * torch.eye(3, dtype=sideways.dtype), mean_up)
    up = up / up.norm()
    ahead = forward[0] - (forward[0] @ up) * up
    if ahead.norm() < 1e-3:  # looking straight down: the top of the picture is ahead
        ahead = -down[0] + (down[0] @ up) * up
    ahead = ahead / ahead.norm()
    rotation = torch.stack([torch.linalg.cross(ahead, up), ahead, up])
    distance = (world_from_cam[seen_view, :3, 3] - xyz[seen_point]).norm(dim=1)
    scale = MEDIAN_DEPTH / distance.median().clamp_min(1e-12)
    center = (xyz @ rotation.T).median(dim=0).values
    return Similarity(scale, rotation, -scale * center)
