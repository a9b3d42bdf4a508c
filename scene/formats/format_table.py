"""The table of splat formats, and how a file's format is found."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BadInputError
from ..splat import Axis, Splat
from . import antimatter15, compressed_ply, gltf, sog, sog4d, spz
from . import splat_ply as ply
from .axes import Y_DOWN, Y_UP
from .spz_container import is_spz


@dataclass(frozen=True)
class Format:
    name: str
    endings: tuple[str, ...]  # of names, lower case; the first is the usual one
    recognises: Callable[[Path, bytes], bool]  # a file and its first 64 bytes; content only, not the name
    read: Callable[[Path], Splat]
    write: Callable[[Path, Any], tuple[str, ...]]  # of a StaticSplat, a Splat with `moves`; what was clamped or lost
    up: Axis  # in its files, by specification or, where there is none or viewers do not follow it, by their habit
    says_up: bool = False  # the file itself has a place for `up`, and is not read as `up` without it
    says_antialiased: bool = False  # and for `antialiased`
    moves: bool = False  # holds a motion, and no splat without one


# The first that recognises a file reads it. No specification says what is up in a PLY; viewers take y as down, as in
# the files of COLMAP and 3DGS, and none but ours looks at the comment.
FORMATS = (
    Format(
        "compressed PLY",
        (".compressed.ply",),
        compressed_ply.is_compressed,
        compressed_ply.read,
        compressed_ply.write,
        up=Y_DOWN,
        says_up=True,
        says_antialiased=True,
    ),
    Format(
        "PLY",
        (".ply",),
        lambda path, head: head[:3] == b"ply",
        ply.read,
        ply.write,
        up=Y_DOWN,
        says_up=True,
        says_antialiased=True,
    ),
    Format("SPZ", (".spz",), is_spz, spz.read, spz.write, up=Y_UP, says_antialiased=True),
    # Before SOG, as each of its files is also one of those.
    Format(
        "4D SOG",
        (sog4d.ENDING,),
        sog4d.is_sog4d,
        sog4d.read,
        sog4d.write,
        up=Y_DOWN,
        says_antialiased=True,
        moves=True,
    ),
    # Its specification says y up, but its own tools and viewers take it as they take a PLY: y down.
    Format("SOG", (".sog", "meta.json"), sog.is_sog, sog.read, sog.write, up=Y_DOWN, says_antialiased=True),
    Format("glTF", (".glb", ".gltf"), gltf.is_gltf, gltf.read, gltf.write, up=Y_UP),
    # Has no mark to be recognised by: only its name tells.
    Format(".splat", (".splat",), lambda path, head: False, antimatter15.read, antimatter15.write, up=Y_DOWN),
)


_SPLAT_TRANSFORM = "`splat-transform {name} scene.ply`, of npm's @playcanvas/splat-transform, makes a PLY of it"
# Splats that are not read here, by the ending of the name: (what it is, what to do).
OTHER_FORMATS = {
    ".ksplat": ("a splat of GaussianSplats3D", _SPLAT_TRANSFORM),
    ".lcc": ("a splat of XGRIDS", _SPLAT_TRANSFORM),
    ".lcc2": ("a splat of XGRIDS", _SPLAT_TRANSFORM),
    "lod-meta.json": ("a streamed SOG scene of many levels of detail", _SPLAT_TRANSFORM),
    ".rad": ("a level-of-detail tree of Spark", "take the PLY or SPZ that it was built from, as no tool turns it back"),
    ".sogs": ("neither the ZIP nor the meta.json of a SOG scene", "export it again as .sog or .ply"),
    ".spx": ("a splat of Reall3dViewer", "the program gsbox makes a PLY of it"),
}


def splat_ending(path: Path) -> str | None:
    """The ending of a format that a name has, the longest that fits."""
    fitting = [ending for f in FORMATS for ending in f.endings if path.name.lower().endswith(ending)]
    return max(fitting, key=len, default=None)


def format_by_ending(path: Path) -> Format | None:
    """The format whose ending the name has."""
    ending = splat_ending(path)
    return next((f for f in FORMATS if ending in f.endings), None)


def format_of(path: Path) -> Format:
    """The format of a file: by its content; where that says nothing, by its name, so that errors name the format.

    Raises BadInputError when the file cannot be opened, or is no splat of any kind.
    """
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise BadInputError(f"{path} could not be read: {error.strerror or error}.") from error
    by_ending = format_by_ending(path)
    found = next((f for f in FORMATS if f.recognises(path, head)), None)
    other = _other_format(path)
    if found is None and other is not None:
        what, advice = OTHER_FORMATS[other]
        raise BadInputError(f"{path} is {what}, which is not read here; {advice.format(name=path.name)}.")
    found = found or by_ending
    if found is None:
        raise BadInputError(f"{path} is no splat file that is known here; one of {endings()} is expected.")
    return found


def splat_file(path: Path) -> Path | None:
    """The splat file that a person means by `path`: itself, or the meta.json of a SOG folder; None for anything else.

    Content decides, then the name, also that of a format for which `format_of` only has advice.
    """
    if path.is_dir():
        return path / sog.META if sog.is_sog_folder(path) else None
    if not path.is_file():
        return None
    with contextlib.suppress(OSError), path.open("rb") as file:  # what cannot be opened is told by who reads it
        head = file.read(64)
        if any(f.recognises(path, head) for f in FORMATS):
            return path
    return path if format_by_ending(path) is not None or _other_format(path) is not None else None


def _other_format(path: Path) -> str | None:
    return next((ending for ending in OTHER_FORMATS if path.name.lower().endswith(ending)), None)


def endings() -> str:
    """The endings of all formats, for sentences and help."""
    return ", ".join(ending for f in FORMATS for ending in f.endings)
