"""Photographs that a data set names, found also where it was made on another computer.

Such names come with backslashes, a drive or a home folder in front, another case, or the ending of another format. What
they end with is then looked up among the files of the data set, and a note says so.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from pathlib import Path, PurePosixPath

from ..errors import BadInputError
from ..images import SUFFIXES
from .safe_paths import inside, is_file, listed

SUFFIXES_TRIED = ("", ".png", ".jpg", ".jpeg", ".JPG", ".JPEG", ".PNG", ".webp")
BESIDE_PHOTOGRAPHS = frozenset(
    {"mask", "masks", "depth", "depths", "depth_maps", "normal", "normals", "sparse", "stereo", "renders", "thumbnails"}
)
_MAX_FILES = 200_000
_DRIVE = re.compile(r"^[A-Za-z]:(?=[\\/])")


class NamedPhotographs:
    """The photographs in `root` by the names that a data set gives them."""

    def __init__(self, root: Path, allow_outside: bool = False) -> None:
        self.root, self._allow_outside = root, allow_outside
        self._by_stem: dict[str, list[PurePosixPath]] | None = None
        self._guessed: dict[str, str] = {}

    def find(self, named: str, where: str) -> Path | None:
        """The file that is meant; None where there is none.

        Raises BadInputError for a name that leads out of the folder, unless what it ends with lies in it.
        """
        outside: BadInputError | None = None
        for suffix in SUFFIXES_TRIED:
            try:
                path = inside(self.root, named + suffix, where, self._allow_outside)
            except BadInputError as error:
                outside = error
                break
            if is_file(path):
                return path
        guess = self._by_end(named)
        if guess is not None:
            path = inside(self.root, guess, where, self._allow_outside)
            self._guessed[named] = guess
            return path
        if outside is not None and not _DRIVE.match(named):
            raise outside
        return None

    def notes(self) -> list[str]:
        """A sentence on the names that were found by their end only."""
        if not self._guessed:
            return []
        examples = listed([f"{named!r} is {found}" for named, found in self._guessed.items()], most=2)
        return [
            f"{len(self._guessed)} photographs have other names in {self.root} and were found by the end: {examples}."
        ]

    def _by_end(self, named: str) -> str | None:
        """The one file whose path has most of the name's last parts, whatever the case and the format's ending."""
        parts = [p for p in PurePosixPath(_DRIVE.sub("", named).replace("\\", "/")).parts if p != "/"]
        if not parts or ".." in parts or "\0" in named:
            return None
        last = PurePosixPath(parts[-1])
        stem = last.stem if last.suffix.lower() in SUFFIXES else last.name
        wanted = [*(p.lower() for p in parts[:-1]), stem.lower()]
        # The format is the least: of two that differ in it alone, the one that is named.
        scored = [
            (_common_end(wanted, path), path.suffix.lower() == last.suffix.lower(), path)
            for path in self._files().get(stem.lower(), [])
        ]
        if not scored:
            return None
        best = max(score[:2] for score in scored)
        chosen = [path for *score, path in scored if tuple(score) == best]
        return str(chosen[0]) if len(chosen) == 1 else None

    def _files(self) -> dict[str, list[PurePosixPath]]:
        """Paths of the photographs from `root`, by their last part in lower case, without the ending."""
        if self._by_stem is None:
            self._by_stem = defaultdict(list)
            count = 0
            for folder, folders, files in os.walk(self.root):
                folders[:] = sorted(f for f in folders if f.lower() not in BESIDE_PHOTOGRAPHS and f[0] != ".")
                for name in sorted(files):
                    path = PurePosixPath(Path(folder, name).relative_to(self.root).as_posix())
                    if path.suffix.lower() in SUFFIXES and not name.startswith("."):
                        self._by_stem[path.stem.lower()].append(path)
                count += len(files)
                if count > _MAX_FILES:  # a whole disk was named
                    break
        return self._by_stem


def _common_end(wanted: list[str], path: PurePosixPath) -> int:
    """Number of last parts that a wanted name and a path share."""
    parts = [*(p.lower() for p in path.parts[:-1]), path.stem.lower()]
    count = 0
    for a, b in zip(reversed(wanted), reversed(parts), strict=False):
        if a != b:
            break
        count += 1
    return count
