"""A texture for a mesh: its faces laid out in a square, and every pixel coloured by what is there."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from ...render.mesh_rasterization import rasterize_triangles
from ...scene.mesh_topology import vertex_normals
from ...scene.triangle_mesh import Mesh

PADDING_PX = 2
LEAST_CELL_PX = 5  # of a square with two faces
_SPREAD = 4  # pixels by which colours go on beyond their faces, so that nothing else shines in at the seams
PAIRS_NOTE = (
    "Without the package xatlas every two faces have a square of their own in the texture, so it shows seams when it "
    "is made smaller, and the file is larger; `pip install 'fewview[mesh]'` brings it."
)


@dataclass(frozen=True)
class Layout:
    """Places of F faces in a texture, and the face that each of its pixels shows."""

    kept: Tensor  # [V'] the mesh's vertex that each vertex of the layout is
    faces: Tensor  # [F, 3] into those
    uv: Tensor  # [V', 2] from the upper left corner
    face: Tensor  # [H, W] int64, -1 for none
    weights: Tensor  # [H, W, 3] barycentric


def textured(
    mesh: Mesh,
    size_px: int,
    colors: Callable[[Tensor, Tensor], Tensor],  # places [n, 3] and normals [n, 3] to sRGB [n, 3] in [0, 1]
) -> Mesh:
    """The mesh with a texture of about that many pixels a side; vertices are doubled along its seams.

    xatlas lays faces out in charts; where it is not installed, pairs of faces in squares, which a note says.
    """
    xatlas = installed_xatlas()
    layout = paired_layout(mesh, size_px) if xatlas is None else charted_layout(mesh, size_px, xatlas)
    normals = mesh.normals if mesh.normals is not None else vertex_normals(mesh.vertices, mesh.faces)
    vertices, normals = mesh.vertices[layout.kept], normals[layout.kept]
    shown = layout.face >= 0
    corners, weights = layout.faces[layout.face[shown]], layout.weights[shown][..., None].float()
    places = (vertices[corners] * weights).sum(1)
    facing = torch.nn.functional.normalize((normals[corners] * weights).sum(1), dim=1)
    picture = torch.zeros(*shown.shape, 3)
    picture[shown] = colors(places, facing)
    return replace(
        mesh,
        vertices=vertices,
        faces=layout.faces,
        normals=normals,
        colors=None,
        uv=layout.uv,
        texture=(_spread(picture, shown) * 255).round().to(torch.uint8),
        notes=mesh.notes if xatlas is not None else (*mesh.notes, PAIRS_NOTE),
    )


def installed_xatlas() -> ModuleType | None:
    """The package; None where it is not installed."""
    try:
        return importlib.import_module("xatlas")
    except ImportError:
        return None


def charted_layout(mesh: Mesh, size_px: int, xatlas: ModuleType) -> Layout:
    """Faces in charts of neighbours, as xatlas cuts and packs them."""
    atlas = xatlas.Atlas()
    atlas.add_mesh(mesh.vertices.numpy(), mesh.faces.numpy().astype(np.uint32))
    packing = xatlas.PackOptions()
    packing.resolution, packing.padding, packing.bilinear = size_px, PADDING_PX, True
    atlas.generate(pack_options=packing)
    kept, faces, uv = (torch.from_numpy(np.ascontiguousarray(part)) for part in atlas[0])
    kept, faces, uv = kept.long(), faces.long(), uv.float()
    width, height = atlas.width, atlas.height
    corners = uv[faces].double() * torch.tensor([width, height])
    every = torch.ones(len(faces), dtype=torch.bool)
    hits = rasterize_triangles(corners, torch.ones(faces.shape, dtype=torch.float64), every, width, height)
    return Layout(kept, faces, uv, torch.where(hits.hit, hits.face, -1), hits.weights)


def paired_layout(mesh: Mesh, size_px: int) -> Layout:
    """Two faces in each square of a grid, either side of its diagonal, all of one size.

    A face's corners are at the centres of pixels, and the pixels around it are its own, so that no other shines in.
    """
    count = len(mesh)
    across = max(1, int(np.ceil(np.sqrt((count + 1) // 2))))
    cell = max(LEAST_CELL_PX, size_px // across)
    side, leg = across * cell, cell - 3.0  # a face's two short sides, in pixels
    number = torch.arange(count)
    origin = cell * torch.stack([(number // 2) % across, number // 2 // across], dim=1).double()[:, None]
    lower = torch.tensor([[0.5, 0.5], [0.5 + leg, 0.5], [0.5, 0.5 + leg]], dtype=torch.float64)
    places = origin + torch.where((number % 2 == 0)[:, None, None], lower, cell - lower)
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    square, column, row = (y // cell) * across + x // cell, x % cell, y % cell
    second = column + row >= cell
    along, down = (torch.where(second, cell - 1 - n, n).double() / leg for n in (column, row))
    weights = torch.stack([1 - along - down, along, down], dim=-1).clamp_min(0)
    face = 2 * square + second
    return Layout(
        mesh.faces.flatten(),
        torch.arange(3 * count).reshape(-1, 3),
        (places / side).flatten(0, 1).float(),
        torch.where(face < count, face, -1),
        weights / weights.sum(-1, keepdim=True),
    )


def _spread(picture: Tensor, known: Tensor) -> Tensor:
    """The picture [H, W, 3] with unknown pixels near known ones filled by the means of their neighbours."""
    colors, there = picture.permute(2, 0, 1)[None], known[None, None].float()
    for _ in range(_SPREAD):
        near = torch.nn.functional.avg_pool2d(there, 3, stride=1, padding=1)
        mean = torch.nn.functional.avg_pool2d(colors * there, 3, stride=1, padding=1) / near.clamp_min(1e-6)
        new = (there == 0) & (near > 0)
        colors, there = torch.where(new, mean, colors), torch.where(new, 1.0, there)
    return colors[0].permute(1, 2, 0)
