"""Losses on meshes: as rigid as possible, smooth, and pictures of little variation (DreamMesh4D, sections 3.2, 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor

from ....scene.cotangent_weights import WeightedEdges
from ....scene.geometry import rotation_from_quat
from ....scene.mesh_topology import face_normals


def arap_energy(
    rest: Tensor,  # [V, 3]
    moved: Tensor,  # [..., V, 3]
    quats: Tensor,  # [..., V, 4] wxyz of each vertex
    edges: WeightedEdges,
) -> Tensor:
    """The sum over all edges from i to j, both ways, of c_ij |(v'_i - v'_j) - R_i (v_i - v_j)|^2, [...]."""
    ends = torch.cat([edges.ends, edges.ends.flip(1)])
    before = rest[ends[:, 0]] - rest[ends[:, 1]]
    after = moved[..., ends[:, 0], :] - moved[..., ends[:, 1], :]
    turned = (rotation_from_quat(quats)[..., ends[:, 0], :, :] @ before[..., None])[..., 0]
    return (edges.weights.repeat(2) * (after - turned).square().sum(-1)).sum(-1)


def face_pairs(edges_of_face: Tensor) -> Tensor:
    """[P, 2] faces on both sides of each edge that two faces have, from the edges [F, 3] of each face."""
    flat = edges_of_face.flatten()
    order = flat.argsort(stable=True)
    sorted_edges, faces = flat[order], order.div(3, rounding_mode="floor")
    _, count = sorted_edges.unique_consecutive(return_counts=True)
    first = (count.cumsum(0) - count)[count == 2]
    return torch.stack([faces[first], faces[first + 1]], dim=1)


def normal_consistency(vertices: Tensor, faces: Tensor, pairs: Tensor) -> Tensor:
    """Mean of 1 - cos of the angles between the normals of neighbouring faces [P, 2], of vertices [..., V, 3]."""
    normals = face_normals(vertices, faces)
    return (1 - (normals[..., pairs[:, 0], :] * normals[..., pairs[:, 1], :]).sum(-1)).mean()


def laplacian_loss(vertices: Tensor, ends: Tensor) -> Tensor:
    """Mean distance of vertices [V, 3] from the mean of their neighbours, by edges [E, 2]."""
    both = torch.cat([ends, ends.flip(1)])
    total = torch.zeros_like(vertices).index_add_(0, both[:, 0], vertices[both[:, 1]])
    count = torch.bincount(both[:, 0], minlength=len(vertices)).clamp_min(1)
    return (total / count[:, None] - vertices).norm(dim=-1).mean()


def total_variation(picture: Tensor) -> Tensor:
    """Mean squared difference of neighbouring pixels of a picture [H, W, C], down and across."""
    return (picture[1:] - picture[:-1]).square().mean() + (picture[:, 1:] - picture[:, :-1]).square().mean()
