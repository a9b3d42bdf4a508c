"""Points from any file that holds some and no splat: a PLY of points or of a mesh, a glTF mesh."""

from __future__ import annotations

from pathlib import Path

from .errors import BadInputError
from .formats.gltf_points import is_gltf_mesh, read_gltf_points
from .ply_file import read_header
from .point_cloud import PointCloud
from .points_ply import read_points


def holds_points(path: Path) -> bool:
    """True where a file has points, or vertices, and is no splat; False for what is damaged, too."""
    if not path.is_file():
        return False
    return _is_ply_of_points(path) or is_gltf_mesh(path)


def read_any_points(path: Path) -> tuple[PointCloud, tuple[str, ...]]:
    """(the points, sentences on what is not shown of them). Raises BadInputError where there are none."""
    notes = []
    if not _is_ply_of_points(path):
        cloud, faces = read_gltf_points(path)
    else:
        header = read_header(path)
        vertex, face = header.element("vertex"), header.element("face")
        cloud, faces = read_points(path), 0 if face is None else face.count
        if vertex is not None and 0 < len(cloud) < vertex.count:
            lost = vertex.count - len(cloud)
            notes.append(f"{lost:,} of {vertex.count:,} points of {path.name} are not finite and are left out.")
    if len(cloud) == 0:
        raise BadInputError(f"{path} has no points with finite positions, so there is nothing to show.")
    if faces:
        notes.append(f"{path.name} is a mesh; its vertices show as points, its {faces:,} faces do not.")
    return cloud, tuple(notes)


def _is_ply_of_points(path: Path) -> bool:
    with path.open("rb") as file:
        if file.read(3) != b"ply":
            return False
    try:
        vertex = read_header(path).element("vertex")
    except BadInputError:  # said by the reader of splats
        return False
    found = set() if vertex is None else set(vertex.properties)
    return found.issuperset("xyz") and not found & {"opacity", "scale_0", "rot_0", "f_dc_0", "packed_position"}
