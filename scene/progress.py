"""Progress of long work, notified without knowing who listens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Progress(Protocol):
    """Called often and cheaply: `done` of `total` (0 when unknown) in the named stage, with figures that matter."""

    def __call__(self, stage: str, done: int, total: int, figures: Mapping[str, float | int | str] = ...) -> None: ...


def silent(stage: str, done: int, total: int, figures: Mapping[str, float | int | str] = {}) -> None:
    """The listener that says nothing."""


def duration(seconds: float) -> str:
    """`0.8 s`, `42 s`, `3 min 05 s`, `2 h 04 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
