"""Writing files so that a crash leaves the old one or the new one, never half of one."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from .errors import BadInputError, FewviewError

MAX_JSON_BYTES = 256 * 2**20
NO_SUCH_PLACE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP})


@contextlib.contextmanager
def atomic_writer(path: Path) -> Iterator[IO[bytes]]:
    """A binary file beside `path` that takes its place when the block ends well, and vanishes when it does not.

    Temporary file in the same folder, flush, fsync, rename, fsync of the folder.
    Raises BadInputError where no file can be of that name, FewviewError where the disk is full or may not be written.
    """
    path = Path(path)
    temporary: str | None = None
    try:
        fd, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        with os.fdopen(fd, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(path)
        temporary = None
        with contextlib.suppress(OSError):  # some file systems cannot sync a folder
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as error:
        if error.errno in NO_SUCH_PLACE:
            raise BadInputError(f"{path} could not be written: {error.strerror}; choose another name.") from error
        raise FewviewError(
            f"{path} could not be written: {error.strerror or error}. What was there before is untouched; "
            "free some space or choose another folder with -o."
        ) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()


def write_bytes(path: Path, data: bytes) -> None:
    with atomic_writer(path) as file:
        file.write(data)


def write_json(path: Path, value: Any) -> None:
    """Two-space JSON, one trailing newline; NaN and infinity are refused (they are not JSON)."""
    write_bytes(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def _reject_constant(name: str) -> float:
    raise ValueError(f"the number {name} is not finite")


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text} is not finite")
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice[:60]!r} is given twice in one object")
    return table


def strict_decoder(allow_nan: bool = False) -> json.JSONDecoder:
    """JSON with finite numbers (and NaN where a format is known to write it) and no key twice in one object."""

    def constant(name: str) -> float:
        return math.nan if allow_nan and name == "NaN" else _reject_constant(name)

    return json.JSONDecoder(parse_constant=constant, parse_float=_finite_float, object_pairs_hook=_unique_keys)


def read_json(path: Path, *, allow_nan: bool = False) -> Any:
    """The JSON value in a file of at most 256 MiB with finite numbers and no key twice.

    Raises BadInputError that names the file, and the line where the text is not JSON.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > MAX_JSON_BYTES:
            raise BadInputError(f"{path} has {size} bytes; a JSON file of at most {MAX_JSON_BYTES} bytes is expected.")
        data = path.read_bytes()
    except OSError as error:
        raise BadInputError(f"{path} could not be read: {error.strerror or error}.") from error
    return parse_json(data, str(path), allow_nan=allow_nan)


def parse_json(data: bytes, name: str, *, allow_nan: bool = False) -> Any:
    """The JSON value in `data`, with finite numbers and no key twice; `name` says in errors where it is from.

    Raises BadInputError.
    """
    try:
        # Some Windows tools write a byte order mark.
        return strict_decoder(allow_nan).decode(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise BadInputError(f"{name} is not UTF-8 text (byte {error.start}); a JSON file is expected.") from error
    except json.JSONDecodeError as error:
        raise BadInputError(f"{name} is not JSON: {error.msg} at line {error.lineno}.") from error
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"{name} cannot be used: {error}.") from error


def make_folder(folder: Path) -> None:
    """Makes the folder and those above it, unless they are there.

    Raises BadInputError where no folder can be of that name, FewviewError where the disk is full or may not be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        kind = BadInputError if error.errno in NO_SUCH_PLACE else FewviewError
        raise kind(f"{folder} could not be made: {error.strerror}.") from error


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/fewview`, else `~/.cache/fewview`: what can be made again, or is kept for a while."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path("~/.cache").expanduser()) / "fewview"


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
