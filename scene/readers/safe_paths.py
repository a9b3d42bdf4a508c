"""Paths that a data set names: they must stay inside the data set."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from ..errors import BadInputError


def inside(
    root: Path,
    named: str,
    where: str,
    allow_outside: bool = False,
    advice: str = "add --allow-outside if you trust this data set",
) -> Path:
    """The file that a data set in `root` names, which need not exist.

    Raises BadInputError for an absolute path, a `..` or a symbolic link that leads out of `root`.
    """
    normal = named.replace("\\", "/")
    if not normal or "\0" in normal:
        raise BadInputError(f"{where} names no file: {named!r}.")
    path = root / normal
    if allow_outside:
        return path
    try:
        contained = path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError) as error:
        raise BadInputError(f"{where} names {named!r}, which cannot be resolved: {error}.") from error
    if PurePosixPath(normal).is_absolute() or not contained:
        raise BadInputError(f"{where} names {named!r}, which lies outside of {root}; {advice}.")
    return path


def is_file(path: Path) -> bool:
    """True where the file is there; a name that the file system cannot hold is not."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def tidy_name(named: str) -> str:
    """A frame's name: forward slashes, without a leading `./`, and text that can be written."""
    return printable(str(PurePosixPath(named.replace("\\", "/"))))


def printable(name: str) -> str:
    """A file's name as text: bytes that are no UTF-8 become %E9 and the like, as in addresses of pages."""
    return re.sub("[\ud800-\udfff]", lambda lone: f"%{ord(lone[0]) & 0xFF:02X}", name)


def listed(names: list[str], most: int = 5) -> str:
    """Some names for a sentence, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
