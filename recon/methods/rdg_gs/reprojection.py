"""Inverse depth of one view as another sees it."""

from __future__ import annotations

import torch
from torch import Tensor

from ....scene.cameras import Cameras
from ....scene.geometry import transform_points
from ...evidence.depth_maps import unproject

SHINES_THROUGH = 1.05  # times nearer than a pixel may its neighbours be, before it is taken for a gap between them


def warped_inverse_depth(
    inverse: Tensor,  # [H, W] > 0
    camera: Cameras,  # [] of the map
    target: Cameras,  # [] that looks at the same
) -> Tensor:
    """Inverse depth [H', W'] in the target's picture, the nearest point of each pixel; 0 where none falls.

    Points are one pixel large, so where the target looks closer there are gaps. What is seen through a gap, behind most
    of its neighbours, is left out.
    """
    height, width = int(target.height), int(target.width)
    world = transform_points(camera.world_from_cam, unproject(1 / inverse, camera.K).reshape(-1, 3))
    pixel, depth = projected(world, target)
    inside = (depth > 0) & (pixel >= 0).all(-1) & (pixel[:, 0] < width) & (pixel[:, 1] < height)
    column, row = pixel[inside].floor().long().unbind(-1)
    out = inverse.new_zeros(height * width)
    out.scatter_reduce_(0, row * width + column, 1 / depth[inside], "amax")
    out = out.reshape(height, width)
    around = torch.nn.functional.max_pool2d(out[None, None], 3, 1, 1)[0, 0]
    return torch.where(out * SHINES_THROUGH < around, 0, out)


def depth_ratio(
    xyz: Tensor,  # [N, 3] world
    inverse: Tensor,  # [H, W] inverse depth that a view is believed to have
    camera: Cameras,  # [] of the map
) -> tuple[Tensor, Tensor]:
    """(depth of points over that of what the view shows there [N], bool [N] in its picture).

    Below one a point lies before what the view shows, above one it is hidden.
    """
    pixel, depth = projected(xyz, camera)
    size = pixel.new_tensor([inverse.shape[1], inverse.shape[0]])
    inside = (depth > 0) & ((pixel >= 0) & (pixel < size)).all(-1)
    column, row = torch.where(inside[:, None], pixel, 0).long().unbind(-1)
    return depth * inverse[row, column], inside


def lifted(
    pixels: Tensor,  # [N, 2] columns and rows, centres at +0.5
    depth: Tensor,  # [N]
    camera: Cameras,  # []
) -> Tensor:
    """World points [N, 3] behind pixels; no gradient to the camera."""
    rays = torch.cat([pixels, torch.ones_like(depth)[:, None]], 1) @ torch.linalg.inv(camera.K).T
    world_from_cam = camera.world_from_cam.detach()
    return transform_points(world_from_cam, rays * depth[:, None])


def projected(
    xyz: Tensor,  # [N, 3] world
    camera: Cameras,  # []
) -> tuple[Tensor, Tensor]:
    """Pixels [N, 2] and depths [N] of points; pixels of points that are not in front mean nothing."""
    in_camera = transform_points(camera.cam_from_world, xyz)
    depth = in_camera[:, 2]
    image = in_camera @ camera.K.T
    return image[:, :2] / depth.abs().clamp_min(1e-12)[:, None], depth
