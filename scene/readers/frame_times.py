"""Times of a data set's frames: all of them or none, and a sentence on those that show no motion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from ..capture import Frame
from ..errors import BadInputError


def all_or_no_times(frames: Sequence[Frame], path: Path) -> list[Frame]:
    """The frames as they are. Raises BadInputError where some have a 'time' and others none."""
    known = sum(frame.time_s is not None for frame in frames)
    if known not in (0, len(frames)):
        raise BadInputError(
            f"{path}: {known} of {len(frames)} frames have a 'time'; all of them or none are expected. Give the others "
            "theirs, or remove 'time' everywhere to take the photographs as those of a scene that stands still."
        )
    return list(frames)


def notes_on_times(frames: Sequence[Frame], path: Path) -> list[str]:
    """A sentence where the training frames, which all have times, are of one moment; else nothing."""
    times = {frame.time_s for frame in frames if frame.time_s is not None}
    if len(times) != 1:
        return []
    if len(frames) == 1:
        return [f"{path} has one frame to train on, which shows no motion: a scene that moves needs several moments."]
    return [
        f"The 'time' of all {len(frames)} training frames of {path} is {next(iter(times)):g}: they are taken as "
        "photographs of one moment, and nothing moves."
    ]


def note_on_range(frames: Sequence[Frame], path: Path) -> list[str]:
    """A sentence where times of a D-NeRF folder, which the format has from 0 to 1, go beyond; else nothing."""
    times = [frame.time_s for frame in frames if frame.time_s is not None]
    if not times or (min(times) >= 0 and max(times) <= 1):
        return []
    return [
        f"The times of {path} run from {min(times):g} to {max(times):g}, where D-NeRF has 0 to 1; they are taken as "
        "they are."
    ]


def checked_rate(fps: float | None) -> float | None:
    """Frames per second as given. Raises BadInputError unless it is a finite number above 0."""
    if fps is not None and not (math.isfinite(fps) and fps > 0):
        raise BadInputError(f"--fps {fps:g} cannot be used: frames per second, more than 0, are expected.")
    return fps
