"""Mesh files: `load_mesh` decides by content, `save_mesh` by the name's ending.

As with splats, a mesh is in the world frame of its run, and a file holds it as other programs expect it: y up, and in
glTF metres. A side file `NAME.EXT.json` brings it back into its world frame when it is loaded.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from ..carry import carry
from ..control_points import ControlPointMotion
from ..errors import BadInputError
from ..formats.axes import Y_UP, file_from_world
from ..formats.gltf import is_gltf
from ..formats.gltf_container import read_gltf
from ..formats.gltf_points import is_gltf_mesh
from ..formats.side_file import SideFile, check_side_path, read_side_file, remove_side_file, write_side_file
from ..geometry import Similarity
from ..ply_file import read_header
from ..triangle_mesh import Mesh
from .gltf_mesh_reader import has_faces, read_gltf_mesh
from .gltf_mesh_writer import write_gltf_mesh
from .mesh_ply import read_ply_mesh, write_ply_mesh
from .obj_reader import read_obj
from .obj_writer import moving_note, write_obj

__all__ = ["MESH_ENDINGS", "is_mesh_file", "load_mesh", "save_mesh"]

MESH_ENDINGS = (".glb", ".gltf", ".obj", ".ply")
MAX_JOINTS = 65_534  # 16 bits name them, and one stands still


def is_mesh_file(path: Path) -> bool:
    """True where a file is a mesh: an OBJ by its name, a PLY or a glTF by the faces in it."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(64)
    if head[:3] == b"ply":
        try:
            header = read_header(path)
        except BadInputError:  # said by who reads it
            return False
        face = header.element("face")
        return face is not None and face.count > 0 and "vertex" in {e.name for e in header.elements}
    if not is_gltf(path, head):
        return path.suffix.lower() == ".obj"
    try:
        return is_gltf_mesh(path) and has_faces(read_gltf(path))
    except BadInputError:
        return False


def load_mesh(path: Path | str) -> Mesh:
    """The mesh in a `.glb`, `.gltf`, `.obj` or `.ply` file, in the world frame that it was written from.

    Without a side file it is in that of the file, with y up. Raises BadInputError for a file that is damaged, cut short
    or has no faces, and for indices that lead nowhere.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise BadInputError(f"{path} could not be read: {error.strerror or error}.") from error
    if head[:3] == b"ply":
        mesh = read_ply_mesh(path)
    elif is_gltf(path, head):
        mesh = read_gltf_mesh(path)
    elif path.suffix.lower() == ".obj":
        mesh = read_obj(path)
    else:
        raise BadInputError(f"{path} is no mesh file that is known here; one of {', '.join(MESH_ENDINGS)} is expected.")
    side, notes = read_side_file(path)
    if side is None:
        return replace(mesh, up=Y_UP, notes=(*mesh.notes, *notes))
    return replace(mesh.moved(side.world_from_file), up=side.up, notes=(*mesh.notes, *notes))


def save_mesh(path: Path | str, mesh: Mesh, skin: ControlPointMotion | None = None) -> tuple[str, ...]:
    """Write a mesh in the format that the name's ending asks for; equal input gives equal bytes.

    With `skin`, whose rows are the vertices of a still mesh in its canonical place, a glTF file has joints that carry
    them, which takes a fraction of the room of morph targets; other formats get the first moment.

    Returns sentences on what the file does not hold. Raises BadInputError for an unknown ending, for a mesh without
    faces and for vertices that are no numbers.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in MESH_ENDINGS:
        raise BadInputError(f"{path.name} does not end like a mesh file; one of {', '.join(MESH_ENDINGS)} is expected.")
    if len(mesh) == 0:
        raise BadInputError("The mesh has no faces, so nothing was written.")
    lost: tuple[str, ...] = ()
    if skin is not None:
        _check_skin(mesh, skin)
        if ending not in (".glb", ".gltf"):
            lost = moving_note(skin.time_range_s, ending[1:].upper())
            mesh, skin = _first_moment(mesh, skin), None
    moments = mesh.vertices if mesh.positions is None else mesh.positions
    if not bool(moments.isfinite().all()):
        raise BadInputError("Some vertices of the mesh are no finite numbers, so nothing was written.")
    frame = file_from_world(mesh.up)
    still = torch.equal(frame.rotation, Similarity.identity().rotation)
    if not still:
        check_side_path(path)
    turned = mesh.to("cpu") if still else mesh.to("cpu").moved(frame)
    if ending in (".glb", ".gltf"):
        notes = write_gltf_mesh(path, turned, skin if skin is None or still else skin.moved(frame))
    elif ending == ".obj":
        notes = write_obj(path, turned)
    else:
        notes = write_ply_mesh(path, turned)
    if still and mesh.up == Y_UP:
        remove_side_file(path)
    else:
        write_side_file(path, SideFile(frame.inverse(), mesh.up, antialiased=False))
    return (*lost, *notes)


def _check_skin(mesh: Mesh, skin: ControlPointMotion) -> None:
    if mesh.positions is not None or len(skin.neighbours) != len(mesh.vertices):
        raise ValueError(
            f"expected a still mesh with a row of the skin for each of its {len(mesh.vertices)} vertices, found "
            f"{len(skin.neighbours)}"
        )
    if len(skin) > MAX_JOINTS or not all(bool(t.isfinite().all()) for t in (skin.points, skin.shifts, skin.turns)):
        raise BadInputError(
            f"The skin has {len(skin)} control points, of which at most {MAX_JOINTS} can be joints, or some that are "
            "no finite numbers; nothing was written."
        )


def _first_moment(mesh: Mesh, skin: ControlPointMotion) -> Mesh:
    """The mesh as the skin has it at its first moment."""
    turns, shifts = skin.turns[0], skin.shifts[0]
    first, _ = carry(mesh.vertices, skin.points, turns, shifts, shifts[:, :0], skin.neighbours, skin.weights)
    return replace(mesh, vertices=first, normals=None)
