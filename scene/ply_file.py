"""PLY as a container: a bounded header, and elements as NumPy record arrays.

What the properties mean is the business of `ply.py`. Every count is checked against the bytes that are left
before anything is allocated.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .errors import BadInputError
from .files import atomic_writer

MAX_HEADER_BYTES = 128 * 1024

_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1",
    "short": "i2", "int16": "i2", "ushort": "u2", "uint16": "u2",
    "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4",
    "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip
_NAMES = {
    "i1": "char", "u1": "uchar", "i2": "short", "u2": "ushort", "i4": "int", "u4": "uint", "f4": "float", "f8": "double"
}  # fmt: skip
COLORS = ("red", "green", "blue")
_BYTE_ORDER = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": "<"}


@dataclass(frozen=True)
class PlyElement:
    name: str
    count: int
    fields: tuple[tuple[str, str], ...]  # (property name, NumPy type without byte order)
    has_list: bool  # rows of unknown length: this element and those after it cannot be located
    layout: tuple[tuple[str, str, str], ...] = ()  # all properties: (name, NumPy type, that of its count in a list)

    @property
    def properties(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.fields)


@dataclass(frozen=True)
class PlyHeader:
    path: Path
    format: str  # "ascii", "binary_little_endian" or "binary_big_endian"
    elements: tuple[PlyElement, ...]
    comments: tuple[str, ...]
    size: int  # bytes of the header, i.e. the offset of the body
    file_size: int

    def element(self, name: str) -> PlyElement | None:
        return next((e for e in self.elements if e.name == name), None)


def read_header(path: Path) -> PlyHeader:
    """The header of a PLY file, at most 128 KiB of it.

    Raises BadInputError with the byte offset of the line that is wrong.
    """
    try:
        file_size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(MAX_HEADER_BYTES)
    except OSError as error:
        raise BadInputError(f"{path} could not be read: {error.strerror or error}.") from error
    if head[:3] != b"ply" or head[3:4] not in (b"\n", b"\r", b" "):
        raise BadInputError(f"{path} is not a PLY file: it does not start with the line 'ply'.")
    lines = _header_lines(path, head)
    ply_format = ""
    elements: list[PlyElement] = []
    comments: list[str] = []
    for offset, line in lines[1:-1]:
        words = line.split()
        where = f"{path}, header byte {offset}"
        if not words:
            continue
        if words[0] == "comment":
            comments.append(line[len("comment") :].strip())
        elif words[0] == "format":
            ply_format = _format(words, where)
        elif words[0] == "element":
            elements.append(_element(words, elements, where))
        elif words[0] == "property":
            if not elements:
                raise BadInputError(f"{where}: a property comes before the first element.")
            elements[-1] = _with_property(elements[-1], words, where)
        elif words[0] != "obj_info":
            raise BadInputError(f"{where}: '{line[:40]}' is not a line of a PLY header.")
    if not ply_format:
        raise BadInputError(f"{path} has no 'format' line in its PLY header.")
    end = lines[-1][0]
    size = head.index(b"\n", end) + 1
    return PlyHeader(path, ply_format, tuple(elements), tuple(comments), size, file_size)


def read_element(header: PlyHeader, name: str) -> np.ndarray:
    """The rows of one element as a record array [count] in native byte order.

    Raises BadInputError when the file is too short for the count it promises, or rows have unknown length.
    """
    if header.format == "ascii":
        return _read_ascii(header, name)
    element, offset = locate(header, name)
    dtype = _row_type(header, element)
    if element.count * dtype.itemsize == 0:
        return np.zeros(element.count, dtype.newbyteorder("="))
    rows = np.fromfile(header.path, dtype, element.count, offset=offset)
    return rows.astype(dtype.newbyteorder("="), copy=False)


def locate(header: PlyHeader, name: str, *, with_lists: bool = False) -> tuple[PlyElement, int]:
    """(an element of a binary file, the byte at which its rows begin).

    Raises BadInputError when the file is too short for the rows that it promises, and when those before it, or its own
    unless `with_lists`, are of unknown length.
    """
    offset = header.size
    for element in header.elements:
        if element.name == name and with_lists:
            return element, offset
        if element.has_list:
            raise BadInputError(
                f"{header.path}: element '{element.name}' has a list property, so '{name}' cannot be read; "
                "numbers only are expected there."
            )
        size = _row_type(header, element).itemsize
        need, left = element.count * size, header.file_size - offset
        if need > left:
            raise BadInputError(
                f"{header.path} promises {element.count} '{element.name}' rows of {size} bytes at byte {offset}, but "
                f"{left} bytes are left; the file is damaged or cut short."
            )
        if element.name == name:
            return element, offset
        offset += need
    raise BadInputError(f"{header.path} has no element '{name}'.")


def _row_type(header: PlyHeader, element: PlyElement) -> np.dtype:
    order = _BYTE_ORDER[header.format]
    return np.dtype([(field, order + kind) for field, kind in element.fields])


def columns(rows: np.ndarray, names: tuple[str, ...], dtype: type[np.floating] = np.float32) -> np.ndarray:
    """The named properties as [N, len(names)] of `dtype`; a double too large for float32 becomes infinite there."""
    out = np.empty((len(rows), len(names)), dtype)
    with np.errstate(over="ignore"):
        for i, name in enumerate(names):
            out[:, i] = rows[name]
    return out


def rgb(rows: np.ndarray) -> np.ndarray:
    """uint8 [N, 3]; floating-point colours are taken as 0 to 1, absent ones are middle grey."""
    if not set(rows.dtype.names or ()).issuperset(COLORS):
        return np.full((len(rows), 3), 128, np.uint8)
    colors = np.stack([rows[name] for name in COLORS], axis=1)
    if colors.dtype.kind == "f":
        colors = np.nan_to_num(colors.astype(np.float64), posinf=1, neginf=0).clip(0, 1) * 255 + 0.5
    return colors.astype(np.float64).clip(0, 255).astype(np.uint8)


def byte_order(header: PlyHeader) -> str:
    """`<` or `>`, that of a binary file's numbers."""
    return _BYTE_ORDER[header.format]


