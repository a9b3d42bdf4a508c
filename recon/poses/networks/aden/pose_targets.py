"""Poses as the network knows them: relative to the first photograph, in the world where the optical axes cross.

The world has the axes of camera 0, its origin where all optical axes come closest, and camera 0 at distance 1 from it
(Lin et al., RelPose++, 3DV 2024). A pose is 7 numbers: a quaternion (wxyz) of the rotation world to camera, and the
translation. Nothing here depends on the world that the cameras are given in.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .....scene.geometry import quat_from_rotation, rotation_from_quat, se3_from

RIDGE = 1e-4  # keeps the crossing of parallel axes finite, at the cameras' mean centre


def relative_poses(cam_from_world: Tensor) -> Tensor:
    """Poses [..., N, 7] relative to the first of cameras [..., N, 4, 4].

    Raises ValueError where the axes cross in the first camera's centre, so that there is no unit of length.
    """
    crossing = axes_crossing(cam_from_world)
    rotation, translation = cam_from_world[..., :3, :3], cam_from_world[..., :3, 3]
    in_camera = (rotation @ crossing[..., None, :, None])[..., 0] + translation
    unit = in_camera[..., :1, :].norm(dim=-1, keepdim=True)
    if bool((unit < 1e-9).any()):
        raise ValueError("the optical axes cross in the centre of the first camera, so poses have no unit of length")
    quats = quat_from_rotation(rotation @ rotation[..., :1, :, :].transpose(-1, -2))
    return torch.cat([quats, in_camera / unit], dim=-1)


def axes_crossing(cam_from_world: Tensor) -> Tensor:
    """The point [..., 3] that is nearest to all optical axes of cameras [..., N, 4, 4], by least squares."""
    forward = cam_from_world[..., 2, :3]
    centers = -(cam_from_world[..., :3, :3].transpose(-1, -2) @ cam_from_world[..., :3, 3:])
    eye = torch.eye(3, dtype=forward.dtype, device=forward.device)
    across = eye - forward[..., :, None] * forward[..., None, :]
    mean = centers.mean(-3, keepdim=True)
    matrix = across.sum(-3) + RIDGE * eye
    return (torch.linalg.solve(matrix, (across @ (centers - mean)).sum(-3)) + mean[..., 0, :, :])[..., 0]


def cameras_of(poses: Tensor) -> Tensor:
    """cam_from_world [..., 4, 4] of poses [..., 7]."""
    return se3_from(rotation_from_quat(poses[..., :4]), poses[..., 4:])


def poses_about(cam_from_world: Tensor, middle: Tensor) -> Tensor:
    """Poses [..., 7] of cameras [..., 4, 4] in their own world and unit, with the origin moved to `middle` [3]."""
    rotation = cam_from_world[..., :3, :3]
    return torch.cat([quat_from_rotation(rotation), rotation @ middle + cam_from_world[..., :3, 3]], dim=-1)


def between(poses: Tensor, reference: Tensor) -> Tensor:
    """Poses [..., 7] relative to another photograph, whose own pose is `reference` [..., 7]."""
    a, b = rotation_from_quat(poses[..., :4]), rotation_from_quat(reference[..., :4])
    distance = reference[..., 4:].norm(dim=-1, keepdim=True).clamp_min(1e-6)
    return torch.cat([quat_from_rotation(a @ b.transpose(-1, -2)), poses[..., 4:] / distance], dim=-1)


def after(poses: Tensor, reference: Tensor) -> Tensor:
    """The inverse of `between`: poses [..., 7] relative to a photograph at `reference` become ones of its world."""
    a, b = rotation_from_quat(poses[..., :4]), rotation_from_quat(reference[..., :4])
    distance = reference[..., 4:].norm(dim=-1, keepdim=True).clamp_min(1e-6)
    return torch.cat([quat_from_rotation(a @ b), poses[..., 4:] * distance], dim=-1)


def first_pose(like: Tensor) -> Tensor:
    """The pose [7] of the first photograph, to which the others are relative: it looks straight at the origin."""
    return like.new_tensor([1.0, 0, 0, 0, 0, 0, 1])
