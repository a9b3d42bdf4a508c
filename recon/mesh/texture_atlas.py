"""A texture for a mesh: its faces laid out in a square by xatlas, and every pixel coloured by what is there."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...render.mesh_rasterization import rasterize_triangles
from ...scene.errors import BadInputError
from ...scene.mesh_topology import vertex_normals
from ...scene.triangle_mesh import Mesh

PADDING_PX = 2
_SPREAD = 4  # pixels by which colours go on beyond their faces, so that nothing else shines in at the seams


def load_xatlas() -> Any:
    """The package. Raises BadInputError where it is not installed."""
    try:
        return importlib.import_module("xatlas")
    except ImportError as error:
        raise BadInputError(
            "A texture needs the package xatlas, which is not installed; `pip install fewview[mesh]` brings it, and "
            "without --texture the vertices have colours."
        ) from error


def textured(
    mesh: Mesh,
    size_px: int,
    colors: Callable[[Tensor, Tensor], Tensor],  # places [n, 3] and normals [n, 3] to sRGB [n, 3] in [0, 1]
) -> Mesh:
    """The mesh with a texture of about that many pixels a side; vertices are doubled along its seams."""
    xatlas = load_xatlas()
    atlas = xatlas.Atlas()
    atlas.add_mesh(mesh.vertices.numpy(), mesh.faces.numpy().astype(np.uint32))
    packing = xatlas.PackOptions()
    packing.resolution, packing.padding, packing.bilinear = size_px, PADDING_PX, True
    atlas.generate(pack_options=packing)
    kept, faces, uv = atlas[0]
    kept, faces = torch.from_numpy(kept.astype(np.int64)), torch.from_numpy(faces.astype(np.int64))
    uv = torch.from_numpy(np.ascontiguousarray(uv)).float()
    width, height = atlas.width, atlas.height
    normals = mesh.normals if mesh.normals is not None else vertex_normals(mesh.vertices, mesh.faces)
    vertices, normals = mesh.vertices[kept], normals[kept]
    corners = uv[faces].double() * torch.tensor([width, height])
    every = torch.ones(len(faces), dtype=torch.bool)
    hits = rasterize_triangles(corners, torch.ones(faces.shape, dtype=torch.float64), every, width, height)
    face, weights = faces[hits.face[hits.hit]], hits.weights[hits.hit][..., None].float()
    places = (vertices[face] * weights).sum(1)
    facing = torch.nn.functional.normalize((normals[face] * weights).sum(1), dim=1)
    picture = torch.zeros(height, width, 3)
    picture[hits.hit] = colors(places, facing)
    picture = _spread(picture, hits.hit)
    return replace(
        mesh,
        vertices=vertices,
        faces=faces,
        normals=normals,
        colors=None,
        uv=uv,
        texture=(picture * 255).round().to(torch.uint8),
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
