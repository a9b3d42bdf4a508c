"""Splats on surfaces that are known: flat Gaussians spread over a mesh."""

from __future__ import annotations

import math

import torch
from fewview.scene.gaussians import SH_C0, Gaussians
from fewview.scene.geometry import quat_from_rotation
from fewview.scene.mesh_topology import edges, face_areas, face_normals
from fewview.scene.triangle_mesh import Mesh


def flat_gaussians(mesh: Mesh, count: int, seed: int = 0) -> Gaussians:
    """Opaque disks along the faces, dense enough to hide what lies behind, coloured by where they are."""
    generator = torch.Generator().manual_seed(seed)
    areas = face_areas(mesh.vertices, mesh.faces).double()
    ends = areas.cumsum(0)
    # Stratified, so that no gap is left between samples.
    at = (torch.arange(count, dtype=torch.float64) + torch.rand(count, generator=generator)) / count * ends[-1]
    face = torch.searchsorted(ends, at).clamp(max=len(mesh) - 1)
    u, v = torch.rand(2, count, generator=generator)
    weights = torch.stack([1 - u.sqrt(), u.sqrt() * (1 - v), u.sqrt() * v], dim=1)
    means = (mesh.vertices[mesh.faces[face]] * weights[..., None]).sum(1)
    normal = face_normals(mesh.vertices, mesh.faces)[face]
    other = torch.where(normal[:, :1].abs() < 0.9, torch.tensor([[1.0, 0, 0]]), torch.tensor([[0.0, 1, 0]]))
    first = torch.nn.functional.normalize(torch.linalg.cross(normal, other), dim=1)
    rotation = torch.stack([first, torch.linalg.cross(normal, first), normal], dim=-1)
    wide = disk_size(mesh, count)
    log_scales = torch.tensor([wide, wide, wide / 15]).log().repeat(count, 1)
    out = torch.nn.functional.normalize(means, dim=1)
    return Gaussians(
        means, quat_from_rotation(rotation), log_scales, torch.full((count,), 3.0), (out / 2)[:, None] / SH_C0
    )


def disk_size(mesh: Mesh, count: int) -> float:
    """Standard deviation of the disks: nearly as wide as the way to the next."""
    return 0.8 * math.sqrt(float(face_areas(mesh.vertices, mesh.faces).sum()) / count)


def tunnel_box(half: float = 1.0, hole: float = 0.5, times: int = 3) -> Mesh:
    """A box with a square hole through it along z."""
    rings = [
        (half, -half),
        (half, half),
        (hole, half),
        (hole, -half),
    ]  # outer bottom, outer top, inner top, inner bottom
    corners = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    vertices = torch.tensor([[x * size, y * size, z] for size, z in rings for x, y in corners])
    faces = []
    for ring in range(4):
        for i in range(4):
            a, b = 4 * ring + i, 4 * ring + (i + 1) % 4
            c, d = 4 * ((ring + 1) % 4) + (i + 1) % 4, 4 * ((ring + 1) % 4) + i
            faces += [(a, b, c), (a, c, d)]
    mesh = Mesh(vertices, torch.tensor(faces))
    for _ in range(times):
        found = edges(mesh.faces)
        a, b, c = (len(mesh.vertices) + found.of_face).unbind(1)
        p, q, r = mesh.faces.unbind(1)
        cut = torch.cat([torch.stack(t, 1) for t in ((p, a, c), (a, q, b), (c, b, r), (a, b, c))])
        mesh = Mesh(torch.cat([mesh.vertices, mesh.vertices[found.ends].mean(1)]), cut)
    return mesh
