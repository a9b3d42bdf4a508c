"""Cleaning of fused surfaces: parts that hang in the air, and small holes."""

from __future__ import annotations

import numpy as np
import torch

from ...scene.mesh_topology import components, edges, face_areas
from ...scene.triangle_mesh import Mesh

SMALLEST_PART = 0.02  # of the largest part's area
LONGEST_RIM = 48  # edges of a hole that is closed


def largest_parts(mesh: Mesh, share: float = SMALLEST_PART) -> tuple[Mesh, int]:
    """(the connected parts with at least that share of the largest one's area, how many were dropped).

    A share of 1 keeps the largest alone.
    """
    part = components(mesh.faces, len(mesh.vertices))
    area = torch.zeros(int(part.max()) + 1).index_add_(0, part, face_areas(mesh.vertices, mesh.faces))
    keep = area >= share * area.max()
    return mesh[keep[part]], int((~keep).sum())


def without_small_holes(mesh: Mesh, longest_rim: int = LONGEST_RIM) -> tuple[Mesh, int]:
    """(positions and faces with holes of up to so many edges closed by a fan around their middle, how many there were).

    Rims that touch themselves stay open.
    """
    rims = [rim for rim in _rims(mesh) if len(rim) <= longest_rim]
    if not rims:
        return mesh, 0
    middles = torch.stack([mesh.vertices[rim].mean(0) for rim in rims])
    fans = []
    for i, rim in enumerate(rims):
        corners = torch.tensor(rim)
        # A rim runs along the faces beside it, so the new faces run against it.
        fans.append(torch.stack([corners.roll(-1), corners, torch.full_like(corners, len(mesh.vertices) + i)], dim=1))
    vertices = torch.cat([mesh.vertices, middles])
    return Mesh(vertices, torch.cat([mesh.faces, *fans])), len(rims)


def _rims(mesh: Mesh) -> list[list[int]]:
    """Closed chains of vertices along boundary edges, in the direction of the faces that have them."""
    found = edges(mesh.faces)
    lonely = found.boundary[found.of_face]
    directed = torch.stack([mesh.faces, mesh.faces.roll(-1, 1)], dim=-1)[lonely].numpy()
    starts, counts = np.unique(directed[:, 0], return_counts=True)
    forked = set(starts[counts > 1].tolist())
    follows = dict(directed.tolist())
    rims = []
    while follows:
        rim = [next(iter(follows))]
        while (after := follows.pop(rim[-1], None)) is not None and after != rim[0]:
            rim.append(after)
        if after is not None and not forked.intersection(rim):
            rims.append(rim)
    return rims
