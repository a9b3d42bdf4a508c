"""Writing a mesh as glTF 2.0: one primitive of triangles, its texture within, its motion as morph targets.

| attribute       | type   | value                                                                      |
|-----------------|--------|----------------------------------------------------------------------------|
| POSITION        | VEC3   | float32, with the bounds that glTF asks for                                |
| NORMAL          | VEC3   | float32                                                                    |
| COLOR_0         | VEC4   | 16-bit linear, which brings every 8-bit sRGB level back; alpha 1           |
| TEXCOORD_0      | VEC2   | float32                                                                    |
| targets[t - 1]  | VEC3   | where the vertices are at moment t, less where they are at the first       |

Colours and textures of photographs have their light in them, so the material is KHR_materials_unlit where there are
some. The weights of the targets go from one moment to the next on straight lines, and so do the vertices.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..control_points import ControlPointMotion
from ..files import write_bytes
from ..formats.gltf_container import compact_json, data_uri, glb_bytes
from ..formats.packing import linear_light
from ..png import encode_png
from ..triangle_mesh import Mesh
from .gltf_document import ARRAY, INDEX, Document
from .gltf_mesh_reader import METRIC, TRIANGLES
from .gltf_skin_writer import add_skin

UNLIT = "KHR_materials_unlit"


def write_gltf_mesh(path: Path, mesh: Mesh, skin: ControlPointMotion | None = None) -> tuple[str, ...]:
    """Write a `.glb`, or a `.gltf` with its buffer inside where the name ends so; y is up.

    With `skin`, a row of which is that of a vertex, the mesh is bound to joints that move, and has no morph targets.
    Returns sentences on what others may not take from it. Raises BadInputError beyond 4 GiB.
    """
    document = Document()
    arrays = {"POSITION": _floats(mesh.vertices), "NORMAL": None if mesh.normals is None else _floats(mesh.normals)}
    arrays["COLOR_0"] = None if mesh.colors is None or mesh.texture is not None else _linear(mesh.colors.numpy())
    arrays["TEXCOORD_0"] = None if mesh.uv is None else _floats(mesh.uv)
    attributes = {
        name: document.add(array, ARRAY, bounds=name == "POSITION", normalized=name == "COLOR_0")
        for name, array in arrays.items()
        if array is not None
    }
    corners = mesh.faces.numpy().reshape(-1, 1)
    narrow = np.uint16 if len(mesh.vertices) < 2**16 else np.uint32
    primitive: dict[str, Any] = {
        "attributes": attributes,
        "indices": document.add(corners.astype(narrow), INDEX),
        "mode": TRIANGLES,
        "material": 0,
    }
    table = document.table
    base: dict[str, Any] = {"metallicFactor": 0, "roughnessFactor": 1}
    material: dict[str, Any] = {"pbrMetallicRoughness": base, "doubleSided": True}
    if mesh.texture is not None:
        base["baseColorTexture"] = {"index": 0}
        png = encode_png(np.ascontiguousarray(mesh.texture.numpy()))
        table["images"] = [{"bufferView": document.view(png), "mimeType": "image/png"}]
        table["textures"] = [{"source": 0, "sampler": 0}]
        table["samplers"] = [{"magFilter": 9729, "minFilter": 9987}]  # linear, and with mipmaps
    if "COLOR_0" in attributes or mesh.texture is not None:
        material["extensions"] = {UNLIT: {}}
        table["extensionsUsed"] = [UNLIT]
    table["materials"] = [material]
    shape: dict[str, Any] = {"primitives": [primitive]}
    notes: tuple[str, ...] = ()
    if mesh.positions is not None and mesh.times_s is not None:
        notes = _add_motion(document, primitive, shape, mesh.positions.numpy(), mesh.times_s.numpy())
    elif skin is not None:
        notes = add_skin(document, primitive, skin)
    table["meshes"] = [shape]
    if not mesh.metric:
        table["asset"]["extras"] = {METRIC: False}
        notes += ("A unit of the mesh is not known to be a metre, which glTF takes it for.",)
    body = document.body()
    if path.suffix.lower() == ".gltf":
        table["buffers"][0]["uri"] = data_uri(body)
        write_bytes(path, compact_json(table) + b"\n")
    else:
        write_bytes(path, glb_bytes(compact_json(table), body))
    return notes


def _add_motion(
    document: Document, primitive: dict[str, Any], shape: dict[str, Any], positions: np.ndarray, times_s: np.ndarray
) -> tuple[str, ...]:
    """Morph targets, and the animation that goes from one to the next. glTF has no times below zero."""
    moments = len(positions)
    if moments < 2:
        return ()
    start = min(float(times_s[0]), 0.0)
    primitive["targets"] = [
        {"POSITION": document.add(np.ascontiguousarray(later - positions[0]), ARRAY, bounds=True)}
        for later in positions[1:]
    ]
    shape["weights"] = [0.0] * (moments - 1)
    weights = np.eye(moments, dtype=np.float32)[:, 1:].reshape(-1, 1)
    sampler = {
        "input": document.add((times_s.astype(np.float64) - start).astype(np.float32)[:, None], bounds=True),
        "output": document.add(weights),
        "interpolation": "LINEAR",
    }
    channel = {"sampler": 0, "target": {"node": 0, "path": "weights"}}
    document.table["animations"] = [{"name": "motion", "samplers": [sampler], "channels": [channel]}]
    return (f"Its first moment, {times_s[0]:g} s, is at 0 s in the file.",) if start < 0 else ()


def _floats(tensor: Any) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().float().numpy())


def _linear(colors: np.ndarray) -> np.ndarray:
    """uint16 [V, 4] linear of sRGB levels [V, 3] (IEC 61966-2-1)."""
    table = (linear_light(np.arange(256) / 255) * 65535 + 0.5).astype(np.uint16)
    return np.concatenate([table[colors], np.full((len(colors), 1), 65535, np.uint16)], axis=1)
