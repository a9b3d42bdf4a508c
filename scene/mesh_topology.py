"""Normals, areas, edges and connected parts of triangle meshes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor


def face_normals(
    vertices: Tensor,  # [..., V, 3]
    faces: Tensor,  # [F, 3]
) -> Tensor:
    """Unit normals [..., F, 3], towards where the corners are seen counter-clockwise; zero where a face has no area."""
    return torch.nn.functional.normalize(_double_areas(vertices, faces), dim=-1, eps=1e-30)


def face_areas(vertices: Tensor, faces: Tensor) -> Tensor:
    """Areas [..., F] of the faces, in square units.

    >>> face_areas(torch.tensor([[0.0, 0, 0], [2, 0, 0], [0, 3, 0]]), torch.tensor([[0, 1, 2]])).tolist()
    [3.0]
    """
    return _double_areas(vertices, faces).norm(dim=-1) / 2


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Unit normals [V, 3] of the vertices [V, 3]: means of those of their faces, weighted by area.

    Zero at a vertex without a face that has an area.
    """
    total = torch.zeros_like(vertices)
    weighted = _double_areas(vertices, faces)
    for corner in range(3):
        total.index_add_(0, faces[:, corner], weighted)
    return torch.nn.functional.normalize(total, dim=-1, eps=1e-30)


def _double_areas(vertices: Tensor, faces: Tensor) -> Tensor:
    """Normals [..., F, 3] as long as twice the faces' areas."""
    a, b, c = (vertices[..., faces[:, corner], :] for corner in range(3))
    return torch.linalg.cross(b - a, c - a)


@dataclass(frozen=True)
class Edges:
    """Edges of a mesh, each once."""

    ends: Tensor  # [E, 2] int64 vertices, the lower first
    faces: Tensor  # [E] int64 how many faces have it
    of_face: Tensor  # [F, 3] int64 edges (0, 1), (1, 2) and (2, 0) of each face

    @property
    def boundary(self) -> Tensor:
        """bool [E]: edges of one face, where the surface ends."""
        return self.faces == 1

    @property
    def non_manifold(self) -> Tensor:
        """bool [E]: edges of three faces or more, where it branches."""
        return self.faces > 2


def edges(faces: Tensor) -> Edges:
    """The edges of faces [F, 3].

    >>> found = edges(torch.tensor([[0, 1, 2], [2, 1, 3]]))
    >>> len(found.ends), int(found.boundary.sum()), int(found.non_manifold.sum())
    (5, 4, 0)
    """
    pairs = torch.stack([faces, faces.roll(-1, 1)], dim=-1).reshape(-1, 2).sort(dim=1).values
    width = int(pairs.max()) + 1 if len(pairs) else 1
    keys, of_face, count = (pairs[:, 0] * width + pairs[:, 1]).unique(return_inverse=True, return_counts=True)
    ends = torch.stack([keys.div(width, rounding_mode="floor"), keys % width], dim=1)
    return Edges(ends, count, of_face.reshape(-1, 3))


def components(faces: Tensor, vertex_count: int) -> Tensor:
    """int64 [F]: number of the connected part that each face [F, 3] is of; faces with a common vertex are connected.

    The numbers are 0, 1, ... without a gap, in the order in which the parts first occur.
    """
    corners = faces.cpu().numpy()
    rows, columns = corners.ravel(), np.roll(corners, -1, axis=1).ravel()
    graph = coo_matrix((np.ones(len(rows), np.int8), (rows, columns)), shape=(vertex_count, vertex_count))
    labels = connected_components(graph.tocsr(), directed=False)[1]
    _, first, inverse = np.unique(labels[corners[:, 0]], return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return torch.from_numpy(rank[inverse.reshape(-1)]).to(faces.device)


def euler_characteristic(faces: Tensor) -> int:
    """V - E + F of the vertices that have a face: 2 for a sphere, 0 for a torus, 1 for a disk."""
    return int(len(faces.unique()) - len(edges(faces).ends) + len(faces))
