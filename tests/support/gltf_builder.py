"""glTF files with splats made by hand: attributes from Python numbers, to say what our writer never does."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any

from fewview.scene.formats import gltf
from fewview.scene.splat import StaticSplat

CODES = {5120: "b", 5121: "B", 5122: "h", 5123: "H", 5125: "I", 5126: "f"}
WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}
SPLAT = "KHR_gaussian_splatting"


class Builder:
    """A .gltf by hand: attributes from Python numbers, each with a buffer of its own."""

    def __init__(self) -> None:
        self.root: dict[str, Any] = {
            "asset": {"version": "2.0"}, "extensionsUsed": [SPLAT], "scene": 0, "scenes": [{"nodes": [0]}],
            "nodes": [{"mesh": 0}], "meshes": [], "accessors": [], "bufferViews": [], "buffers": [],
        }  # fmt: skip

    def attribute(self, kind: str, component: int, rows: list[Any], normalized: bool = False, gap: int = 0) -> int:
        code = "<" + WIDTHS[kind] * CODES[component]
        data = b"".join(struct.pack(code, *row) + bytes(gap) for row in rows)
        view = {"buffer": len(self.root["buffers"]), "byteLength": len(data), "byteOffset": 0}
        if gap:
            view["byteStride"] = struct.calcsize(code) + gap
        uri = "data:application/octet-stream;base64," + base64.b64encode(data).decode()
        self.root["buffers"].append({"byteLength": len(data), "uri": uri})
        self.root["bufferViews"].append(view)
        accessor = {"bufferView": len(self.root["bufferViews"]) - 1, "componentType": component, "type": kind}
        self.root["accessors"].append({**accessor, "count": len(rows), "normalized": normalized})
        return len(self.root["accessors"]) - 1

    def mesh(self, degree: int = 0, **other: int) -> dict[str, Any]:
        """A splat of two Gaussians, with some of its attributes replaced; returns its primitive."""
        attributes = {
            "POSITION": self.attribute("VEC3", 5126, [(1, 2, 3), (-1, 0, 2)]),
            f"{SPLAT}:ROTATION": self.attribute("VEC4", 5126, [(0, 0, 0, 1), (1, 0, 0, 0)]),
            f"{SPLAT}:SCALE": self.attribute("VEC3", 5126, [(1, 2, 4), (0.5, 0.5, 0)]),
            f"{SPLAT}:OPACITY": self.attribute("SCALAR", 5126, [(0.5,), (1,)]),
        }
        for band in range(degree + 1):
            for n in range(2 * band + 1):
                rows = [(band, n, 0.5), (-band, -n, 0.25)]
                attributes[f"{SPLAT}:SH_DEGREE_{band}_COEF_{n}"] = self.attribute("VEC3", 5126, rows)
        attributes |= {name if name == "POSITION" else f"{SPLAT}:{name}": index for name, index in other.items()}
        primitive = {"attributes": attributes, "mode": 0}
        primitive["extensions"] = {SPLAT: {"kernel": "ellipse", "colorSpace": "srgb_rec709_display"}}
        self.root["meshes"].append({"primitives": [primitive]})
        return primitive

    def read(self, folder: Path) -> StaticSplat:
        (folder / "a.gltf").write_text(json.dumps(self.root))
        return gltf.read(folder / "a.gltf")
