"""Splat files of every format: `load_splat` decides by content, `save_splat` by the name's ending.

Gaussians are in the world frame of their run, and `StaticSplat.up` says which way is up in it. Other viewers know
nothing of that frame, so a file holds the scene as they expect it: y up in SPZ and glTF, y down in PLY, compressed PLY,
.splat, SOG and 4D SOG. What the file cannot say itself goes into a side file `NAME.EXT.json`, which brings the scene
back into its world frame when it is loaded.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from ..cameras import Cameras
from ..errors import BadInputError
from ..geometry import Similarity
from ..one_moment import one_moment
from ..splat import Splat
from . import sog, splat_ply, spz
from .axes import file_from_world
from .clean import arrays, usable
from .format_table import Format, endings, format_by_ending, format_of, splat_ending, splat_file
from .linear_values import from_linear, linear_note, linear_parts
from .ply_camera import ply_camera
from .side_file import SideFile, check_side_path, read_side_file, remove_side_file, side_path, write_side_file

__all__ = [
    "file_for_viewers",
    "format_name",
    "has_splat_ending",
    "holds_motion",
    "load_splat",
    "save_splat",
    "side_path",
    "splat_bytes",
    "splat_camera",
    "splat_ending",
    "splat_file",
]


def has_splat_ending(path: Path | str) -> bool:
    """True where a name ends like a splat file."""
    return format_by_ending(Path(path)) is not None


def format_name(path: Path | str) -> str:
    """The format that a name's ending asks for, in words. Raises BadInputError for an unknown ending.

    >>> format_name("scene.spz"), format_name("scene.ply"), has_splat_ending("scene.jpg")
    ('SPZ', 'PLY', False)
    """
    return _format_to_write(Path(path)).name


def holds_motion(path: Path | str) -> bool:
    """True where a name ends like a format of moving splats.

    >>> holds_motion("scene.sog4d"), holds_motion("scene.sog")
    (True, False)
    """
    found = format_by_ending(Path(path))
    return found is not None and found.moves


def load_splat(path: Path | str, *, even_if_changed: bool = False, linear: bool = False) -> Splat:
    """The splat in a file of any format, in the world frame that it was written from as far as that is known.

    The side file counts for the very bytes that it was written with; with `even_if_changed` also for what another
    program has put in their place, which is then said in a note. With `linear` the scales and opacities of a PLY are
    taken as they are drawn, those that look so; without it a note says when they do. A folder is that of an unbundled
    SOG scene. Raises BadInputError for a file that is damaged, cut short or no splat, and for a damaged side file.
    """
    path = Path(path)
    path = splat_file(path) or path
    found = format_of(path)
    splat = found.read(path)
    if linear:
        if found.read is not splat_ply.read:
            raise BadInputError(f"{path} is {found.name}, which has one way of storing sizes; --linear is for a PLY.")
        splat = replace(splat, gaussians=from_linear(path, splat.gaussians))
    elif found.read is splat_ply.read:
        splat = replace(splat, notes=(*splat.notes, *linear_note(path, linear_parts(splat.gaussians))))
    side, notes = read_side_file(path, even_if_changed=even_if_changed)
    splat = replace(splat, notes=(*splat.notes, *notes))
    if side is None:
        return splat if found.says_up else replace(splat, up=found.up)
    return replace(_moved(splat, side.world_from_file), up=side.up, antialiased=side.antialiased)


def splat_camera(path: Path) -> tuple[Cameras | None, tuple[str, ...]]:
    """(the camera [] in the frame of a file that it was made for, sentences on it); None where the file names none."""
    if format_of(path).read is not splat_ply.read:
        return None, ()
    return ply_camera(path)


def save_splat(
    path: Path | str,
    splat: Splat,
    *,
    spz_version: int | None = None,  # None: the usual one
    keep_frame: bool = False,  # leave coordinates as they are, whatever viewers of the format take as up
    side_file: bool = True,  # False never writes one: the frame is lost, and what else the format cannot say
) -> tuple[str, ...]:
    """Write a splat in the format that the name's ending asks for; equal input gives equal bytes.

    The scene is turned as viewers of the format expect it, and beside the file goes a side file when the format has no
    place for the frame, the up axis or the way of rendering. A moving splat is written as it is at its first moment
    (`one_moment` gives others) where the format holds no motion. Returns sentences about what was left out, clamped
    or lost. Raises BadInputError for an unknown ending, and for a splat that the format cannot hold.
    """
    path = Path(path)
    found = _format_to_write(path)
    lost: tuple[str, ...] = ()
    if not found.moves:
        splat, lost = one_moment(splat)
    write = found.write
    if spz_version is not None:
        if found.write is not spz.write:
            raise BadInputError(f"{path.name} is no SPZ file, so it has no SPZ version {spz_version}.")
        write = partial(spz.write, version=spz_version)
    file_frame = Similarity.identity() if keep_frame else file_from_world(splat.up, found.up)
    # Unknown is taken as the usual.
    up_in_file = splat.up if keep_frame or splat.up is None else found.up
    says_up = found.says_up or up_in_file in (None, found.up)
    says_all = _is_still(file_frame) and says_up and (found.says_antialiased or not splat.antialiased)
    if side_file and not says_all:
        check_side_path(path)
    if not side_file and splat.antialiased and not found.says_antialiased:
        lost = (*lost, f"{found.name} has no place for antialiasing; the splat is drawn a little too bright without.")
    usable_splat, notes = _usable(splat)
    notes = (*lost, *notes)
    notes += write(path, replace(_moved(usable_splat, file_frame), up=up_in_file))
    if says_all or not side_file:
        remove_side_file(path)
    else:
        write_side_file(path, SideFile(file_frame.inverse(), splat.up, splat.antialiased))
    return notes


def splat_bytes(name: str, splat: Splat) -> tuple[bytes, tuple[str, ...]]:
    """(the file of this name that `save_splat` would write, its sentences), for programs that take no side file."""
    with tempfile.TemporaryDirectory(prefix="fewview_") as folder:
        path = Path(folder) / name
        notes = save_splat(path, splat)
        return path.read_bytes(), notes


def file_for_viewers(path: Path | str) -> tuple[str, bytes]:
    """(name, bytes) of a splat file to be handed on: as it is, or a new one where others would not see it right.

    Other viewers do not read what a PLY says about its axes, and an unbundled SOG scene is more than its meta.json.
    """
    path = Path(path)
    found = format_of(path)
    if path.name == sog.META:
        return f"{path.resolve().parent.name}.sog", sog.bundle(path)
    if found.says_up and found.read(path).up not in (None, found.up):
        return path.name, splat_bytes(path.name, load_splat(path))[0]
    return path.name, path.read_bytes()


def _format_to_write(path: Path) -> Format:
    found = format_by_ending(path)
    if found is None:
        raise BadInputError(f"{path.name} does not end like a splat file; one of {endings()} is expected.")
    return found


def _usable(splat: Splat) -> tuple[Splat, tuple[str, ...]]:
    keep = torch.from_numpy(usable(*arrays(splat.gaussians)))
    if bool(keep.all()):
        return splat, ()
    note = f"{int((~keep).sum())} of {len(keep)} Gaussians are not numbers and were left out."
    return splat.rows(keep.to(splat.gaussians.means.device)), (note,)


def _moved(splat: Splat, new_from_old: Similarity) -> Splat:
    """The splat in another frame; `up` is left to the caller."""
    if _is_still(new_from_old):
        return splat
    return splat.moved(new_from_old)


def _is_still(motion: Similarity) -> bool:
    return all(
        torch.equal(a.double(), b)
        for a, b in zip(vars(motion).values(), vars(Similarity.identity()).values(), strict=True)
    )
