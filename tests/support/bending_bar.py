"""A striped bar that bends, as a moving mesh and in cut-out pictures of it, so that its motion is known."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from types import ModuleType

import torch
from fewview.scene.triangle_mesh import Mesh
from torch import Tensor

SCRIPTS = Path(__file__).parents[2] / "scripts"

HALF, RADIUS = 1.0, 0.22
STRIPES = torch.tensor([[230, 60, 40], [40, 170, 70], [40, 90, 230], [240, 220, 120]], dtype=torch.uint8)


def tube(rings: int = 17, around: int = 8) -> tuple[Tensor, Tensor]:
    """(vertices [V, 3] along x from -1 to 1, faces [F, 3], outward) of a closed round bar."""
    x = torch.linspace(-HALF, HALF, rings)
    turn = 2 * math.pi * torch.arange(around) / around
    ring = torch.stack([0 * turn, RADIUS * turn.cos(), RADIUS * turn.sin()], dim=-1)
    side = (torch.stack([x, 0 * x, 0 * x], dim=-1)[:, None] + ring).reshape(-1, 3)
    vertices = torch.cat([side, torch.tensor([[-HALF, 0.0, 0.0], [HALF, 0.0, 0.0]])])
    faces = []
    for i in range(rings - 1):
        for j in range(around):
            a, b = i * around + j, i * around + (j + 1) % around
            faces += [[a, b, a + around], [b, b + around, a + around]]
    first, last, end = rings * around, rings * around + 1, (rings - 1) * around
    for j in range(around):
        faces += [[first, (j + 1) % around, j], [last, end + j, end + (j + 1) % around]]
    return vertices, torch.tensor(faces)


def bent(vertices: Tensor, angle: float) -> Tensor:
    """The bar with its axis on an arc of so many radians in the plane of x and y, its middle where it was."""
    if abs(angle) < 1e-6:
        return vertices.clone()
    radius, along = 2 * HALF / angle, vertices[:, 0] * angle / (2 * HALF)
    across = radius - vertices[:, 1]
    return torch.stack([across * along.sin(), radius - across * along.cos(), vertices[:, 2]], dim=-1)


def bending_bar(moments: int = 9, most: float = 2.4, rings: int = 17, around: int = 8) -> Mesh:
    """The bar at moments from 0 to 1, straight at the first."""
    vertices, faces = tube(rings, around)
    times = torch.linspace(0, 1, moments)
    positions = torch.stack([bent(vertices, most * float(t)) for t in times])
    colors = STRIPES[((vertices[:, 0] + HALF) * 4).long() % 4]
    return Mesh(vertices, faces, colors=colors, positions=positions, times_s=times, up=(0.0, 0.0, 1.0))


def films() -> ModuleType:
    """`scripts/film_of_mesh.py`: scripts are no package, so their folder goes onto the path."""
    if str(SCRIPTS) not in sys.path:
        sys.path.append(str(SCRIPTS))
    import film_of_mesh

    return film_of_mesh
