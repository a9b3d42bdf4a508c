"""Lists in PLY files, such as the corners of polygons.

Rows that are all as long as the first, which those of a mesh of triangles are, are read at once; others are walked
through one by one. Every row takes a byte or more, which bounds the counts.
"""

from __future__ import annotations

import numpy as np

from .errors import BadInputError
from .ply_file import PlyElement, PlyHeader, byte_order, locate

MAX_LENGTH = 10_000  # of one list


def read_lists(header: PlyHeader, element_name: str, list_name: str) -> tuple[np.ndarray, np.ndarray]:
    """(lengths int64 [N], all values float64 [sum of them] in their order) of a list property of each row.

    Raises BadInputError for a file that is damaged or cut short, and for an element or a list that is not there.
    """
    element = header.element(element_name)
    if element is None or not any(name == list_name and counted for name, _, counted in element.layout):
        raise BadInputError(f"{header.path} has no list '{list_name}' in an element '{element_name}'.")
    if header.format == "ascii":
        return _ascii_lists(header, element, list_name)
    element, offset = locate(header, element_name, with_lists=True)
    data = np.fromfile(header.path, np.uint8, offset=offset)
    if element.count > len(data):
        raise BadInputError(
            f"{header.path} promises {element.count} '{element_name}' rows at byte {offset}, but {len(data)} bytes are "
            "left; the file is damaged or cut short."
        )
    if element.count == 0:
        return np.zeros(0, np.int64), np.zeros(0)
    found = _equal_rows(header, element, list_name, data)
    return _walked_rows(header, element, list_name, data) if found is None else found


def _equal_rows(
    header: PlyHeader, element: PlyElement, list_name: str, data: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """The lists where every row is as long as the first; None where they are not."""
    order, at = byte_order(header), 0
    kinds: list[tuple[str, str] | tuple[str, str, tuple[int]]] = []
    lengths: dict[str, int] = {}
    for i, (_, kind, counted) in enumerate(element.layout):
        length = 1
        if counted:
            dtype = np.dtype(order + counted)
            if at + dtype.itemsize > len(data):
                return None
            length = lengths[f"count {i}"] = int(data[at : at + dtype.itemsize].view(dtype)[0])
            if not 0 <= length <= MAX_LENGTH:
                return None
            kinds.append((f"count {i}", order + counted))
            at += dtype.itemsize
        kinds.append((f"values {i}", order + kind, (length,)))
        at += length * np.dtype(kind).itemsize
    dtype = np.dtype(kinds)
    if element.count * dtype.itemsize > len(data):
        return None
    rows = data[: element.count * dtype.itemsize].view(dtype)
    if any((rows[name] != length).any() for name, length in lengths.items()):
        return None
    place = next(i for i, (name, _, counted) in enumerate(element.layout) if name == list_name and counted)
    values = rows[f"values {place}"]
    return np.full(len(rows), values.shape[1], np.int64), values.astype(np.float64).reshape(-1)


def _walked_rows(
    header: PlyHeader, element: PlyElement, list_name: str, data: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    order, at, body = byte_order(header), 0, data.tobytes()
    steps = [
        (name == list_name and bool(counted), np.dtype(order + kind), np.dtype(order + counted) if counted else None)
        for name, kind, counted in element.layout
    ]
    lengths, values = np.zeros(element.count, np.int64), []
    for row in range(element.count):
        for wanted, kind, counted in steps:
            length = 1
            if counted is not None:
                if at + counted.itemsize <= len(body):
                    length = int(np.frombuffer(body, counted, 1, at)[0])
                at += counted.itemsize
            end = at + length * kind.itemsize
            if end > len(body) or not 0 <= length <= MAX_LENGTH:
                raise BadInputError(
                    f"{header.path}, '{element.name}' row {row}: a list of {length} numbers is promised, but "
                    f"{max(len(body) - at, 0)} bytes are left, and {MAX_LENGTH} is the most; the file is damaged."
                )
            if wanted:
                lengths[row] = length
                values.append(np.frombuffer(body, kind, length, at))
            at = end
    return lengths, np.concatenate(values).astype(np.float64) if values else np.zeros(0)


def _ascii_lists(header: PlyHeader, element: PlyElement, list_name: str) -> tuple[np.ndarray, np.ndarray]:
    lengths, values = [], []
    with header.path.open("rb") as file:
        file.seek(header.size)
        for before in header.elements[: header.elements.index(element)]:
            for _ in range(min(before.count, header.file_size)):
                if not file.readline():
                    break
        for row in range(min(element.count, header.file_size + 1)):
            words, at = file.readline(64 * (MAX_LENGTH + len(element.layout))).split(), 0
            try:
                for name, _, counted in element.layout:
                    length = int(words[at]) if counted else 1
                    at += 1 if counted else 0
                    if not 0 <= length <= MAX_LENGTH or at + length > len(words):
                        raise ValueError
                    if name == list_name and counted:
                        lengths.append(length)
                        values += [float(word) for word in words[at : at + length]]
                    at += length
            except (ValueError, IndexError) as error:
                raise BadInputError(
                    f"{header.path}, '{element.name}' row {row}: a list of numbers is expected, found "
                    f"{b' '.join(words)[:60]!r}."
                ) from error
    return np.array(lengths, np.int64), np.array(values)