def write_elements(path: Path, elements: dict[str, np.ndarray], comments: tuple[str, ...] = ()) -> None:
    """Write record arrays as a little-endian binary PLY; equal input gives equal bytes.

    A field of several numbers is written as a list with one byte for its count.

    Raises ValueError for a comment of several lines.
    """
    lines = ["ply", "format binary_little_endian 1.0"]
    for comment in comments:
        if "\n" in comment or "\r" in comment or not comment.isascii():
            raise ValueError(f"a PLY comment is one line of ASCII, found {comment!r}")
        lines.append(f"comment {comment}")
    for name, rows in elements.items():
        lines.append(f"element {name} {len(rows)}")
        lines += [_property_line(field, rows.dtype[field]) for field in rows.dtype.names or ()]
    lines.append("end_header\n")
    with atomic_writer(path) as file:
        file.write("\n".join(lines).encode("ascii"))
        for rows in elements.values():
            file.write(_packed(rows).tobytes())


def _property_line(field: str, dtype: np.dtype) -> str:
    if dtype.subdtype is None:
        return f"property {_NAMES[dtype.str[1:]]} {field}"
    return f"property list uchar {_NAMES[dtype.subdtype[0].str[1:]]} {field}"


def _packed(rows: np.ndarray) -> np.ndarray:
    """The rows with the least byte first, and a count before each field of several numbers."""
    kinds: list[tuple[str, np.dtype]] = []
    counts: dict[str, int] = {}
    for field in rows.dtype.names or ():
        kind = rows.dtype[field]
        if kind.subdtype is not None:
            counts[f"count of {field}"] = kind.shape[0]
            kinds.append((f"count of {field}", np.dtype("u1")))
        kinds.append((field, kind.newbyteorder("<")))
    packed = np.zeros(len(rows), np.dtype(kinds))
    for field in rows.dtype.names or ():
        packed[field] = rows[field]
    for field, count in counts.items():
        packed[field] = count
    return packed


