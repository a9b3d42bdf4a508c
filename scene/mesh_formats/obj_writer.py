"""Wavefront OBJ, with an MTL file and a PNG beside it where there is a texture."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from ..files import write_bytes
from ..png import encode_png
from ..triangle_mesh import Mesh
from .obj_reader import METRIC

_MATERIAL = "surface"


def write_obj(path: Path, mesh: Mesh) -> tuple[str, ...]:
    """Write a mesh, the first moment of one that moves; `NAME.mtl` and `NAME.png` come first where it has a texture.

    Returns a sentence on what is lost.
    """
    out = io.BytesIO()
    if mesh.metric:
        out.write(METRIC + b"\n")
    if mesh.texture is not None:
        picture = path.with_suffix(".png")
        write_bytes(picture, encode_png(np.ascontiguousarray(mesh.texture.numpy())))
        material = f"newmtl {_MATERIAL}\nKa 0 0 0\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {picture.name}\n"
        write_bytes(path.with_suffix(".mtl"), material.encode())
        out.write(f"mtllib {path.with_suffix('.mtl').name}\nusemtl {_MATERIAL}\n".encode())
    # Nine digits bring every float32 back as it was.
    position = " ".join(["%.9g"] * 3)
    if mesh.colors is None:
        np.savetxt(out, mesh.vertices.numpy(), f"v {position}")
    else:
        np.savetxt(
            out, np.hstack([mesh.vertices.double().numpy(), mesh.colors.numpy() / 255]), f"v {position} %.5g %.5g %.5g"
        )
    if mesh.uv is not None:
        np.savetxt(out, np.array([0, 1]) + np.array([1, -1]) * mesh.uv.double().numpy(), "vt %.9g %.9g")
    if mesh.normals is not None:
        np.savetxt(out, mesh.normals.numpy(), f"vn {position}")
    corner = {(0, 0): "%d", (1, 0): "%d/%d", (0, 1): "%d//%d", (1, 1): "%d/%d/%d"}[
        (int(mesh.uv is not None), int(mesh.normals is not None))
    ]
    indices = np.repeat(mesh.faces.numpy() + 1, corner.count("%d"), axis=1)
    np.savetxt(out, indices, f"f {corner} {corner} {corner}")
    write_bytes(path, out.getvalue())
    return moving_note(mesh.time_range_s, "OBJ")


def moving_note(time_range_s: tuple[float, float] | None, format_name: str) -> tuple[str, ...]:
    """A sentence for formats that hold one moment, where a mesh moves."""
    if time_range_s is None:
        return ()
    first, last = time_range_s
    moves = f"The mesh moves from {first:g} s to {last:g} s, and {format_name} holds one moment: the first."
    return (f"{moves} A .glb holds all.",)
