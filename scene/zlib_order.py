"""Tells if zlib works in this process, which depends on what was imported first.

pycolmap's library carries a zlib of its own and shows it to the system's libz when that is loaded after it; libz then
calls half of each, and compressing aborts the process (pycolmap 3.12 to 4.2 on Linux). Whoever imports fewview first is
safe, since it loads libz; a script that imports pycolmap before anything that loads libz cannot be helped afterwards.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from .errors import FewviewError

LOADS_LIBZ = ("zlib", "cv2", "torch")


def zlib_is_safe(imported: Iterable[str]) -> bool:
    """Tells by the names of modules in the order of their import: something loaded libz before pycolmap came."""
    for name in imported:
        if name in LOADS_LIBZ:
            return True
        if name == "pycolmap":
            return False
    return True


_IS_SAFE = zlib_is_safe(tuple(sys.modules))


def can_compress() -> bool:
    """Tells if zlib can be called in this process without ending it."""
    return _IS_SAFE


def require_zlib(what: str) -> None:
    """Raises FewviewError where compressing would end the process. `what` begins the sentence."""
    if not _IS_SAFE:
        raise FewviewError(
            f"{what} cannot be compressed in this process, because pycolmap was imported before fewview and spoils "
            "zlib; import fewview first."
        )
