"""`depth_to_points` and `depth_to_normal`: surfaces from depth maps, by gsplat's names."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from ..scene.errors import BadInputError


def depth_to_points(
    depths: Tensor,  # [..., H, W, 1]
    camtoworlds: Tensor,  # [..., 4, 4]
    Ks: Tensor,  # [..., 3, 3]
    z_depth: bool = True,
) -> Tensor:
    """Points [..., H, W, 3] in the world behind the centres of the pixels.

    Depth is along the optical axis, or without `z_depth` along the ray. Arguments and results of gsplat 1.5.3;
    differentiable.
    """
    leading = tuple(depths.shape[:-3])
    wanted = {"camtoworlds": (camtoworlds, (*leading, 4, 4)), "Ks": (Ks, (*leading, 3, 3))}
    for name, (tensor, shape) in wanted.items():
        if tuple(tensor.shape) != shape or depths.ndim < 3 or depths.shape[-1] != 1:
            raise BadInputError(
                f"depths, {name}: expected [..., H, W, 1] and {shape}, found {tuple(depths.shape)} and "
                f"{tuple(tensor.shape)}."
            )
    height, width = depths.shape[-3:-1]
    x = torch.arange(width, dtype=depths.dtype, device=depths.device) + 0.5
    y = torch.arange(height, dtype=depths.dtype, device=depths.device) + 0.5
    fx, fy, cx, cy = (Ks[..., i, j, None, None] for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
    along_x, along_y = torch.broadcast_tensors((x - cx) / fx, (y[:, None] - cy) / fy)
    in_camera = torch.stack([along_x, along_y, torch.ones_like(along_x)], dim=-1)
    rays = in_camera @ camtoworlds[..., None, :3, :3].transpose(-1, -2)
    if not z_depth:
        rays = normalize(rays, dim=-1)
    return camtoworlds[..., None, None, :3, 3] + depths * rays


def depth_to_normal(
    depths: Tensor,  # [..., H, W, 1]
    camtoworlds: Tensor,  # [..., 4, 4]
    Ks: Tensor,  # [..., 3, 3]
    z_depth: bool = True,
) -> Tensor:
    """Unit normals [..., H, W, 3] in the world, towards the camera; 0 on the border, a pixel wide.

    From differences between the neighbours on both sides. Arguments and results of gsplat 1.5.3; differentiable.
    """
    points = depth_to_points(depths, camtoworlds, Ks, z_depth)
    down = points[..., 2:, 1:-1, :] - points[..., :-2, 1:-1, :]
    across = points[..., 1:-1, 2:, :] - points[..., 1:-1, :-2, :]
    return pad(normalize(torch.linalg.cross(down, across), dim=-1), (0, 0, 1, 1, 1, 1))
