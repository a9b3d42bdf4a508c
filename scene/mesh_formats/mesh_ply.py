"""Meshes as PLY files: vertices with normals and colours, and polygons as lists of corners."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import BadInputError
from ..ply_file import COLORS, columns, read_element, read_header, rgb, write_elements
from ..ply_lists import read_lists
from ..triangle_mesh import Mesh
from .mesh_parts import Part, joined
from .obj_writer import moving_note
from .texture_files import texture_from_file

METRIC = "metric 1"
_CORNERS = ("vertex_indices", "vertex_index")
_TEXTURE = "TextureFile"  # a comment, as MeshLab writes it
_UV = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"))


def read_ply_mesh(path: Path) -> Mesh:
    """The mesh in a PLY file; polygons become fans of triangles.

    Raises BadInputError for a file that is damaged, and for one without faces.
    """
    header = read_header(path)
    vertex, face = header.element("vertex"), header.element("face")
    if vertex is None or not {"x", "y", "z"} <= set(vertex.properties):
        raise BadInputError(f"{path} has no vertices: an element 'vertex' with x, y and z is expected.")
    listed = next((name for name in _CORNERS if face and any(name == n and c for n, _, c in face.layout)), None)
    if face is None or listed is None:
        raise BadInputError(f"{path} has no faces: an element 'face' with a list 'vertex_indices' is expected.")
    rows = read_element(header, "vertex")
    names = set(vertex.properties)
    lengths, corners = read_lists(header, "face", listed)
    faces = _fans(path, lengths, corners)
    notes: list[str] = []
    colors = rgb(rows) if names.issuperset(COLORS) else None
    normals = columns(rows, ("nx", "ny", "nz")) if names >= {"nx", "ny", "nz"} else None
    uv_names = next((pair for pair in _UV if names.issuperset(pair)), None)
    uv, texture = None, _texture(path, header.comments, notes) if uv_names else None
    if uv_names is not None and texture is not None:
        uv = columns(rows, uv_names)
        uv[:, 1] = 1 - uv[:, 1]
    if any(name == "texcoord" for name, _, counted in face.layout if counted):
        notes.append(f"{path.name} has texture coordinates for each face, which are not read; a .glb or .obj has them.")
    part = Part(columns(rows, ("x", "y", "z")), faces, normals, colors, uv, texture)
    return joined(path, [part], notes, metric=METRIC in header.comments)


def _fans(path: Path, lengths: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """int64 [F, 3] triangles of polygons."""
    if len(lengths) and lengths.min() < 3:
        raise BadInputError(f"{path}: a face has {lengths.min()} corners; 3 or more are expected.")
    with np.errstate(invalid="ignore"):
        whole = corners.astype(np.int64)
    if (lengths == 3).all():
        return whole.reshape(-1, 3)
    first = np.cumsum(lengths) - lengths
    polygon = np.repeat(np.arange(len(lengths)), lengths - 2)
    number = np.arange(len(polygon)) - np.repeat(np.cumsum(lengths - 2) - (lengths - 2), lengths - 2)
    start = first[polygon]
    return np.stack([whole[start], whole[start + number + 1], whole[start + number + 2]], axis=1)


def _texture(path: Path, comments: tuple[str, ...], notes: list[str]) -> np.ndarray | None:
    named = [c[len(_TEXTURE) :].strip() for c in comments if c.startswith(_TEXTURE + " ")]
    if not named:
        return None
    try:
        return texture_from_file(path, named[0], path.name)
    except BadInputError as error:
        notes.append(f"{path.name}: its texture was left out. {error}")
        return None


def write_ply_mesh(path: Path, mesh: Mesh) -> tuple[str, ...]:
    """Write a mesh, the first moment of one that moves. Returns sentences on what is lost."""
    kinds = [("x", "<f4"), ("y", "<f4"), ("z", "<f4")]
    kinds += [("nx", "<f4"), ("ny", "<f4"), ("nz", "<f4")] if mesh.normals is not None else []
    kinds += [(color, "u1") for color in COLORS] if mesh.colors is not None else []
    rows = np.zeros(len(mesh.vertices), kinds)
    for i, (axis, color) in enumerate(zip("xyz", COLORS, strict=True)):
        rows[axis] = mesh.vertices[:, i].numpy()
        if mesh.normals is not None:
            rows[f"n{axis}"] = mesh.normals[:, i].numpy()
        if mesh.colors is not None:
            rows[color] = mesh.colors[:, i].numpy()
    faces = np.zeros(len(mesh), [("vertex_indices", "<i4", (3,))])
    faces["vertex_indices"] = mesh.faces.numpy()
    write_elements(path, {"vertex": rows, "face": faces}, (METRIC,) if mesh.metric else ())
    lost = ("PLY has no texture here; a .glb or .obj keeps it.",) if mesh.texture is not None else ()
    return (*lost, *moving_note(mesh.time_range_s, "PLY"))
