"""Open3D's Poisson reconstruction and decimation: the one place that imports it, when it is asked for."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...scene.errors import BadInputError
from ...scene.triangle_mesh import Mesh

_SPARSEST = 0.02  # share of the vertices with the fewest points about them, which Poisson has invented


def can_be_used() -> bool:
    """True where the package and what it takes from the system are there."""
    try:
        load()
    except BadInputError:
        return False
    return True


def load() -> Any:
    """The package. Raises BadInputError that says what to install."""
    try:
        return importlib.import_module("open3d")
    except ImportError as error:
        raise BadInputError(
            f"Open3D cannot be imported ({error}); `pip install fewview[mesh]` brings it, and --surface tsdf does "
            "without."
        ) from error
    except OSError as error:  # a library that its wheel takes from the system
        raise BadInputError(
            f"Open3D cannot be loaded ({error}); on Debian `apt-get install libusb-1.0-0 libgl1` brings what it needs, "
            "and --surface tsdf does without."
        ) from error


def poisson_surface(points: Tensor, normals: Tensor, depth: int) -> Mesh:
    """Positions and faces of the screened Poisson surface (Kazhdan and Hoppe 2013) of oriented points [n, 3].

    `depth` is that of its octree: 2^depth cells a side. What has hardly any points about it is left out.
    """
    open3d = load()
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points.double().numpy()))
    cloud.normals = open3d.utility.Vector3dVector(normals.double().numpy())
    found, densities = open3d.geometry.TriangleMesh.create_from_point_cloud_poisson(cloud, depth=depth, n_threads=1)
    densities = np.asarray(densities)
    found.remove_vertices_by_mask(densities < np.quantile(densities, _SPARSEST))
    return _own(found)


def decimated(mesh: Mesh, most_faces: int) -> Mesh:
    """Positions and faces of the mesh after edge collapses by quadric error (Garland and Heckbert 1997)."""
    open3d = load()
    theirs = open3d.geometry.TriangleMesh(
        open3d.utility.Vector3dVector(mesh.vertices.double().numpy()),
        open3d.utility.Vector3iVector(mesh.faces.int().numpy()),
    )
    found = _own(theirs.simplify_quadric_decimation(most_faces))
    return replace(mesh, vertices=found.vertices, faces=found.faces)


def _own(theirs: Any) -> Mesh:
    vertices = torch.from_numpy(np.asarray(theirs.vertices)).float()
    return Mesh(vertices, torch.from_numpy(np.asarray(theirs.triangles)).long())
