"""How long work tells what it is doing, without knowing who listens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Progress(Protocol):
    """Called often and cheaply: `done` of `total` (0 when unknown) in the named stage, with figures that matter."""

    def __call__(self, stage: str, done: int, total: int, figures: Mapping[str, float | int | str] = ...) -> None: ...


def silent(stage: str, done: int, total: int, figures: Mapping[str, float | int | str] = {}) -> None:
    """The listener that says nothing."""
