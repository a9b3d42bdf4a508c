"""Cotangent weights of the edges of a mesh (Pinkall and Polthier 1993), that know the surface, not its triangles."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .mesh_topology import edges

LEAST = 1e-12  # of a corner's product of sides: the sine of an angle in a face without area


class WeightedEdges(NamedTuple):
    """The edges of a mesh, each once, with their weights."""

    ends: Tensor  # [E, 2] int64
    weights: Tensor  # [E]


def cotangent_weights(vertices: Tensor, faces: Tensor) -> WeightedEdges:
    """Half the sum of the cotangents of the angles opposite to each edge, of vertices [V, 3] and faces [F, 3].

    Sparse: a number for each edge. Negative where the angles sum to more than half a turn; an edge of one face, or of
    three, has the cotangents of these.
    """
    found = edges(faces)
    corners = vertices[faces]
    halves = []
    for corner in range(3):  # edge (0, 1) is opposite to corner 2, (1, 2) to 0, (2, 0) to 1
        apex = corners[:, (corner + 2) % 3]
        a, b = corners[:, corner] - apex, corners[:, (corner + 1) % 3] - apex
        sine = torch.linalg.cross(a, b).norm(dim=-1)
        size = (a.norm(dim=-1) * b.norm(dim=-1)).clamp_min(1e-30)
        halves.append(0.5 * (a * b).sum(-1) / torch.maximum(sine, LEAST * size))
    weights = vertices.new_zeros(len(found.ends))
    weights.index_add_(0, found.of_face.T.flatten(), torch.cat(halves))
    return WeightedEdges(found.ends, weights)
