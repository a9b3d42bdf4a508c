"""Cache of the index of a nuScenes-format folder, so that its tables are read once and not at every start."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from ..errors import FewviewError
from ..files import cache_folder, write_bytes
from ..progress import Progress, silent
from .nuscenes_tables import ANNOTATION_TABLES, TABLES, Tables, build_tables

LAYOUT = 3  # of what is stored; another number makes old files worthless
MIN_TABLE_BYTES = 4 * 2**20  # smaller tables are read again in less time than the cache takes to explain
MAX_HEADER_BYTES = 2**20
_DTYPES: dict[str, np.dtype[Any]] = {
    "I64": np.dtype("<i8"),
    "F64": np.dtype("<f8"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}


def load_tables(folder: Path, cache: Path | None = None, progress: Progress = silent) -> Tables:
    """The tables of a version folder: mapped from the cache where it holds them as they are now, else read.

    `cache` is a folder, the user's own unless given. Nothing is written beside the data set, and a cache that
    cannot be written is done without. `progress` is notified of the bytes that have to be read.
    Raises BadInputError for tables that cannot be used.
    """
    total, key = _fingerprint(folder)
    if total < MIN_TABLE_BYTES:
        return build_tables(folder)
    cache = cache_folder() if cache is None else cache
    path = cache / "nuscenes" / f"{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:24]}.safetensors"
    stored = _mapped(path, key)
    if stored is not None:
        return stored
    progress("tables", 0, total)
    tables = build_tables(folder)
    progress("tables", total, total)
    arrays = {f.name: _storable(getattr(tables, f.name)) for f in fields(Tables)}
    with contextlib.suppress(FewviewError, OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, safetensors.numpy.save(arrays, {"key": key}))
    return tables


def _fingerprint(folder: Path) -> tuple[int, str]:
    """Bytes of all tables, and what changes when one of them does."""
    found: list[Any] = [LAYOUT, str(folder.resolve())]
    total = 0
    for name in (*TABLES, *ANNOTATION_TABLES):
        with contextlib.suppress(OSError):
            stat = (folder / f"{name}.json").stat()
            found.append((name, stat.st_size, stat.st_mtime_ns))
            total += stat.st_size
    return total, hashlib.sha256(json.dumps(found).encode()).hexdigest()


def _storable(array: np.ndarray) -> np.ndarray:
    """Byte strings as uint8 [N, width]: safetensors has no strings."""
    if array.dtype.kind != "S":
        return np.ascontiguousarray(array)
    return np.ascontiguousarray(array).view(np.uint8).reshape(len(array), array.dtype.itemsize)


def _mapped(path: Path, key: str) -> Tables | None:
    """The stored arrays as views of the file; None when it is absent, of other tables, or damaged in any way."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > MAX_HEADER_BYTES:
                return None
            header = json.loads(file.read(length))
        if header.pop("__metadata__")["key"] != key:
            return None
        data = np.memmap(path, np.uint8, mode="r", offset=8 + length)
        return Tables(**{f.name: _view(data, header[f.name]) for f in fields(Tables)})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _view(data: np.ndarray, entry: dict[str, Any]) -> np.ndarray:
    start, end = entry["data_offsets"]
    dtype, shape = _DTYPES[entry["dtype"]], entry["shape"]
    if not 0 <= start <= end <= len(data) or math.prod(shape) * dtype.itemsize != end - start:
        raise ValueError("an array that does not lie inside of the file")
    array: np.ndarray = np.frombuffer(data[start:end], dtype).reshape(shape)
    return array.view(f"S{shape[1]}")[:, 0] if dtype == np.uint8 else array
