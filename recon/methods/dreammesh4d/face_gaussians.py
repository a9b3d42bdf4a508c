"""Gaussians bound to the faces of a mesh: flat ones at fixed places, that turn within their face (SuGaR, DreamMesh4D).

All that is learned of one is its two sizes, an angle, an opacity and a colour; where it is follows from the vertices.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ....scene.filled import filled
from ....scene.gaussians import SH_C0, Gaussians
from ....scene.geometry import quat_from_rotation
from ...optimise.table import Table

THICKNESS = 3.8e-6  # along the normal, of the network's unit: a millionth of the cameras' distance (as released)
LEAST_SIZE = 1e-7
FLAT = 1e-6  # height of a face over its edge, below which rounding decides where its normal points
MOST_COLOR = 2.0  # of the constant harmonic at the start, either way


def _rotations(a: float, b: float, c: float) -> list[tuple[float, float, float]]:
    return [(a, b, c), (c, a, b), (b, c, a)]


MIDDLE, INNER, OUTER = [(1 / 3, 1 / 3, 1 / 3)], _rotations(2 / 3, 1 / 6, 1 / 6), _rotations(1 / 6, 5 / 12, 5 / 12)
PLACES = {1: MIDDLE, 3: _rotations(1 / 2, 1 / 4, 1 / 4), 4: MIDDLE + INNER, 6: INNER + OUTER}
# Sizes at the start, of the shortest edge: circles that fill an equilateral face.
RADII = {
    1: 1 / (2 * math.sqrt(3)),
    3: 1 / (2 * (math.sqrt(3) + 1)),
    4: 1 / (4 * math.sqrt(3)),
    6: 1 / (4 + 2 * math.sqrt(3)),
}


def face_places(faces: int, per_face: int) -> tuple[Tensor, Tensor]:
    """(face int64 [N], barycentric [N, 3]) of the Gaussians, face by face; `per_face` is 1, 3, 4 or 6."""
    places = torch.tensor(PLACES[per_face])
    return torch.arange(faces).repeat_interleave(per_face), places.repeat(faces, 1)


def gaussian_table(
    vertices: Tensor,  # [V, 3]
    faces: Tensor,  # [F, 3]
    per_face: int,
    colors: Tensor,  # [N, 3] sRGB in [0, 1]
    scale: float,  # factor on the sizes
    opacity: float,
) -> Table:
    """The columns of the Gaussians on a mesh that learn, at the start.

    `sizes` [N, 2] are logarithms in the mesh's unit, `spins` [N, 2] complex numbers, opacities and colours as in the
    3DGS PLY.
    """
    corners = vertices[faces]
    shortest = (corners - corners.roll(1, 1)).norm(dim=-1).amin(1).repeat_interleave(per_face)
    sizes = (shortest * RADII[per_face] * scale).clamp_min(LEAST_SIZE).log()
    return Table(
        {
            "sizes": sizes[:, None].repeat(1, 2),
            "spins": sizes.new_tensor([1.0, 0.0]).repeat(len(sizes), 1),
            "opacity_logits": torch.full_like(sizes, math.log(opacity / (1 - opacity))),
            "sh": ((colors - 0.5) / SH_C0).clamp(-MOST_COLOR, MOST_COLOR)[:, None],
        }
    )


def face_frames(vertices: Tensor, faces: Tensor) -> Tensor:
    """Rotations [F, 3, 3] whose columns are a face's normal, the direction of its edge from 1 to 0, and their product.

    A face without area has the frame of some plane that holds its edge, one without edges that of the axes.
    """
    a, b, c = vertices[faces].unbind(1)
    along = torch.nn.functional.normalize(a - b, dim=-1, eps=1e-20)
    along = torch.where(along.square().sum(-1, keepdim=True) > 0.5, along, filled((1.0, 0.0, 0.0), along.device))
    normal = torch.linalg.cross(b - a, c - a)
    # The axis that is farthest from the edge spans a plane with it.
    axis = torch.nn.functional.one_hot(along.detach().abs().argmin(-1), 3).to(along)
    flat = normal.detach().norm(dim=-1, keepdim=True) <= FLAT * (a - b).detach().square().sum(-1, keepdim=True)
    normal = torch.nn.functional.normalize(
        torch.where(flat, torch.linalg.cross(along, axis), normal), dim=-1, eps=1e-30
    )
    return torch.stack([normal, along, torch.linalg.cross(normal, along)], dim=-1)


def bound_gaussians(
    table: Table,
    vertices: Tensor,  # [V, 3]
    faces: Tensor,  # [F, 3]
    face: Tensor,  # [N]
    barycentric: Tensor,  # [N, 3]
    thickness: float,  # standard deviation along the normal, world units
) -> Gaussians:
    """The Gaussians of a mesh as it is; differentiable in the vertices and all columns.

    The first axis is the normal R0, the others are a B1 + b B2 and -b B1 + a B2 of the face's frame (R0, B1, B2), with
    the normalised spin a + bi.
    """
    frame = face_frames(vertices, faces)[face]
    spin = torch.nn.functional.normalize(table["spins"], dim=-1)
    a, b = spin[:, :1], spin[:, 1:]
    normal, first, second = frame.unbind(-1)
    axes = torch.stack([normal, a * first + b * second, a * second - b * first], dim=-1)
    thin = table["sizes"].new_full((len(face), 1), math.log(thickness))
    return Gaussians(
        means=(barycentric[..., None] * vertices[faces[face]]).sum(1),
        quats=quat_from_rotation(axes),
        log_scales=torch.cat([thin, table["sizes"]], dim=-1),
        opacity_logits=table["opacity_logits"],
        sh=table["sh"],
    )
