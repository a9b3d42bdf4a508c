"""The visual hull of a few transparent photographs as a mesh: a shape where nothing else is known of one."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import cKDTree

from ...scene.capture import Capture
from ...scene.mesh_topology import vertex_normals
from ...scene.triangle_mesh import Mesh
from ..evidence.visual_hull import carved_hull
from .marching_cubes import marching_cubes

_RIM = 2  # empty voxels around the hull, so that its surface is closed


def hull_mesh(capture: Capture) -> Mesh | None:
    """A closed mesh of the hull in the world of the cameras, coloured by the photographs.

    The edges of its voxels are rounded over one of them. None where fewer than two photographs have silhouettes, or
    nothing is in all of them.
    """
    hull = carved_hull(capture)
    points = None if hull is None else hull.points()
    if hull is None or points is None:
        return None
    padded = torch.nn.functional.pad(hull.filled[None].float(), (_RIM,) * 6)
    inside = torch.nn.functional.avg_pool3d(padded, 3, stride=1, padding=1)[0]
    found, faces = marching_cubes(0.5 - inside.numpy())
    if len(faces) == 0:
        return None
    vertices = (hull.corner + (torch.from_numpy(found).double() - _RIM + 0.5) * hull.size).float()
    nearest = torch.from_numpy(np.asarray(cKDTree(points.xyz.numpy()).query(vertices.numpy())[1]))
    corners = torch.from_numpy(faces)
    metric = capture.points is not None and capture.points.metric
    return Mesh(vertices, corners, vertex_normals(vertices, corners), points.rgb[nearest], metric=metric)
