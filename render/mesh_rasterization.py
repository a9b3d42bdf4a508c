"""Triangles to pixels with a depth buffer, in plain PyTorch: for reports, textures and tests, not for speed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..scene.cameras import Cameras
from ..scene.geometry import transform_points

NEAR = 1e-6  # of the farthest vertex: faces that reach nearer than this are left out
_PAIRS = 2**21  # of a face and a pixel that are looked at together


@dataclass(frozen=True)
class Hits:
    """The nearest face behind each pixel's centre."""

    face: Tensor  # [H, W] int64, -1 where there is none
    weights: Tensor  # [H, W, 3] float64 barycentric on the face in space; 0 where there is none
    depth: Tensor  # [H, W] float64 z in the camera, 0 where there is none

    @property
    def hit(self) -> Tensor:
        """bool [H, W]"""
        return self.face >= 0


def rasterize_mesh(
    vertices: Tensor,  # [V, 3] world
    faces: Tensor,  # [F, 3]
    camera: Cameras,  # []
) -> Hits:
    """The faces that a pinhole camera sees of a mesh, from either side.

    A face that reaches behind the camera is left out whole, as nothing is clipped.
    """
    in_camera = transform_points(camera.cam_from_world.double().to(vertices.device), vertices.double())
    z = in_camera[:, 2]
    image = in_camera @ camera.K.double().to(vertices.device).T
    near = NEAR * float(z.max()) if len(z) else 0.0
    pixels = image[:, :2] / z.clamp_min(max(near, 1e-300))[:, None]
    in_front = (z[faces] > max(near, 0.0)).all(1)
    return rasterize_triangles(pixels[faces], z[faces], in_front, int(camera.width), int(camera.height))


def rasterize_triangles(
    corners: Tensor,  # [F, 3, 2] pixels
    depths: Tensor,  # [F, 3] above 0
    wanted: Tensor,  # [F] bool
    width: int,
    height: int,
) -> Hits:
    """The nearest of projected triangles at each pixel's centre; ties go to the first. All is float64.

    A centre on an edge belongs to both of its faces, so that no gap opens between them.
    """
    size = torch.tensor([width, height], device=corners.device)
    low = torch.nan_to_num((corners.amin(1) - 0.5).ceil(), nan=0.0, posinf=2.0**31, neginf=-(2.0**31))
    high = torch.nan_to_num((corners.amax(1) - 0.5).floor(), nan=-1.0, posinf=2.0**31, neginf=-(2.0**31))
    low, high = low.clamp(min=0).minimum(size.to(low)), high.minimum((size - 1).to(high))
    span = (high - low + 1).clamp(min=0).long()
    shown = (wanted & (span > 0).all(1)).nonzero()[:, 0]
    counts = span[shown].prod(1)
    buffer = torch.full((height * width,), torch.iinfo(torch.int64).max, device=corners.device)
    begin = 0
    ends = counts.cumsum(0)
    while begin < len(shown):
        done = int(ends[begin - 1]) if begin else 0
        stop = max(begin + 1, int(torch.searchsorted(ends, done + _PAIRS, right=True)))
        pick = shown[begin:stop]
        face = pick.repeat_interleave(counts[begin:stop])
        first = (ends[begin:stop] - counts[begin:stop] - done).repeat_interleave(counts[begin:stop])
        number = torch.arange(len(face), device=corners.device) - first
        columns = span[face, 0]
        x, y = low[face, 0].long() + number % columns, low[face, 1].long() + number // columns
        weights, area = _weights(corners[face], x + 0.5, y + 0.5)
        inside = (weights >= 0).all(1) & (area != 0)
        face, x, y, weights = face[inside], x[inside], y[inside], weights[inside]
        depth = 1 / (weights / depths[face]).sum(1)
        # Bits of positive floats are ordered like the floats, so one number orders by depth and then by face.
        key = depth.float().view(torch.int32).long() << 32 | face
        buffer.scatter_reduce_(0, y * width + x, key, "amin")
        begin = stop
    return _hits(buffer, corners, depths, width, height)


def _hits(buffer: Tensor, corners: Tensor, depths: Tensor, width: int, height: int) -> Hits:
    seen = buffer != torch.iinfo(torch.int64).max
    pixel = seen.nonzero()[:, 0]
    face = torch.full_like(buffer, -1)
    weights, depth = corners.new_zeros(len(buffer), 3), corners.new_zeros(len(buffer))
    face[pixel] = buffer[pixel] & 0xFFFFFFFF
    own = face[pixel]
    flat, _ = _weights(corners[own], pixel % width + 0.5, pixel.div(width, rounding_mode="floor") + 0.5)
    inverse = flat / depths[own]
    depth[pixel] = 1 / inverse.sum(1)
    weights[pixel] = inverse * depth[pixel, None]
    return Hits(face.reshape(height, width), weights.reshape(height, width, 3), depth.reshape(height, width))


def _weights(corners: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """(barycentric coordinates [n, 3] in the picture, twice the signed area [n]) at pixels."""
    a, b, c = corners.unbind(1)
    point = torch.stack([x, y], dim=1).to(corners)

    def cross(p: Tensor, q: Tensor) -> Tensor:
        return p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]

    area = cross(b - a, c - a)
    parts = torch.stack([cross(c - b, point - b), cross(a - c, point - c), cross(b - a, point - a)], dim=1)
    return parts / torch.where(area == 0, 1.0, area)[:, None], area
