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

from ..files import write_bytes
from ..formats.gltf_container import COMPONENTS, FLOAT, WIDTHS, compact_json, data_uri, glb_bytes
from ..formats.packing import linear_light
from ..png import encode_png
from ..triangle_mesh import Mesh
from .gltf_mesh_reader import METRIC, TRIANGLES

UNLIT = "KHR_materials_unlit"
_ARRAY, _INDEX = 34962, 34963  # what a buffer view is bound to
_USHORT, _UINT = 5123, 5125


def write_gltf_mesh(path: Path, mesh: Mesh) -> tuple[str, ...]:
    """Write a `.glb`, or a `.gltf` with its buffer inside where the name ends so; y is up.

    Returns sentences on what others may not take from it. Raises BadInputError beyond 4 GiB.
    """
    document = _Document()
    arrays = {"POSITION": _floats(mesh.vertices), "NORMAL": None if mesh.normals is None else _floats(mesh.normals)}
    arrays["COLOR_0"] = None if mesh.colors is None or mesh.texture is not None else _linear(mesh.colors.numpy())
    arrays["TEXCOORD_0"] = None if mesh.uv is None else _floats(mesh.uv)
    attributes = {
        name: document.add(array, _ARRAY, bounds=name == "POSITION")
        for name, array in arrays.items()
        if array is not None
    }
    corners = mesh.faces.numpy().reshape(-1, 1)
    narrow = np.uint16 if len(mesh.vertices) < 2**16 else np.uint32
    primitive: dict[str, Any] = {
        "attributes": attributes,
        "indices": document.add(corners.astype(narrow), _INDEX),
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
    document: _Document, primitive: dict[str, Any], shape: dict[str, Any], positions: np.ndarray, times_s: np.ndarray
) -> tuple[str, ...]:
    """Morph targets, and the animation that goes from one to the next. glTF has no times below zero."""
    moments = len(positions)
    if moments < 2:
        return ()
    start = min(float(times_s[0]), 0.0)
    primitive["targets"] = [
        {"POSITION": document.add(np.ascontiguousarray(later - positions[0]), _ARRAY, bounds=True)}
        for later in positions[1:]
    ]
    shape["weights"] = [0.0] * (moments - 1)
    weights = np.eye(moments, dtype=np.float32)[:, 1:].reshape(-1, 1)
    sampler = {
        "input": document.add((times_s.astype(np.float64) - start).astype(np.float32)[:, None], None, bounds=True),
        "output": document.add(weights, None),
        "interpolation": "LINEAR",
    }
    channel = {"sampler": 0, "target": {"node": 0, "path": "weights"}}
    document.table["animations"] = [{"name": "motion", "samplers": [sampler], "channels": [channel]}]
    return (f"Its first moment, {times_s[0]:g} s, is at 0 s in the file.",) if start < 0 else ()


class _Document:
    """The JSON of a file, and the buffer that it speaks of."""

    def __init__(self) -> None:
        self.table: dict[str, Any] = {
            "asset": {"version": "2.0", "generator": "Fewview"},
            "scene": 0,
            "scenes": [{"nodes": [0]}],
            "nodes": [{"mesh": 0}],
            "accessors": [],
            "bufferViews": [],
            "buffers": [{"byteLength": 0}],
        }
        self._pieces: list[bytes] = []
        self._length = 0

    def view(self, data: bytes, target: int | None = None) -> int:
        """The index of a new buffer view; each begins at a multiple of 4 bytes."""
        view: dict[str, Any] = {"buffer": 0, "byteOffset": self._length, "byteLength": len(data)}
        if target is not None:
            view["target"] = target
        self.table["bufferViews"].append(view)
        self._pieces.append(data + bytes(-len(data) % 4))
        self._length += len(self._pieces[-1])
        return len(self.table["bufferViews"]) - 1

    def add(self, array: np.ndarray, target: int | None, *, bounds: bool = False) -> int:
        """The index of a new accessor for rows [N, width] of float32, or of unsigned 16- or 32-bit numbers."""
        component = {"f": FLOAT, "u": _USHORT if array.itemsize == 2 else _UINT}[array.dtype.kind]
        kind = next(name for name, width in WIDTHS.items() if width == array.shape[1])
        stored = np.ascontiguousarray(array, COMPONENTS[component])
        accessor: dict[str, Any] = {
            "bufferView": self.view(stored.tobytes(), target),
            "componentType": component,
            "count": len(stored),
            "type": kind,
        }
        if component == _USHORT and target == _ARRAY:
            accessor["normalized"] = True
        if bounds:
            accessor |= {"min": stored.min(0).tolist(), "max": stored.max(0).tolist()}
        self.table["accessors"].append(accessor)
        return len(self.table["accessors"]) - 1

    def body(self) -> bytes:
        self.table["buffers"][0]["byteLength"] = self._length
        return b"".join(self._pieces)


def _floats(tensor: Any) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().float().numpy())


def _linear(colors: np.ndarray) -> np.ndarray:
    """uint16 [V, 4] linear of sRGB levels [V, 3] (IEC 61966-2-1)."""
    table = (linear_light(np.arange(256) / 255) * 65535 + 0.5).astype(np.uint16)
    return np.concatenate([table[colors], np.full((len(colors), 1), 65535, np.uint16)], axis=1)
