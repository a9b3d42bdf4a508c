"""Splat files of every format: `load_splat` decides by content, `save_splat` by the name's ending."""

from __future__ import annotations

from pathlib import Path

from ..errors import BadInputError
from ..ply import read_splat, write_splat
from ..splat_file import SplatFile

__all__ = ["load_splat", "save_splat"]


def load_splat(path: Path | str) -> SplatFile:
    """The splat in a file of any format, in the world frame that it was written from as far as that is known.

    Raises BadInputError for a file that is damaged, cut short or no splat.
    """
    return read_splat(path)


def save_splat(path: Path | str, splat: SplatFile) -> tuple[str, ...]:
    """Write a splat in the format that the name's ending asks for; equal input gives equal bytes.

    Returns sentences about what the format clamped or could not keep. Raises BadInputError for an unknown ending.
    """
    path = Path(path)
    if path.suffix.lower() != ".ply":
        raise BadInputError(f"{path.name} does not end like a splat file; .ply is expected.")
    write_splat(path, splat.gaussians, antialiased=splat.antialiased)
    return ()
