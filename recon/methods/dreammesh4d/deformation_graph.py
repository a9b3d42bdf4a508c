"""The deformation graph: nodes on the surface, and which of them carry each vertex (DreamMesh4D)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ....scene.farthest_points import farthest_points
from ....scene.geodesics import HeatGeodesics
from ....scene.mesh_topology import face_areas

CANDIDATES = 8  # for each node that is chosen to lie far from the others
_UNREACHABLE = 1e6  # of the mesh's extent, added to the straight distance of nodes on another part


@dataclass(frozen=True)
class DeformationGraph:
    """M nodes at rest, and K of them with weights for each of V vertices."""

    nodes: Tensor  # [M, 3]
    index: Tensor  # [V, K] int32, nearest first
    weights: Tensor  # [V, K] of at least 0 that sum to one


def surface_nodes(
    vertices: Tensor,  # [V, 3]
    faces: Tensor,  # [F, 3]
    count: int,
    sampling: Literal["random", "spread"],
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """(face [M], barycentric [M, 3]) of places on the surface: evenly by chance, or such that lie far apart."""
    drawn = count if sampling == "random" else CANDIDATES * count
    areas = face_areas(vertices, faces).double().cpu()
    face = torch.multinomial(areas, drawn, replacement=True, generator=generator)
    u, v = torch.rand(2, drawn, generator=generator)
    root = u.sqrt()
    barycentric = torch.stack([1 - root, root * (1 - v), root * v], dim=1)
    if sampling == "spread":
        places = (barycentric[..., None] * vertices.cpu()[faces.cpu()[face]]).sum(1)
        chosen = farthest_points(places, count).sort().values
        face, barycentric = face[chosen], barycentric[chosen]
    return face, barycentric


def deformation_graph(
    vertices: Tensor,  # [V, 3]
    faces: Tensor,  # [F, 3]
    count: int,
    neighbours: int,
    *,
    links: Literal["geodesic", "euclidean"] = "geodesic",
    link_weights: Literal["clamped", "released"] = "clamped",
    sampling: Literal["random", "spread"] = "random",
    generator: torch.Generator,
) -> DeformationGraph:
    """Nodes on a mesh, and for each vertex the `neighbours` nearest of them by way of the surface, or straight.

    Weights fall with the straight distance d_k as (1 - d_k / d_K+1)^2, which is clamped at zero: of nodes in the order
    of another distance a nearer one can be farther. `released` does not clamp, and with straight links weighs by the
    squared distance itself, so that the farthest node counts most.
    """
    face, barycentric = surface_nodes(vertices, faces, count, sampling, generator)
    rest, corners = vertices.detach().double().cpu(), faces.cpu()[face]
    nodes = (barycentric.double()[..., None] * rest[corners]).sum(1)
    straight = torch.cdist(rest, nodes)
    order = straight
    if links == "geodesic":
        order = HeatGeodesics(vertices, faces).distances(face, barycentric).T
        far = _UNREACHABLE * float(straight.max())
        order = torch.where(order.isfinite(), order, far + straight)
    near = min(neighbours, count)
    found = order.topk(min(near + 1, count), dim=1, largest=False, sorted=True)
    index = found.indices[:, :near]
    distance = straight.gather(1, index)
    if links == "euclidean" and link_weights == "released":
        weights = distance.square()
    else:
        # The only nodes there are all reach as far as twice the farthest.
        reach = straight.gather(1, found.indices[:, near:]) if count > near else 2 * distance[:, -1:]
        share = 1 - distance / reach.clamp_min(1e-30)
        weights = share.square() if link_weights == "released" else share.clamp_min(0).square()
    if links == "geodesic":  # what lies on another part carries only what no node of its own part does
        reached = found.values[:, :near] < _UNREACHABLE * float(straight.max())
        weights = torch.where(reached | ~reached.any(1, keepdim=True), weights, 0.0)
    nothing = weights.sum(1) <= 0
    weights[nothing] = torch.nn.functional.one_hot(torch.zeros((), dtype=torch.long), near).double()
    weights = weights / weights.sum(1, keepdim=True)
    device = vertices.device
    return DeformationGraph(nodes.float().to(device), index.int().to(device), weights.float().to(device))