def _header_lines(path: Path, head: bytes) -> list[tuple[int, str]]:
    """(byte offset, text) of each header line up to `end_header`; ends of lines and outer spaces removed."""
    lines: list[tuple[int, str]] = []
    offset = 0
    while True:
        end = head.find(b"\n", offset)
        if end < 0:
            limit = f" in its first {MAX_HEADER_BYTES} bytes" if len(head) == MAX_HEADER_BYTES else ""
            raise BadInputError(f"{path} has no 'end_header' line{limit}; the file is damaged or cut short.")
        text = head[offset:end].decode("utf-8", errors="replace").strip()
        lines.append((offset, text))
        if text == "end_header":
            return lines
        offset = end + 1


def _format(words: list[str], where: str) -> str:
    if len(words) != 3 or words[1] not in _BYTE_ORDER or words[2] != "1.0":
        raise BadInputError(f"{where}: 'format' followed by one of {', '.join(_BYTE_ORDER)} and 1.0 is expected.")
    return words[1]


def _element(words: list[str], before: list[PlyElement], where: str) -> PlyElement:
    if len(words) != 3 or not (words[2].isascii() and words[2].isdigit()) or len(words[2]) > 19:
        raise BadInputError(f"{where}: 'element', a name and a count are expected.")
    if any(e.name == words[1] for e in before):
        raise BadInputError(f"{where}: the element '{words[1]}' is declared twice.")
    return PlyElement(words[1], int(words[2]), (), has_list=False)


def _with_property(element: PlyElement, words: list[str], where: str) -> PlyElement:
    if len(words) == 5 and words[1] == "list" and words[2] in _TYPES and words[3] in _TYPES:
        listed = (words[4], _TYPES[words[3]], _TYPES[words[2]])
        return PlyElement(element.name, element.count, element.fields, True, (*element.layout, listed))
    if len(words) != 3 or words[1] not in _TYPES:
        raise BadInputError(
            f"{where}: 'property', a type and a name are expected, found '{' '.join(words)[:60]}' "
            f"(types: {', '.join(_TYPES)})."
        )
    if words[2] in element.properties:
        raise BadInputError(f"{where}: the property '{words[2]}' of '{element.name}' is declared twice.")
    fields = (*element.fields, (words[2], _TYPES[words[1]]))
    layout = (*element.layout, (words[2], _TYPES[words[1]], ""))
    return PlyElement(element.name, element.count, fields, element.has_list, layout)


def _read_ascii(header: PlyHeader, name: str) -> np.ndarray:
    """Rows of numbers in text; each number takes at least two bytes, which bounds the counts."""
    left = header.file_size - header.size
    with header.path.open("rb") as file:
        file.seek(header.size)
        for element in header.elements:
            columns = len(element.fields)
            if element.has_list:
                raise BadInputError(f"{header.path}: element '{element.name}' has a list property before '{name}'.")
            if element.count * max(1, 2 * columns) > left + 1:
                raise BadInputError(
                    f"{header.path} promises {element.count} '{element.name}' rows of {columns} numbers, but only "
                    f"{left} bytes are left; the file is damaged or cut short."
                )
            lines = [file.readline() for _ in range(element.count)]
            if element.name == name:
                return _ascii_rows(header.path, element, lines)
            left -= sum(map(len, lines))
    raise BadInputError(f"{header.path} has no element '{name}'.")


def _ascii_rows(path: Path, element: PlyElement, lines: list[bytes]) -> np.ndarray:
    columns = len(element.fields)
    values = np.empty((element.count, columns))
    for i, line in enumerate(lines):
        words = line.split()
        try:
            values[i] = [float(word) for word in words]
        except ValueError as error:
            raise BadInputError(
                f"{path}, '{element.name}' row {i}: {columns} numbers are expected, found {line[:60]!r}."
            ) from error
    rows = np.zeros(element.count, np.dtype([(field, kind) for field, kind in element.fields]))
    with np.errstate(over="ignore", invalid="ignore"):
        for j, (field, _) in enumerate(element.fields):
            rows[field] = values[:, j]
    return rows
