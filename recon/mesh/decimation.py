"""Fewer faces by clustering vertices, each cluster put where its faces' planes meet best.

Source: Lindstrom, Out-of-core simplification of large polygonal models, SIGGRAPH 2000; Garland and Heckbert's quadrics.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...scene.mesh_topology import face_areas, face_normals
from ...scene.triangle_mesh import Mesh

_TRIES = 12
_FLAT = 1e-3  # weight of the cluster's mean, against planes that leave a direction open


def clustered(mesh: Mesh, most_faces: int) -> Mesh:
    """Positions and faces of a mesh with at most so many faces; the same mesh where it has no more.

    Time and memory are linear in the faces. Sheets nearer to each other than a cell may join.
    """
    if len(mesh) <= most_faces:
        return mesh
    area = float(face_areas(mesh.vertices, mesh.faces).double().sum())
    cell = math.sqrt(2 * area / most_faces)  # on a flat piece a cell gives two faces
    best = None
    low, high = 0.0, math.inf
    for _ in range(_TRIES):
        found = clusters_of_size(mesh, cell)
        if len(found) > most_faces:
            low = cell
        else:
            high = cell
            if best is None or len(found) > len(best):
                best = found
            if len(found) > 0.9 * most_faces:
                break
        cell = (low + high) / 2 if high < math.inf else 1.2 * cell
    return best if best is not None else found


def clusters_of_size(mesh: Mesh, cell: float) -> Mesh:
    """Positions and faces with one vertex for each cube of a grid of this size that has some."""
    low = mesh.vertices.double().amin(0)
    place = ((mesh.vertices.double() - low) / cell).floor().long()
    width = place.amax(0) + 1
    key = (place[:, 0] * width[1] + place[:, 1]) * width[2] + place[:, 2]
    _, cluster = key.unique(return_inverse=True)
    faces, vertices = cluster[mesh.faces], _best_places(mesh, cluster, cell)
    faces = faces[(faces != faces.roll(1, 1)).all(1)]
    return Mesh(vertices.float(), _once(faces, len(vertices)))[:]


def _best_places(mesh: Mesh, cluster: Tensor, cell: float) -> Tensor:
    """float64 [C, 3]: where the squared distances to the planes of each cluster's faces are least."""
    count = int(cluster.max()) + 1
    number = torch.zeros(count, dtype=torch.float64).index_add_(
        0, cluster, torch.ones(len(cluster), dtype=torch.float64)
    )
    mean = torch.zeros(count, 3, dtype=torch.float64).index_add_(0, cluster, mesh.vertices.double())
    mean /= number[:, None]
    vertices = mesh.vertices.double()
    normals, areas = face_normals(vertices, mesh.faces), face_areas(vertices, mesh.faces)
    planes = areas[:, None, None] * normals[:, :, None] * normals[:, None, :]
    matrix, right = torch.zeros(count, 3, 3, dtype=torch.float64), torch.zeros(count, 3, dtype=torch.float64)
    for corner in range(3):
        own = cluster[mesh.faces[:, corner]]
        matrix.index_add_(0, own, planes)
        # Relative to the mean, so that scenes far from their origin lose nothing.
        offset = vertices[mesh.faces[:, corner]] - mean[own]
        right.index_add_(0, own, (planes @ offset[..., None])[..., 0])
    trace = matrix.diagonal(dim1=1, dim2=2).sum(1).clamp_min(1e-300)
    matrix += _FLAT * trace[:, None, None] * torch.eye(3, dtype=torch.float64)
    shift = torch.linalg.solve(matrix, right)
    length = shift.norm(dim=1, keepdim=True)
    return mean + shift * (cell / length.clamp_min(cell))


def _once(faces: Tensor, vertex_count: int) -> Tensor:
    """Each face once; two that lie on each other with opposite sides are a fold, and go."""
    order = faces.sort(dim=1).values
    key = (order[:, 0] * vertex_count + order[:, 1]) * vertex_count + order[:, 2]
    if vertex_count >= 2**21:  # the product would not fit
        _, key = torch.unique(order, dim=0, return_inverse=True)
    cyclic = (faces[:, 0] == order[:, 0]) & (faces[:, 1] == order[:, 1])
    cyclic |= (faces[:, 1] == order[:, 0]) & (faces[:, 2] == order[:, 1])
    cyclic |= (faces[:, 2] == order[:, 0]) & (faces[:, 0] == order[:, 1])
    _, which = key.unique(return_inverse=True)
    sides = torch.zeros(int(which.max()) + 1 if len(which) else 0, dtype=torch.int64)
    sides.index_add_(0, which, torch.where(cyclic, 1, -1))
    first = torch.full_like(sides, len(faces)).scatter_reduce_(0, which, torch.arange(len(faces)), "amin")
    return faces[first[sides != 0].sort().values]
