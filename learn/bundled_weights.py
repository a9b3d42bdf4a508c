"""Weights that come with Fewview, which a word stands for on the command line."""

from __future__ import annotations

from pathlib import Path


def named_by_word(given: Path, word: Path, bundled: Path, *, may_be_folder: bool) -> Path:
    """The bundled weights where the word for them was given and nothing usable has that name; else what was given.

    Where a folder is nothing that may be given, one that happens to have the name does not stand in the word's way.
    """
    is_there = word.exists() if may_be_folder else word.is_file()
    return bundled if given == word and not is_there else given
