"""Masks in a folder beside the photographs, under the photographs' names."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from ..errors import BadInputError
from ..images import load_mask, read_header
from .orientation import fits
from .safe_paths import inside, is_file, listed

FOLDERS = ("masks", "mask")
_SUFFIXES = (".png", ".jpg", ".jpeg", ".PNG", ".JPG")


class MaskFiles:
    """The masks of the photographs in `root`: in masks/ in it or beside it, as NAME.png or COLMAP's NAME.jpg.png.

    Black means that a pixel does not count, as for COLMAP and nerfstudio.
    """

    def __init__(self, root: Path, max_megapixels: float) -> None:
        places = [base / name for base in (root, root.parent) for name in FOLDERS]
        self.folder = next((place for place in places if place.is_dir() and any(place.iterdir())), None)
        self._max_megapixels = max_megapixels
        self._used, self._asked = 0, 0
        self._unusable: list[str] = []

    def find(self, name: str, width: int, height: int) -> Path | None:
        """The mask of the photograph `name`, from the root, of width x height pixels; None without a usable one."""
        if self.folder is None:
            return None
        self._asked += 1
        path = PurePosixPath(name)
        tried = [f"{path}{suffix}" for suffix in _SUFFIXES] + [str(path.with_suffix(suffix)) for suffix in _SUFFIXES]
        try:
            files = [inside(self.folder, mask, f"{self.folder}, the mask of {name!r}") for mask in tried]
        except BadInputError:  # photographs from elsewhere have no masks here
            return None
        mask = next((file for file in files if is_file(file)), None)
        if mask is None:
            return None
        try:
            header = read_header(mask, self._max_megapixels)
            load_mask(mask, 1, 1, self._max_megapixels)
        except BadInputError:
            header = None
        if header is None or not fits(header.width, header.height, width, height):
            self._unusable.append(mask.name)
            return None
        self._used += 1
        return mask

    def notes(self) -> list[str]:
        """Sentences on the masks that are used and on those that are not."""
        if self.folder is None:
            return []
        notes = []
        if self._used:
            notes.append(
                f"{self._used} of {self._asked} photographs have a mask in {self.folder}; what is black there does not "
                "count."
            )
        elif not self._unusable:
            notes.append(f"The masks in {self.folder} are not used: none has the name of a photograph.")
        if self._unusable:
            notes.append(
                f"{len(self._unusable)} masks cannot be read or have another aspect than their photographs and were "
                f"left out: {listed(self._unusable)}."
            )
        return notes
