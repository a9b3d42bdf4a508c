"""The moment of a splat that `--time` names, checked the same way by every command that has it."""

from __future__ import annotations

from pathlib import Path

from ..scene.errors import BadInputError
from ..scene.splat import Splat


def require_motion(source: Path, splat: Splat, asked: str) -> tuple[float, float]:
    """(first, last) moment of the splat. Raises BadInputError where it does not move; `asked` is what was typed."""
    if splat.time_range_s is None:
        raise BadInputError(f"{source} does not move, so {asked} of it cannot be had; leave that out.")
    return splat.time_range_s


def require_moment(source: Path, splat: Splat, time_s: float | None) -> None:
    """Raises BadInputError unless `time_s` is None or lies within the motion of the splat that was read of `source`."""
    if time_s is None:
        return
    asked = f"--time {time_s:g}"
    first, last = require_motion(source, splat, asked)
    if not first <= time_s <= last:
        raise BadInputError(f"{asked} is outside of the motion of {source}, {first:g} to {last:g}.")
