"""Tables of JSON rows as typed NumPy columns, and references between them as row numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadInputError
from ..json_stream import stream_rows

ROWS_AT_ONCE = 2**15
MAX_TEXT_BYTES = 1024
Converter = Callable[[Any], Any]  # raises ValueError with what is expected


def text(value: Any) -> bytes:
    """UTF-8 without NUL, which NumPy's fixed-width strings cannot hold."""
    if not isinstance(value, str) or "\0" in value:
        raise ValueError("text")
    encoded = value.encode("utf-8", "replace")
    if len(encoded) > MAX_TEXT_BYTES:
        raise ValueError(f"text of at most {MAX_TEXT_BYTES} bytes")
    return encoded


def one_token(value: Any) -> bytes:
    """The only token of a list, empty for an empty list."""
    if not isinstance(value, list) or len(value) > 1 or not all(isinstance(token, str) for token in value):
        raise ValueError("a list of at most one token")
    return text(value[0]) if value else b""


def integer(value: Any) -> int:
    """int64; a float with a whole value counts (some exporters write times so), true and false do not."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value) or abs(value) >= 2**63:
        raise ValueError("a whole number")
    return int(value)


def flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def numbers(count: int) -> Converter:
    """A list of `count` finite numbers."""

    def convert(value: Any) -> list[float]:
        if not isinstance(value, list) or len(value) != count or not all(map(_is_number, value)):
            raise ValueError(f"{count} finite numbers")
        return [float(v) for v in value]

    return convert


def rotation(value: Any) -> list[float]:
    """A quaternion (w, x, y, z) of about unit length, normalised."""
    try:
        quat = numbers(4)(value)
    except ValueError as error:
        raise ValueError("a rotation of 4 finite numbers w, x, y, z") from error
    length = math.hypot(*quat)
    if abs(length - 1) > 1e-3:  # printed with 5 digits or more; anything else is no rotation
        raise ValueError("a rotation of 4 finite numbers w, x, y, z of unit length")
    return [q / length for q in quat]


def sizes(value: Any) -> list[float]:
    try:
        found = numbers(3)(value)
    except ValueError as error:
        raise ValueError("3 positive numbers") from error
    if min(found) <= 0:
        raise ValueError("3 positive numbers")
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300  # not for NaN


def checked(value: Any, convert: Converter, where: str) -> Any:
    """`convert(value)`; what it expects instead becomes a BadInputError about `where`."""
    try:
        return convert(value)
    except ValueError as error:
        shown = repr(value)
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        raise BadInputError(f"{where} should be {error}, found {shown}.") from error


def read_columns(
    path: Path,
    fields: Mapping[str, Converter],
    defaults: Mapping[str, Any] = {},
    keep: Callable[[dict[str, Any]], bool] | None = None,
) -> dict[str, np.ndarray]:
    """One array for each field over the rows that `keep` accepts, read in memory that grows with these rows only.

    A field of `defaults` may be missing. Raises BadInputError that names table, row and field.
    """
    if not path.is_file():
        raise BadInputError(f"{path} is not there; a nuScenes-format folder needs this table.")
    waiting: dict[str, list[Any]] = {name: [] for name in fields}
    done: dict[str, list[np.ndarray]] = {name: [] for name in fields}
    for i, row in enumerate(stream_rows(path)):
        if not isinstance(row, dict):
            raise BadInputError(f"{path}: row {i} should be an object, found {type(row).__name__}.")
        if keep is not None and not keep(row):
            continue
        for name, convert in fields.items():
            if name not in row and name not in defaults:
                raise BadInputError(f"{path}: row {i} has no '{name}'.")
            waiting[name].append(checked(row.get(name, defaults.get(name)), convert, f"{path}: row {i}, '{name}',"))
        if len(next(iter(waiting.values()))) == ROWS_AT_ONCE:
            _flush(waiting, done)
    _flush(waiting, done)
    empty = {name: np.zeros(0, "S1" if convert in (text, one_token) else float) for name, convert in fields.items()}
    return {name: np.concatenate(parts) if parts else empty[name] for name, parts in done.items()}


def _flush(waiting: dict[str, list[Any]], done: dict[str, list[np.ndarray]]) -> None:
    for name, values in waiting.items():
        if values:
            done[name].append(np.array(values))
            values.clear()


def rows_of(
    references: np.ndarray,  # [M] bytes, tokens or "" for none
    tokens: np.ndarray,  # [N] bytes
    what: str,  # of the references, for the error
    table: Path,  # of the tokens, for the error
    required: bool = True,
) -> np.ndarray:
    """int64 [M]: the row that each reference means, -1 for none.

    Raises BadInputError for a token that no row has, for none where one is required, and for a token given twice.
    """
    references, tokens = (np.asarray(a, "S") if a.size else np.zeros(0, "S1") for a in (references, tokens))
    order = np.argsort(tokens, kind="stable")
    ordered = tokens[order]
    twice = np.flatnonzero(ordered[1:] == ordered[:-1])
    if len(twice):
        raise BadInputError(f"{table} has two rows with the token {_shown(ordered[twice[0]])}.")
    place = np.searchsorted(ordered, references)
    found = np.zeros(len(references), bool)
    inside = place < len(ordered)
    found[inside] = ordered[place[inside]] == references[inside]
    lost = ~found if required else ~found & (references != b"")
    if lost.any():
        token = references[np.flatnonzero(lost)[0]]
        named = f"the token {_shown(token)}, which no row of {table.name} has" if token else "no token"
        raise BadInputError(f"{what} names {named}; the tables in {table.parent} do not fit together.")
    rows = np.full(len(references), -1, np.int64)
    rows[found] = order[place[found]]
    return rows


def _shown(token: bytes) -> str:
    return repr(token.decode("utf-8", "replace")[:60])
