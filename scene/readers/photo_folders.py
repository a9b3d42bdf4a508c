"""The photographs of a folder: those of the level that has most of them, and what is left out."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ..images import SUFFIXES, is_image_file
from .mask_files import FOLDERS as MASK_FOLDERS
from .named_photographs import BESIDE_PHOTOGRAPHS
from .safe_paths import listed, printable

DEEPEST = 2  # levels of folders below the one that is named
# Kinds of pictures that nothing here decodes: raw ones of cameras, and others that people keep among photographs.
UNREAD_SUFFIXES = frozenset(
    {
        ".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".raf", ".orf", ".rw2", ".pef", ".srw", ".raw",
        ".jxl", ".jp2", ".exr", ".hdr", ".psd", ".svg",
    }
)  # fmt: skip


@dataclass(frozen=True)
class PhotoFolder:
    """Photographs of one data set, in plain order of their names from `root`."""

    root: Path
    files: tuple[Path, ...]
    notes: tuple[str, ...]  # on what is not taken

    def name(self, file: Path) -> str:
        """A file's name from the root, with forward slashes."""
        return file.relative_to(self.root).as_posix()


def photo_files(folder: Path) -> list[Path]:
    """The photographs directly in a folder, in plain order of their names."""
    return sorted((p for p in folder.iterdir() if is_image_file(p)), key=lambda p: p.name)


def find_photographs(path: Path) -> PhotoFolder:
    """The photographs in a folder and the folders in it; none where there are none.

    Of the levels, the folder itself and those below it, the one with most photographs is taken, the upper of equals: a
    preview above `images/` is no data set. Several folders beside each other are taken together, unless their
    photographs have the same names, as smaller copies have: then the one with most, the first of equals.
    """
    levels = [[(path, photo_files(path))]]
    for _ in range(DEEPEST):
        below = [child for folder, _ in levels[-1] for child in _folders_in(folder)]
        levels.append([(folder, photo_files(folder)) for folder in below])
    counts = [sum(len(files) for _, files in level) for level in levels]
    level = levels[counts.index(max(counts))]
    stems = Counter(file.stem.lower() for _, files in level for file in {f.stem.lower(): f for f in files}.values())
    strangers = len({folder.parent for folder, files in level if files}) > 1
    if strangers or any(count > 1 for count in stems.values()):
        level = [max(level, key=lambda item: len(item[1]))]
    taken = [folder for folder, files in level if files]
    root = taken[0] if len(taken) == 1 else path
    files = tuple(sorted((f for _, found in level for f in found), key=lambda f: f.relative_to(root).as_posix()))
    notes = (*_other_notes(path, levels, taken), *_unread_notes([path, *taken]), *_link_notes([path, *taken]))
    return PhotoFolder(root, files, notes)


def _folders_in(folder: Path) -> list[Path]:
    """Folders that can hold photographs: neither hidden nor of masks, depths and the like."""
    try:
        children = [p for p in folder.iterdir() if p.is_dir() and p.name[0] not in "._" and os.access(p, os.R_OK)]
    except OSError:
        return []
    return sorted(p for p in children if p.name.lower() not in BESIDE_PHOTOGRAPHS and p.name not in MASK_FOLDERS)


def _other_notes(path: Path, levels: list[list[tuple[Path, list[Path]]]], taken: list[Path]) -> list[str]:
    others = [(folder, len(files)) for level in levels for folder, files in level if files and folder not in taken]
    if not others or not taken:
        return []
    where = listed(
        [f"{path} itself" if folder == path else printable(str(folder.relative_to(path))) for folder, _ in others]
    )
    return [
        f"{sum(count for _, count in others)} photographs are not used, as most lie together in "
        f"{listed([str(folder) for folder in taken], most=2)}: those in {where}. Put them into one folder to use all."
    ]


def _unread_notes(folders: list[Path]) -> list[str]:
    unread = sorted(
        {file.name for folder in folders for file in folder.iterdir() if file.suffix.lower() in UNREAD_SUFFIXES}
    )
    if not unread:
        return []
    kinds = ", ".join(sorted({Path(name).suffix.lower() for name in unread}))
    names = listed([printable(name) for name in unread])
    return [f"{len(unread)} pictures of kinds that are not read ({kinds}) were left out: {names}. Export JPEGs."]


def _link_notes(folders: list[Path]) -> list[str]:
    """On links that are named like photographs and lead nowhere, as an unmounted disk leaves them."""
    links = {f.name for folder in folders for f in folder.iterdir() if f.is_symlink() and not f.exists()}
    lost = [printable(name) for name in sorted(links) if Path(name).suffix.lower() in SUFFIXES]
    return [f"Links to photographs that lead nowhere were left out: {listed(lost)}."] if lost else []
