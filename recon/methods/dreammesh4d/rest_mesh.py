"""The mesh that is bound to Gaussians and moved: one vertex for each place, no crumbs, and not too many faces."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from ....render.mesh_rendering import surface_colors
from ....scene.errors import BadInputError
from ....scene.mesh_topology import components, face_areas
from ....scene.triangle_mesh import Mesh
from ...mesh.decimation import clustered
from .deformation_graph import surface_nodes

CRUMB = 0.02  # of all faces: connected parts below are left out
LEAST_AREA = 1e-10  # of the mean face: below it a face has no normal
COLOR_SAMPLES = 200_000


def rest_mesh(mesh: Mesh, most_faces: int) -> Mesh:
    """Places and faces of a mesh at its first moment, ready to be bound; colours are left to `colors_near`.

    Vertices at one place become one, as seams of textures and flat shading have several there. Raises BadInputError
    where no face with an area is left.
    """
    still = mesh.at()
    places, which = still.vertices.unique(dim=0, return_inverse=True)
    faces = which[still.faces]
    area = face_areas(places.double(), faces)
    kept = (area > LEAST_AREA * area.mean()) & (faces != faces.roll(1, 1)).all(1)
    if not bool(kept.any()):
        raise BadInputError("The static mesh has no face with an area, so there is nothing to move.")
    found = clustered(Mesh(places, faces)[kept], most_faces)
    part = components(found.faces, len(found.vertices))
    large = torch.bincount(part) >= CRUMB * len(part)
    return found[large[part]]


def colors_near(mesh: Mesh, places: Tensor, generator: torch.Generator) -> Tensor:
    """sRGB [N, 3] in [0, 1] of the surface of a mesh nearest to places [N, 3], by many samples of it."""
    still = mesh.at().to("cpu")
    face, barycentric = surface_nodes(still.vertices, still.faces, COLOR_SAMPLES, "random", generator)
    samples = (barycentric[..., None] * still.vertices[still.faces[face]]).sum(1)
    nearest = torch.from_numpy(np.asarray(cKDTree(samples.numpy()).query(places.cpu().numpy())[1]))
    return surface_colors(still, face[nearest], barycentric[nearest]).to(places)
