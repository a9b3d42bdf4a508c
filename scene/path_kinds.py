"""Kinds of path: what somebody typed may lead to a file or a folder, and to nothing else."""

from __future__ import annotations

import stat
from pathlib import Path

from .errors import BadInputError

_OTHER_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def require_file_or_folder(path: Path, option: str = "") -> None:
    """Raises BadInputError for a pipe, a socket or a device, and for a name that no file can have.

    Readers ask for the size of a file and open it several times: a pipe would hang or be half read, a device never end.
    Writers put a new file in the place of the old one. What is not there is left to them.
    """
    typed = f"{option} {path}".lstrip()
    try:
        kind = stat.S_IFMT(path.stat().st_mode)
    except FileNotFoundError:
        return
    except OSError as error:
        raise BadInputError(f"{typed} cannot be used: {error.strerror or error}.") from error
    if kind in _OTHER_KINDS:
        raise BadInputError(f"{typed} is {_OTHER_KINDS[kind]}; a file or a folder is expected.")
