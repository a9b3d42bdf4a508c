"""`Document`: the JSON of a glTF file that is being written, and the one buffer that it speaks of."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..formats.gltf_container import COMPONENTS, FLOAT, WIDTHS

ARRAY, INDEX = 34962, 34963  # what a buffer view is bound to
USHORT, UINT = 5123, 5125


class Document:
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

    def add(
        self, array: np.ndarray, target: int | None = None, *, bounds: bool = False, normalized: bool = False
    ) -> int:
        """The index of a new accessor for rows [N, width] of float32, or of unsigned 16- or 32-bit numbers.

        With `bounds` it has the least and the largest of each column, as POSITION and the times of animations must.
        """
        component = {"f": FLOAT, "u": USHORT if array.itemsize == 2 else UINT}[array.dtype.kind]
        kind = next(name for name, width in WIDTHS.items() if width == array.shape[1])
        stored = np.ascontiguousarray(array, COMPONENTS[component])
        accessor: dict[str, Any] = {
            "bufferView": self.view(stored.tobytes(), target),
            "componentType": component,
            "count": len(stored),
            "type": kind,
        }
        if normalized:
            accessor["normalized"] = True
        if bounds:
            accessor |= {"min": stored.min(0).tolist(), "max": stored.max(0).tolist()}
        self.table["accessors"].append(accessor)
        return len(self.table["accessors"]) - 1

    def body(self) -> bytes:
        self.table["buffers"][0]["byteLength"] = self._length
        return b"".join(self._pieces)
