"""Photographs of a data set that cannot be used: left out one by one, named, and refused only when none is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from ..errors import BadInputError
from ..images import check_decodes
from .orientation import Oriented, PosedFile, misfit
from .safe_paths import listed

T = TypeVar("T")


def decodable(paths: Sequence[Path], items: Sequence[T], max_megapixels: float) -> tuple[list[T], dict[str, str]]:
    """The items whose photographs can be decoded to the end, and the reasons of the others by their names."""
    kept: list[T] = []
    unreadable: dict[str, str] = {}
    for path, item in zip(paths, items, strict=True):
        try:
            check_decodes(path, max_megapixels)
            kept.append(item)
        except BadInputError as error:
            unreadable[path.name] = str(error)
    return kept, unreadable


def unreadable_notes(unreadable: Mapping[str, str], total: int, source: Path) -> list[str]:
    """A note that names what could not be read. Raises BadInputError where that is every one of `total`."""
    if not unreadable:
        return []
    if len(unreadable) == total:
        first = next(iter(unreadable.values()))
        raise BadInputError(f"None of the {total} photographs of {source} can be read. The first: {first}")
    names = listed(list(unreadable))
    return [f"{len(unreadable)} of {total} photographs could not be read and were left out: {names}."]


def misfit_notes(files: Sequence[PosedFile], oriented: Sequence[Oriented | None], source: Path) -> list[str]:
    """A note that names the photographs that do not fit their cameras. Raises BadInputError where none does."""
    wrong = [file for file, way in zip(files, oriented, strict=True) if way is None]
    if not wrong:
        return []
    if len(wrong) == len(files):
        raise BadInputError(f"None of the photographs of {source} fits its camera. The first: {misfit(wrong[0])}")
    return [
        f"{len(wrong)} of {len(files)} photographs do not fit their cameras and were left out: "
        f"{listed([file.path.name for file in wrong])}. The first: {misfit(wrong[0])}"
    ]


def centre_notes(odd: Sequence[str]) -> list[str]:
    """A note on cameras whose optical axis does not meet their photograph."""
    if not odd:
        return []
    return [
        f"The principal point of {len(odd)} cameras lies outside of their photographs, as only strong crops have it: "
        f"{listed(list(odd))}."
    ]
