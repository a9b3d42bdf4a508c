"""Splat files of every format: `load_splat` decides by content, `save_splat` by the name's ending.

Gaussians are in the world frame of their run, and `StaticSplat.up` says which way is up in it. A format that defines
axes (x right, y up, z back) gets the scene turned so that up is +y; what the file cannot say itself goes into a side
file `NAME.EXT.json`, which brings the scene back into its world frame when it is loaded.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from ..errors import BadInputError
from ..geometry import Similarity
from ..splat import StaticSplat
from . import spz
from .axes import file_from_world
from .clean import arrays, usable
from .format_table import Format, endings, format_by_ending, format_of
from .side_file import SideFile, check_side_path, read_side_file, remove_side_file, side_path, write_side_file

__all__ = ["format_name", "has_splat_ending", "load_splat", "save_splat", "side_path"]


def has_splat_ending(path: Path | str) -> bool:
    """True where a name ends like a splat file."""
    return format_by_ending(Path(path)) is not None


def format_name(path: Path | str) -> str:
    """The format that a name's ending asks for, in words. Raises BadInputError for an unknown ending.

    >>> format_name("scene.spz"), format_name("scene.ply"), has_splat_ending("scene.jpg")
    ('SPZ', 'PLY', False)
    """
    return _format_to_write(Path(path)).name


def load_splat(path: Path | str) -> StaticSplat:
    """The splat in a file of any format, in the world frame that it was written from as far as that is known.

    Raises BadInputError for a file that is damaged, cut short or no splat, and for a damaged side file.
    """
    path = Path(path)
    found = format_of(path)
    splat = found.read(path)
    side, notes = read_side_file(path)
    if side is None:
        return replace(splat, up=found.up or splat.up, notes=(*splat.notes, *notes))
    return replace(_moved(splat, side.world_from_file), up=side.up, antialiased=side.antialiased)


def save_splat(path: Path | str, splat: StaticSplat, *, spz_version: int | None = None) -> tuple[str, ...]:
    """Write a splat in the format that the name's ending asks for; equal input gives equal bytes.

    Beside it goes a side file when the format has no place for the frame, the up axis or the way of rendering.
    Returns sentences about what was left out, clamped or lost. Raises BadInputError for an unknown ending, and for a
    splat that the format cannot hold.
    """
    path = Path(path)
    found = _format_to_write(path)
    write = found.write
    if spz_version is not None:
        if found.write is not spz.write:
            raise BadInputError(f"{path.name} is no SPZ file, so it has no SPZ version {spz_version}.")
        write = partial(spz.write, version=spz_version)
    file_frame = _still() if found.up is None else file_from_world(splat.up, found.up)
    says_up = found.says_up or splat.up in (None, found.up)  # unknown is taken as the usual
    says_all = _is_still(file_frame) and says_up and (found.says_antialiased or not splat.antialiased)
    if not says_all:
        check_side_path(path)
    splat, notes = _usable(splat)
    notes += write(path, _moved(splat, file_frame))
    if says_all:
        remove_side_file(path)
    else:
        write_side_file(path, SideFile(file_frame.inverse(), splat.up, splat.antialiased))
    return notes


def _format_to_write(path: Path) -> Format:
    found = format_by_ending(path)
    if found is None:
        raise BadInputError(f"{path.name} does not end like a splat file; one of {endings()} is expected.")
    return found


def _usable(splat: StaticSplat) -> tuple[StaticSplat, tuple[str, ...]]:
    keep = torch.from_numpy(usable(*arrays(splat.gaussians)))
    if bool(keep.all()):
        return splat, ()
    note = f"{int((~keep).sum())} of {len(keep)} Gaussians are not numbers and were left out."
    return replace(splat, gaussians=splat.gaussians[keep.to(splat.gaussians.means.device)]), (note,)


def _moved(splat: StaticSplat, new_from_old: Similarity) -> StaticSplat:
    """The splat in another frame; `up` is left to the caller."""
    if _is_still(new_from_old):
        return splat
    return replace(splat, gaussians=splat.gaussians.moved(new_from_old))


def _still() -> Similarity:
    return Similarity(torch.ones(()).double(), torch.eye(3).double(), torch.zeros(3).double())


def _is_still(motion: Similarity) -> bool:
    return all(torch.equal(a.double(), b) for a, b in zip(vars(motion).values(), vars(_still()).values(), strict=True))
