"""Pictures of meshes: their own colours, or their shape."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..scene.cameras import Cameras
from ..scene.mesh_topology import face_normals
from ..scene.triangle_mesh import Mesh
from .mesh_rasterization import Hits, rasterize_mesh

GREY = (0.75, 0.75, 0.75)  # of a mesh without colours
_AMBIENT = 0.25


@dataclass(frozen=True)
class MeshRendering:
    """One camera's picture of a mesh. Every pixel shows one face or none: nothing is smoothed."""

    rgb: Tensor  # [H, W, 3] sRGB in [0, 1]
    shape: Tensor  # [H, W] in [0, 1], grey as if lit from the camera; 1 where nothing is
    depth: Tensor  # [H, W] z in the camera, 0 where nothing is
    hits: Hits


def render_mesh(
    mesh: Mesh,  # still
    camera: Cameras,  # []
    background: Tensor | None = None,  # [3] sRGB in [0, 1]; black when None
) -> MeshRendering:
    """Draw the colours or the texture of a mesh without light, as photographs of it have theirs in them."""
    hits = rasterize_mesh(mesh.vertices, mesh.faces, camera)
    face, weights = hits.face[hits.hit], hits.weights[hits.hit].float()
    behind = torch.zeros(3) if background is None else background
    rgb = behind.to(mesh.vertices).expand(*hits.face.shape, 3).clone()
    rgb[hits.hit] = surface_colors(mesh, face, weights)
    shape = torch.ones(hits.face.shape).to(mesh.vertices)
    normals = face_normals(mesh.vertices, mesh.faces)[face] @ camera.cam_from_world[:3, :3].T.to(mesh.vertices)
    points = (mesh.vertices[mesh.faces[face]] * weights[..., None]).sum(1)
    rays = torch.nn.functional.normalize(points - camera.centers.to(points), dim=1)
    rays = rays @ camera.cam_from_world[:3, :3].T.to(mesh.vertices)
    shape[hits.hit] = _AMBIENT + (1 - _AMBIENT) * (normals * rays).sum(1).abs().clamp(max=1)
    return MeshRendering(rgb, shape, hits.depth.float(), hits)


def surface_colors(
    mesh: Mesh,
    face: Tensor,  # [n] int64
    weights: Tensor,  # [n, 3] barycentric
) -> Tensor:
    """sRGB [n, 3] in [0, 1] at places on faces; grey where the mesh has no colours."""
    corners = mesh.faces[face]
    if mesh.texture is not None and mesh.uv is not None:
        return texture_colors(mesh.texture, (mesh.uv[corners] * weights[..., None]).sum(1))
    if mesh.colors is not None:
        return (mesh.colors[corners].to(weights) * weights[..., None]).sum(1) / 255
    return weights.new_tensor(GREY).expand(len(face), 3)


def texture_colors(texture: Tensor, uv: Tensor) -> Tensor:
    """Bilinear sRGB [n, 3] in [0, 1] of a texture [H, W, 3] at uv [n, 2]; outside of it the picture is repeated."""
    height, width = texture.shape[:2]
    place = (uv - uv.floor()) * uv.new_tensor([width, height]) - 0.5
    corner = place.floor()
    share = place - corner
    x, y = corner.long().unbind(1)
    x0, x1, y0, y1 = x % width, (x + 1) % width, y % height, (y + 1) % height

    def pixels(row: Tensor, column: Tensor) -> Tensor:
        return texture[row, column].to(uv) / 255

    top = torch.lerp(pixels(y0, x0), pixels(y0, x1), share[:, :1])
    bottom = torch.lerp(pixels(y1, x0), pixels(y1, x1), share[:, :1])
    return torch.lerp(top, bottom, share[:, 1:])
