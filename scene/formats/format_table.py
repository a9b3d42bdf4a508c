"""The table of splat formats, and how a file's format is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import BadInputError
from ..splat import Axis, StaticSplat
from . import antimatter15, compressed_ply, gltf, sog, spz
from . import splat_ply as ply
from .axes import Y_DOWN, Y_UP
from .spz_container import is_spz


@dataclass(frozen=True)
class Format:
    name: str
    endings: tuple[str, ...]  # of names, lower case; the first is the usual one
    recognises: Callable[[Path, bytes], bool]  # a file and its first 64 bytes; content only, not the name
    read: Callable[[Path], StaticSplat]
    write: Callable[[Path, StaticSplat], tuple[str, ...]]  # returns what was clamped or lost
    up: Axis  # in its files, by specification or, where there is none or viewers do not follow it, by their habit
    says_up: bool = False  # the file itself has a place for `up`, and is not read as `up` without it
    says_antialiased: bool = False  # and for `antialiased`


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
    # Its specification says y up, but its own tools and viewers take it as they take a PLY: y down.
    Format("SOG", (".sog", "meta.json"), sog.is_sog, sog.read, sog.write, up=Y_DOWN, says_antialiased=True),
    Format("glTF", (".glb", ".gltf"), gltf.is_gltf, gltf.read, gltf.write, up=Y_UP),
    # Has no mark to be recognised by: only its name tells.
    Format(".splat", (".splat",), lambda path, head: False, antimatter15.read, antimatter15.write, up=Y_DOWN),
)


def format_by_ending(path: Path) -> Format | None:
    """The format whose ending the name has; the longest ending wins."""
    name = path.name.lower()
    fitting = [(len(ending), f) for f in FORMATS for ending in f.endings if name.endswith(ending)]
    return max(fitting, key=lambda pair: pair[0])[1] if fitting else None


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
    found = next((f for f in FORMATS if f.recognises(path, head)), by_ending)
    if found is None:
        raise BadInputError(f"{path} is no splat file that is known here; one of {endings()} is expected.")
    return found


def endings() -> str:
    """The endings of all formats, for sentences and help."""
    return ", ".join(ending for f in FORMATS for ending in f.endings)
