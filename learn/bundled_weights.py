"""Weights that come with Fewview, which a word stands for on the command line."""

from __future__ import annotations

from pathlib import Path


def named_by_word(given: Path, word: Path, bundled: Path) -> Path:
    """The bundled weights where the word for them was given and no file of that name is there; else what was given.

    A folder that happens to have the name, such as one of results, does not stand in the word's way.
    """
    return bundled if given == word and not word.is_file() else given
