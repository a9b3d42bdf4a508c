"""Distances from points to meshes, and even samples of their surfaces."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from .mesh_topology import face_areas
from .triangle_mesh import Mesh

_FIRST = 8  # faces by their middles that are looked at for each point
_PAIRS = 2**20  # of points and faces that are looked at together


def point_mesh_distance(points: Tensor, mesh: Mesh) -> Tensor:
    """float64 [n]: distance of points [n, 3] to the nearest point of a mesh's faces.

    Exact: no face can be nearer than its middle less its radius, so more faces are looked at until that decides.
    """
    vertices = mesh.vertices.detach().cpu().double()
    corners = vertices[mesh.faces.cpu()]
    middles = corners.mean(1)
    radius = float((corners - middles[:, None]).norm(dim=2).max())
    tree = cKDTree(middles.numpy())
    xyz = points.detach().cpu().double()
    best = torch.full((len(xyz),), torch.inf, dtype=torch.float64)
    open_rows, count = torch.arange(len(xyz)), min(_FIRST, len(corners))
    while len(open_rows):
        chunk = max(1, _PAIRS // count)
        still = []
        for begin in range(0, len(open_rows), chunk):
            rows = open_rows[begin : begin + chunk]
            far, near = tree.query(xyz[rows].numpy(), k=np.arange(1, count + 1))
            found = _point_triangle_distance(xyz[rows][:, None], corners[torch.from_numpy(near)])
            best[rows] = found.amin(1)
            still.append(rows[best[rows] > torch.from_numpy(far[:, -1]) - radius])
        if count == len(corners):
            break
        open_rows, count = torch.cat(still), min(4 * count, len(corners))
    return best


def _point_triangle_distance(p: Tensor, triangles: Tensor) -> Tensor:
    """[...] distances of points [..., 3] to triangles [..., 3, 3]: to the plane where its foot is inside, else to an
    edge."""
    a, b, c = triangles.unbind(-2)
    normal = torch.linalg.cross(b - a, c - a)
    inside = torch.ones(torch.broadcast_shapes(p.shape, a.shape)[:-1], dtype=torch.bool)
    best = torch.full(inside.shape, torch.inf, dtype=p.dtype)
    for start, end in ((a, b), (b, c), (c, a)):
        along = end - start
        share = ((p - start) * along).sum(-1) / (along * along).sum(-1).clamp_min(1e-300)
        foot = start + share.clamp(0, 1)[..., None] * along
        best = torch.minimum(best, (p - foot).norm(dim=-1))
        inside &= (torch.linalg.cross(along, p - start) * normal).sum(-1) >= 0
    length = normal.norm(dim=-1)
    height = ((p - a) * normal).sum(-1).abs() / length.clamp_min(1e-300)
    return torch.where(inside & (length > 0), torch.minimum(best, height), best)


def surface_samples(mesh: Mesh, count: int, seed: int = 0) -> Tensor:
    """float64 [count, 3]: points that are evenly spread by chance on the faces."""
    generator = torch.Generator().manual_seed(seed)
    vertices = mesh.vertices.detach().cpu().double()
    faces = mesh.faces.cpu()
    ends = face_areas(vertices, faces).cumsum(0)
    face = torch.searchsorted(ends, torch.rand(count, generator=generator, dtype=torch.float64) * ends[-1])
    u, v = torch.rand(2, count, generator=generator, dtype=torch.float64)
    root = u.sqrt()
    weights = torch.stack([1 - root, root * (1 - v), root * v], dim=1)
    return (vertices[faces[face.clamp(max=len(faces) - 1)]] * weights[..., None]).sum(1)
