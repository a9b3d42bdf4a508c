"""glTF 2.0 as a container: `.glb` and `.gltf`, their buffers, and accessors as NumPy arrays.

Every index, offset and count is checked against what it points into before anything is allocated. What the arrays
mean is the business of `gltf.py`. Source: registry.khronos.org/glTF, specification 2.0, sections 3.6 and 4.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

import numpy as np

from ..errors import BadInputError
from ..files import parse_json
from . import meshopt

GLB_MAGIC = b"glTF"
JSON_CHUNK, BIN_CHUNK = b"JSON", b"BIN\0"
FLOAT = 5126
COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", FLOAT: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
MAX_GLB_JSON_BYTES = 64 * 2**20
MAX_TEXT_BYTES = 2**30  # of a .gltf, which may hold its buffers as base64
_MAX_VALUES = 2**20  # commas and brackets in the JSON: each value takes a hundred bytes of memory
MAX_COPIES = 16  # of the data in the file, by nodes and primitives that share it, and by what is compressed
FREE_BYTES = 2**20
MESHOPT = ("EXT_meshopt_compression", "KHR_meshopt_compression")
_MAX_BUFFERS = 64


@dataclass(frozen=True)
class Gltf:
    """The JSON of a file with its buffers. Its methods raise BadInputError that names the object that is wrong."""

    path: Path
    json: dict[str, Any]
    buffers: tuple[bytes | memoryview, ...]

    def fail(self, sentence: str) -> BadInputError:
        return BadInputError(f"{self.path}: {sentence}")

    def items(self, name: str) -> list[dict[str, Any]]:
        """A top-level list of objects, empty when it is not there."""
        return self.objects(self.json, name, "the file")

    def objects(self, parent: dict[str, Any], name: str, where: str) -> list[dict[str, Any]]:
        value = parent.get(name, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self.fail(f"'{name}' of {where} should be a list of objects.")
        return value

    def item(self, name: str, index: Any, where: str) -> dict[str, Any]:
        """One object of a top-level list, by an index that `where` gives."""
        items = self.items(name)
        if not _is_whole(index) or index >= len(items):
            raise self.fail(f"{where} names {name}[{str(index)[:40]}], but there are {len(items)}.")
        return items[index]

    def whole(self, parent: dict[str, Any], name: str, where: str, default: int | None = None) -> int:
        value = parent.get(name, default)
        if not isinstance(value, int) or not _is_whole(value):
            raise self.fail(f"'{name}' of {where} should be a whole number, found {str(value)[:40]}.")
        return value

    def accessor(self, index: Any, where: str, allowed: dict[int, bool | None], kind: str) -> np.ndarray:
        """float32 [count, width] of an accessor, integers with `normalized` divided as the specification says.

        `allowed` has the component types that the attribute may have, and whether each must be normalized (None:
        either).
        """
        accessor = self.item("accessors", index, where)
        name = f"accessors[{index}] ({where})"
        component, normalized = accessor.get("componentType"), accessor.get("normalized", False)
        count = self.whole(accessor, "count", name)
        if not _is_whole(component) or component not in allowed or accessor.get("type") != kind:
            raise self.fail(
                f"{name} is {accessor.get('type')!s:.20} of component type {component!s:.20}; {kind} of "
                f"{', '.join(map(str, allowed))} is expected."
            )
        if not isinstance(normalized, bool) or (allowed[component] is not None and normalized != allowed[component]):
            raise self.fail(f"{name} has 'normalized' {normalized!s:.20}, which its attribute does not allow.")
        dtype = np.dtype(COMPONENTS[component])
        raw = self._elements(accessor, name, count, dtype, WIDTHS[kind])
        if "sparse" in accessor:
            raw = self._with_sparse(raw, accessor["sparse"], name)
        if not normalized:
            return raw.astype(np.float32)
        # The specification, 3.6.2.2: signed integers reach -1 twice.
        return np.maximum(raw.astype(np.float32) / np.float32(np.iinfo(dtype).max), np.float32(-1))

    def indices(self, index: Any, where: str) -> np.ndarray:
        """int64 [count] of an accessor of whole numbers, such as the corners of triangles."""
        accessor = self.item("accessors", index, where)
        name = f"accessors[{index}] ({where})"
        component = accessor.get("componentType")
        if component not in (5121, 5123, 5125) or accessor.get("type") != "SCALAR":
            raise self.fail(
                f"{name} is {accessor.get('type')!s:.20} of component type {component!s:.20}; SCALAR of 5121, 5123, "
                "5125 is expected."
            )
        count = self.whole(accessor, "count", name)
        raw = self._elements(accessor, name, count, np.dtype(COMPONENTS[component]), 1)
        if "sparse" in accessor:
            raw = self._with_sparse(raw, accessor["sparse"], name)
        return raw[:, 0].astype(np.int64)

    def uses(self, extension: str) -> bool:
        """True where the file names an extension among those that it uses."""
        used = self.json.get("extensionsUsed")
        return isinstance(used, list) and extension in used

    @property
    def positions(self) -> dict[int, bool | None]:
        """Component types that positions may have: whole numbers as well with KHR_mesh_quantization."""
        whole = dict.fromkeys((5120, 5121, 5122, 5123)) if self.uses("KHR_mesh_quantization") else {}
        return {FLOAT: False, **whole}

    def budget(self) -> int:
        """Bytes that its arrays may take together: nodes, sparse accessors and compression make more of the buffers."""
        return MAX_COPIES * sum(map(len, self.buffers)) + FREE_BYTES

    def view(self, index: Any, where: str) -> tuple[bytes | memoryview, int | None]:
        """(the bytes of a buffer view, decompressed; its stride, None where elements follow one another)."""
        view = self.item("bufferViews", index, where)
        name = f"bufferViews[{index}]"
        stride = self.whole(view, "byteStride", name) if "byteStride" in view else None
        extensions = view.get("extensions", {})
        found = [key for key in MESHOPT if isinstance(extensions, dict) and key in extensions]
        if found:
            return self._decompressed(extensions[found[0]], name), stride
        if extensions:
            raise self.fail(f"{name} is compressed ({_keys(extensions)}), which is not read here; export it without.")
        return self._bytes(view, name), stride

    def _bytes(self, view: dict[str, Any], name: str) -> bytes | memoryview:
        buffer_index = self.whole(view, "buffer", name)
        if buffer_index >= len(self.buffers):
            raise self.fail(f"{name} names buffers[{buffer_index}], but there are {len(self.buffers)}.")
        buffer = self.buffers[buffer_index]
        start, length = self.whole(view, "byteOffset", name, 0), self.whole(view, "byteLength", name)
        if start + length > len(buffer):
            raise self.fail(
                f"{name} ends at byte {start + length}, but its buffer has {len(buffer)}; the file is damaged or cut "
                "short."
            )
        return memoryview(buffer)[start : start + length]

    def _decompressed(self, packed: Any, name: str) -> bytes:
        if not isinstance(packed, dict):
            raise self.fail(f"the compression of {name} should be an object.")
        mode, kind = packed.get("mode"), packed.get("filter", "NONE")
        if mode != "ATTRIBUTES" or kind not in meshopt.FILTERS:
            raise self.fail(
                f"{name} is compressed in mode {mode!s:.20} with filter {kind!s:.20}; ATTRIBUTES with "
                f"{', '.join(meshopt.FILTERS)} is read here. Export it without compression."
            )
        count, stride = (self.whole(packed, key, f"the compression of {name}") for key in ("count", "byteStride"))
        if count < 1 or count * stride > self.budget():
            raise self.fail(f"{name} promises {count} elements of {stride} bytes, more than its file can hold.")
        try:
            return meshopt.decoded(self._bytes(packed, name), count, stride, kind).tobytes()
        except ValueError as error:
            raise self.fail(f"the compressed {name} {error}.") from error

    def _elements(
        self, accessor: dict[str, Any], name: str, count: int, dtype: np.dtype, width: int
    ) -> np.ndarray:  # [count, width], a view
        element = width * dtype.itemsize
        if "bufferView" not in accessor:
            if "sparse" not in accessor:
                raise self.fail(f"{name} has no data: neither a 'bufferView' nor 'sparse' is there.")
            if count * element > self.budget():
                raise self.fail(f"{name} promises {count} elements of {element} bytes, more than its file can hold.")
            return np.zeros((count, width), dtype)
        data, stride = self.view(accessor["bufferView"], name)
        stride = element if stride is None else stride
        offset = self.whole(accessor, "byteOffset", name, 0)
        if stride < element:
            raise self.fail(
                f"bufferViews[{accessor['bufferView']}] has a stride of {stride} bytes for elements of {element}."
            )
        if count < 1 or offset + stride * (count - 1) + element > len(data):
            raise self.fail(
                f"{name} promises {count} elements of {element} bytes, but its view has {len(data) - offset} bytes "
                "left; the file is damaged."
            )
        return np.ndarray((count, width), dtype, data, offset, (stride, dtype.itemsize))

    def _with_sparse(self, base: np.ndarray, sparse: Any, name: str) -> np.ndarray:
        """The elements [count, width] with some of them replaced (the specification, 3.6.2.3)."""
        where = f"'sparse' of {name}"
        table: dict[str, Any] = sparse if isinstance(sparse, dict) else {}
        indices, values = table.get("indices"), table.get("values")
        if not all(isinstance(part, dict) and "bufferView" in part for part in (indices, values)):
            raise self.fail(f"{where} should have a count, indices and values.")
        assert isinstance(indices, dict)
        assert isinstance(values, dict)
        kind = indices.get("componentType")
        if kind not in (5121, 5123, 5125):
            raise self.fail(
                f"the indices of {where} are of component type {kind!s:.20}; 5121, 5123 or 5125 is expected."
            )
        count = self.whole(table, "count", where)
        rows = self._elements(indices, f"the indices of {where}", count, np.dtype(COMPONENTS[kind]), 1)[:, 0]
        new = self._elements(values, f"the values of {where}", count, base.dtype, base.shape[1])
        if int(rows.max()) >= len(base):
            raise self.fail(f"{where} replaces element {int(rows.max())}, but there are {len(base)}.")
        changed = base.copy()
        changed[rows.astype(np.int64)] = new
        return changed


def read_gltf(path: Path) -> Gltf:
    """A `.glb` or `.gltf` file with its buffers, by content. Raises BadInputError."""
    try:
        size = path.stat().st_size
        if size > MAX_TEXT_BYTES and not _starts_binary(path):
            raise BadInputError(f"{path} has {size} bytes; a .gltf of at most {MAX_TEXT_BYTES} bytes is expected.")
        data = path.read_bytes()
    except OSError as error:
        raise BadInputError(f"{path} could not be read: {error.strerror or error}.") from error
    text, body = _glb_chunks(path, data) if data[:4] == GLB_MAGIC else (data, None)
    if text.count(b",") + text.count(b"[") + text.count(b"{") > _MAX_VALUES:
        raise BadInputError(f"{path} has more than {_MAX_VALUES} values in its JSON; no splat needs so many.")
    table = parse_json(text, str(path))
    if not isinstance(table, dict) or not isinstance(table.get("asset"), dict):
        raise BadInputError(f"{path} is no glTF file: a JSON object with 'asset' is expected.")
    version = str(table["asset"].get("version", ""))
    if not version.startswith("2."):
        raise BadInputError(f"{path} is of glTF version {version[:20]!r}; version 2 can be read.")
    gltf = Gltf(path, table, ())
    found = gltf.items("buffers")
    if len(found) > _MAX_BUFFERS:
        raise gltf.fail(f"{len(found)} buffers are too many; at most {_MAX_BUFFERS} are read.")
    return Gltf(path, table, tuple(_buffer(gltf, i, buffer, body) for i, buffer in enumerate(found)))


def compact_json(table: dict[str, Any]) -> bytes:
    """The JSON of a file without spaces; NaN is refused, as it is no JSON."""
    return json.dumps(table, allow_nan=False, separators=(",", ":")).encode()


def glb_bytes(text: bytes, body: bytes) -> bytes:
    """A binary glTF file; the chunks are padded to 4 bytes. Raises BadInputError above the 4 GiB of its header."""
    text += b" " * (-len(text) % 4)
    body += bytes(-len(body) % 4)
    total = 12 + 8 + len(text) + 8 + len(body)
    if total > 2**32 - 1:
        raise BadInputError(f"The file would take {total} bytes, but a GLB file has at most {2**32 - 1}.")
    head = struct.pack("<4sII", GLB_MAGIC, 2, total)
    return b"".join(
        [head, struct.pack("<I4s", len(text), JSON_CHUNK), text, struct.pack("<I4s", len(body), BIN_CHUNK), body]
    )


def data_uri(body: bytes) -> str:
    """A buffer as text within the JSON."""
    return "data:application/octet-stream;base64," + base64.b64encode(body).decode("ascii")


def _starts_binary(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == GLB_MAGIC


def _glb_chunks(path: Path, data: bytes) -> tuple[bytes, memoryview | None]:
    """(JSON text, binary chunk) of a GLB; other chunks are skipped, as the specification asks."""
    if len(data) < 20:
        raise BadInputError(f"{path} has {len(data)} bytes, too few for the header of a GLB; the file is cut short.")
    version, total = struct.unpack_from("<II", data, 4)
    if version != 2:
        raise BadInputError(f"{path} is of GLB version {version}; version 2 can be read.")
    if total > len(data):
        raise BadInputError(f"{path} promises {total} bytes, but has {len(data)}; the file is cut short.")
    chunks: dict[bytes, memoryview] = {}
    offset = 12
    while offset + 8 <= total:
        length, kind = struct.unpack_from("<I4s", data, offset)
        if offset + 8 + length > total:
            raise BadInputError(
                f"{path}: the chunk at byte {offset} promises {length} bytes, but {total - offset - 8} are left."
            )
        if not chunks and kind != JSON_CHUNK:
            raise BadInputError(f"{path}: the first chunk of a GLB should be JSON, found {kind!r}.")
        chunks.setdefault(kind, memoryview(data)[offset + 8 : offset + 8 + length])
        offset += 8 + length
    text = chunks.get(JSON_CHUNK, memoryview(b""))
    if len(text) > MAX_GLB_JSON_BYTES:
        raise BadInputError(f"{path} has {len(text)} bytes of JSON; at most {MAX_GLB_JSON_BYTES} are expected.")
    return bytes(text), chunks.get(BIN_CHUNK)


def _buffer(gltf: Gltf, index: int, buffer: dict[str, Any], body: memoryview | None) -> bytes | memoryview:
    """The first `byteLength` bytes of a buffer: of the GLB's binary chunk, a data URI or a file in the folder."""
    name = f"buffers[{index}]"
    uri = buffer.get("uri")
    length = gltf.whole(buffer, "byteLength", name)
    found: bytes | memoryview
    if uri is None and index == 0 and body is not None:
        found = body
    elif uri is None and any(map(gltf.uses, MESHOPT)):
        return b""  # it only says how large what is compressed would be
    elif not isinstance(uri, str):
        raise gltf.fail(f"{name} has no data: neither a 'uri' nor a binary chunk is there.")
    else:
        found = bytes_at(gltf, name, uri, length)
    if len(found) < length:
        raise gltf.fail(f"{name} promises {length} bytes, but has {len(found)}; the file is damaged or cut short.")
    return memoryview(found)[:length]


