"""A striped bar whose two ends bend up and down: Gaussians that control points carry, of any size."""

from __future__ import annotations

import math

import torch
from fewview.scene.control_points import ControlPointMotion
from fewview.scene.gaussians import SH_C0, Gaussians
from fewview.scene.geometry import quat_from_rotation, so3_exp
from fewview.scene.splat import MovingSplat

FIRST_S, LAST_S = 2.0, 5.0
BEND_RAD = 1.1  # at an end, at most; the two ends bend against each other in time


def bending_splat(
    count: int = 600,
    points: int = 24,
    moments: int = 9,
    near: int = 3,
    degree: int = 1,
    residuals: bool = False,
    antialiased: bool = False,
) -> MovingSplat:
    """The bar lies along x from -1 to 1, is 0.24 thick, and has red, green, blue and light stripes."""
    draw = torch.Generator().manual_seed(0)
    g = _bar(count, degree, draw)
    places = torch.stack([torch.linspace(-1, 1, points), *(0.08 * torch.randn(2, points, generator=draw))], dim=-1)
    times = torch.linspace(FIRST_S, LAST_S, moments, dtype=torch.float64)
    phase = 2 * math.pi * (times.float() - FIRST_S) / (LAST_S - FIRST_S)
    swing = torch.where(places[:, 0] < 0, phase.sin()[:, None], phase.cos()[:, None])  # [T, M]
    angles = BEND_RAD * places[:, 0].abs().square() * swing * places[:, 0].sign()
    turns = so3_exp(torch.stack([angles * 0, angles * 0, angles], dim=-1))
    shifts = (turns @ places[..., None])[..., 0] - places
    nearest = torch.cdist(g.means, places).topk(near, largest=False)
    weights = (-(nearest.values**2) / (2 * (2.5 / points) ** 2)).softmax(-1)
    shape = (moments, points)
    motion = ControlPointMotion(
        times,
        places,
        shifts,
        quat_from_rotation(turns),
        nearest.indices.int(),
        weights,
        0.05 * torch.randn(*shape, 4, generator=draw) if residuals else None,
        0.01 * torch.rand(*shape, 3, generator=draw) if residuals else None,
    )
    return MovingSplat(g, antialiased, (0.0, 0.0, 1.0), background=(0.1, 0.2, 0.4), motion=motion)


def _bar(count: int, degree: int, draw: torch.Generator) -> Gaussians:
    means = torch.rand(count, 3, generator=draw) * torch.tensor([2.0, 0.24, 0.24]) - torch.tensor([1.0, 0.12, 0.12])
    stripes = torch.tensor([[0.9, 0.2, 0.1], [0.1, 0.7, 0.2], [0.15, 0.3, 0.95], [0.95, 0.9, 0.7]])
    colors = stripes[((means[:, 0] + 1) * 4).long() % 4]
    sh = 0.05 * torch.randn(count, (degree + 1) ** 2, 3, generator=draw)
    sh[:, 0] = (colors - 0.5) / SH_C0
    size = 0.35 / count ** (1 / 3) * torch.tensor([1.0, 0.6, 0.4])
    return Gaussians(
        means,
        torch.randn(count, 4, generator=draw),
        size.log() + 0.2 * torch.randn(count, 3, generator=draw),
        2 + torch.randn(count, generator=draw),
        sh,
    )
