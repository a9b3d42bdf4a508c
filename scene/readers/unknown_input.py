"""Advice for inputs that cannot be read as they are, but nearly."""

from __future__ import annotations

import re
from pathlib import Path

ARCHIVES = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar"})
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)  # longer than the letter of a drive


def advice_on_absent(path: Path) -> str | None:
    """A sentence for what people type that names no file, such as a page's address or a pattern; None for others."""
    text = path.as_posix()
    if _ADDRESS.match(text):
        address = text.replace(":/", "://", 1)  # as it was typed: a path keeps one slash
        return f"{address} is an address; Fewview downloads nothing. Download it first, and name the folder or file."
    if any(sign in path.name for sign in "*?["):
        return f"{path} is a pattern, and no file; name the folder, {path.parent}, whose photographs are all taken."
    return None


def advice_on_file(path: Path) -> str | None:
    """A sentence for files that hold data sets but are none themselves; None for others."""
    if path.suffix.lower() in ARCHIVES:
        return f"{path} is an archive; unpack it first, and name the folder that comes out."
    return None
