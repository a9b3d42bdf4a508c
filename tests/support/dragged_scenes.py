"""Moving scenes whose right deformation is known: a limb that bends, two balls that cross, and the motion of points."""

from __future__ import annotations

import math

import torch
from fewview.scene.control_points import ControlPointMotion
from fewview.scene.gaussians import SH_C0, Gaussians
from fewview.scene.geometry import quat_from_rotation, so3_exp
from fewview.scene.splat import MovingSplat
from torch import Tensor

FIRST_S, LAST_S = 0.0, 1.0
MOMENTS = 5
LENGTH, RADIUS, ELBOW = 2.0, 0.2, 1.0  # of the limb, along z from 0


def tube(around: int, along: int, length: float = LENGTH, radius: float = RADIUS) -> Tensor:
    """Points [around * along, 3] float32 on a tube along z, every second ring turned by half a step."""
    angle = torch.arange(around).float() / around * 2 * math.pi
    rows = []
    for i in range(along):
        turned = angle + i % 2 * math.pi / around
        height = torch.full_like(angle, length * i / (along - 1))
        rows.append(torch.stack([radius * turned.cos(), radius * turned.sin(), height], dim=-1))
    return torch.cat(rows)


def bent(points: Tensor, angle_rad: float) -> tuple[Tensor, Tensor]:
    """(points [M, 3] of a limb bent at its elbow about x, quaternions [M, 4]); the turn is spread over half a unit."""
    share = ((points[:, 2] - ELBOW + 0.25) / 0.5).clamp(0, 1)
    turn = so3_exp(share[:, None] * angle_rad * torch.tensor([1.0, 0, 0]))
    pivot = torch.tensor([0.0, 0, ELBOW])
    return (turn @ (points - pivot)[..., None])[..., 0] + pivot, quat_from_rotation(turn)


def limb(count: int = 600, around: int = 8, along: int = 24) -> MovingSplat:
    """A limb that bends by half a radian from the first moment to the last: control points on it, Gaussians between."""
    points = tube(around, along)
    moved = [bent(points, 0.5 * t) for t in torch.linspace(0, 1, MOMENTS).tolist()]
    draw = torch.Generator().manual_seed(0)
    z, angle = LENGTH * torch.rand(count, generator=draw), 2 * math.pi * torch.rand(count, generator=draw)
    means = torch.stack([RADIUS * angle.cos(), RADIUS * angle.sin(), z], dim=-1)
    return _carried(means, points, torch.stack([p - points for p, _ in moved]), torch.stack([q for _, q in moved]))


def crossing_balls(points: int = 40, count: int = 150) -> MovingSplat:
    """Two balls that fly through each other along x: at the middle moment they are in one place. The first is red."""
    draw = torch.Generator().manual_seed(1)

    def ball(n: int) -> Tensor:
        return 0.3 * torch.nn.functional.normalize(torch.randn(n, 3, generator=draw), dim=-1)

    side = torch.tensor([1.0, 0, 0])
    controls = torch.cat([ball(points) - side, ball(points) + side])
    means = torch.cat([ball(count) - side, ball(count) + side])
    way = torch.cat([side.expand(points, 3), -side.expand(points, 3)])
    shifts = 2 * torch.linspace(0, 1, MOMENTS)[:, None, None] * way
    turns = torch.tensor([1.0, 0, 0, 0]).expand(MOMENTS, 2 * points, 4)
    return _carried(means, controls, shifts, turns)


def _carried(means: Tensor, points: Tensor, shifts: Tensor, turns: Tensor) -> MovingSplat:
    count = len(means)
    nearest = torch.cdist(means, points).topk(3, largest=False)
    weights = (-nearest.values.square() / 0.02).softmax(-1)
    gaussians = Gaussians(
        means,
        torch.tensor([1.0, 0, 0, 0]).repeat(count, 1),
        torch.full((count, 3), math.log(0.04)),
        torch.full((count,), 4.0),
        (torch.stack([means[:, 2] / LENGTH, means[:, 0] < 0, means[:, 1] > 0], dim=-1)[:, None] - 0.5) / SH_C0 / 2,
    )
    times = torch.linspace(FIRST_S, LAST_S, MOMENTS, dtype=torch.float64)
    motion = ControlPointMotion(times, points, shifts, turns, nearest.indices.int(), weights)
    return MovingSplat(gaussians, up=(0.0, 0.0, 1.0), motion=motion)