def bytes_at(gltf: Gltf, name: str, uri: str, most: int) -> bytes:
    """The bytes in a data URI, or at most the first `most` of a file in the folder; `name` says whose they are."""
    return _from_data_uri(gltf, name, uri) if uri.startswith("data:") else _from_file(gltf, name, uri, most)


def _from_data_uri(gltf: Gltf, name: str, uri: str) -> bytes:
    head, comma, text = uri.partition(",")
    if not comma or not head.endswith(";base64"):
        raise gltf.fail(f"{name} has a data URI that is not base64.")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise gltf.fail(f"{name} has base64 data that cannot be decoded: {error}.") from error


def _from_file(gltf: Gltf, name: str, uri: str, length: int) -> bytes:
    file = unquote(uri)
    relative = PurePosixPath(file)
    if ":" in file or "\\" in file or "\0" in file or relative.is_absolute() or ".." in relative.parts:
        raise gltf.fail(
            f"{name} lies at {uri[:60]!r}; only files in the folder of the .gltf are read. Put it there, or export "
            "a .glb."
        )
    folder = gltf.path.parent.resolve()
    try:
        path = (folder / file).resolve()
        if not path.is_relative_to(folder):
            raise gltf.fail(f"{name} lies at {uri[:60]!r}, a link that leads outside of the folder.")
        with path.open("rb") as opened:
            return opened.read(min(length, path.stat().st_size))
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: links in a circle
        reason = getattr(error, "strerror", None) or error
        raise gltf.fail(f"{name} lies in {file[:60]!r}, which could not be read: {reason}.") from error


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def _keys(value: Any) -> str:
    return ", ".join(list(value)[:3])[:80] if isinstance(value, dict) else str(value)[:40]
