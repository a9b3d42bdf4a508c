"""Weights that come with Fewview, which a word stands for on the command line."""

from __future__ import annotations

from pathlib import Path


def named_by_word(given: Path, word: Path, bundled: Path) -> Path:
    """The bundled weights where the word for them was given and nothing of that name is there; else what was given."""
    return bundled if given == word and not word.exists() else given
