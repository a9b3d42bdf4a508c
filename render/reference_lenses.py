"""Cameras as functions: positions in the camera frame to pixels, with the Jacobian that projects covariances.

Plain PyTorch, float32 and float64, differentiable. The pinhole is the reference implementation of the native kernel's;
orthographic and equidistant fisheye cameras have no kernel and are drawn through these on every device.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

FOV_MARGIN = 0.3  # the Jacobian is taken at most this fraction of half the field of view outside the image
AXIS_MIN_SQUARED = 1e-14  # of x^2 + y^2: nearer to the optical axis the direction from it is not asked for

Projected = tuple[Tensor, Tensor]


def pinhole(points: Tensor, K: Tensor, width: int, height: int) -> Projected:
    """Perspective projection: pixels [M, 2] and Jacobian [M, 2, 3] of points [M, 3] by intrinsics [M, 3, 3]."""
    x, y, z = points.unbind(-1)
    fx, fy, cx, cy = _intrinsics(K)
    tan_x = _clamp_tangent(x / z, width, fx, cx)
    tan_y = _clamp_tangent(y / z, height, fy, cy)
    zero = torch.zeros_like(z)
    jacobian = torch.stack([fx / z, zero, -fx * tan_x / z, zero, fy / z, -fy * tan_y / z], dim=-1)
    return torch.stack([fx * x / z + cx, fy * y / z + cy], dim=-1), jacobian.unflatten(-1, (2, 3))


def orthographic(points: Tensor, K: Tensor, width: int, height: int) -> Projected:
    """Parallel projection, focal lengths in pixels per world unit; shapes as `pinhole`."""
    x, y, _ = points.unbind(-1)
    fx, fy, cx, cy = _intrinsics(K)
    zero = torch.zeros_like(x)
    jacobian = torch.stack([fx + zero, zero, zero, zero, fy + zero, zero], dim=-1)
    return torch.stack([fx * x + cx, fy * y + cy], dim=-1), jacobian.unflatten(-1, (2, 3))


def fisheye(points: Tensor, K: Tensor, width: int, height: int) -> Projected:
    """Equidistant fisheye (r = f theta) without distortion; shapes as `pinhole`."""
    x, y, z = points.unbind(-1)
    fx, fy, cx, cy = _intrinsics(K)
    from_axis_squared = (x * x + y * y).clamp_min(AXIS_MIN_SQUARED)
    from_axis = from_axis_squared.sqrt()
    stretch = torch.atan2(from_axis, z) / from_axis  # theta / r, 1 / z on the axis
    u, v = x / from_axis, y / from_axis
    distance_squared = from_axis_squared + z * z
    # Along the radius d theta / d r = z / |p|^2, across it theta / r; they are equal on the axis.
    along = z / distance_squared
    change = along - stretch
    rows = [
        fx * (stretch + u * u * change), fx * u * v * change, -fx * x / distance_squared,
        fy * u * v * change, fy * (stretch + v * v * change), -fy * y / distance_squared,
    ]  # fmt: skip
    pixels = torch.stack([fx * x * stretch + cx, fy * y * stretch + cy], dim=-1)
    return pixels, torch.stack(rows, dim=-1).unflatten(-1, (2, 3))


LENSES: dict[str, Callable[[Tensor, Tensor, int, int], Projected]] = {
    "pinhole": pinhole,
    "ortho": orthographic,
    "fisheye": fisheye,
}  # by gsplat's names of camera models


def _intrinsics(K: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return K[:, 0, 0], K[:, 1, 1], K[:, 0, 2], K[:, 1, 2]


def _clamp_tangent(tangent: Tensor, size: int, focal: Tensor, center: Tensor) -> Tensor:
    """The tangent [M] of a viewing angle, held near the image: beyond it the affine approximation explodes."""
    margin = FOV_MARGIN * 0.5 * size / focal
    return torch.minimum(torch.maximum(tangent, -center / focal - margin), (size - center) / focal + margin)
