"""Moments: frames that several cameras took at the same time, kept and held out together."""

from __future__ import annotations

from collections.abc import Sequence

from .capture import Capture, evenly_spaced
from .errors import BadInputError

HOLD_OUT_RULES = "camera:NAME or moments:N"


def moments(capture: Capture, among: Sequence[int] | None = None) -> list[list[int]]:
    """Indices of the frames of each moment, in the order of time; those `among` alone where given.

    Raises ValueError for a capture without times.
    """
    chosen = range(len(capture)) if among is None else among
    found: dict[float, list[int]] = {}
    for i in chosen:
        time_s = capture.frames[i].time_s
        if time_s is None:
            raise ValueError(f"expected times of all frames, {capture.frames[i].name} has none")
        found.setdefault(time_s, []).append(i)
    return [sorted(found[time_s]) for time_s in sorted(found)]


def is_synchronised(capture: Capture, among: Sequence[int] | None = None) -> bool:
    """True where frames lie at several moments, and some moment has several: cameras that film the same."""
    if capture.times_s is None:
        return False
    found = moments(capture, among)
    return 1 < len(found) < sum(map(len, found))


def whole_moments(capture: Capture, among: Sequence[int], count: int) -> list[int]:
    """About `count` of the frames `among` a capture, in whole moments, evenly spaced in time; at least one moment."""
    found = moments(capture, among)
    wanted = max(1, round(count * len(found) / max(1, len(among))))
    return sorted(i for frames in evenly_spaced(found, wanted) for i in frames)


def held_out(capture: Capture, rule: str) -> list[int]:
    """Indices of the frames that a rule holds out: all of one camera, or every n-th moment of all cameras.

    `camera:NAME` is for scenes that several cameras film; `moments:N` holds out the N-th moment, the 2 N-th and so on
    (never the first: a splat has nothing before it), so that what lies between two moments is measured.
    Raises BadInputError where the rule is none of these, or the capture has no such camera or no times.
    """
    kind, _, value = rule.partition(":")
    if kind == "camera" and value:
        return _of_camera(capture, value)
    if kind == "moments" and value.isascii() and value.isdigit() and int(value) >= 2:
        if capture.duration_s == 0:
            raise BadInputError(
                f"--hold-out {rule} cannot be used: the frames of {capture.source} have no different times. Frames of "
                "a film get theirs by --fps."
            )
        every = int(value)
        found = moments(capture)
        if len(found) < every:
            raise BadInputError(
                f"--hold-out {rule} cannot be used: {capture.source} has {len(found)} moments, and {every} or more are "
                "needed."
            )
        return sorted(i for frames in found[every - 1 :: every] for i in frames)
    raise BadInputError(f"--hold-out {rule} cannot be used: {HOLD_OUT_RULES} is expected, N at least 2.")


def _of_camera(capture: Capture, name: str) -> list[int]:
    names = sorted({frame.camera for frame in capture.frames if frame.camera is not None})
    if not names:
        raise BadInputError(
            f"--hold-out camera:{name} cannot be used: {capture.source} does not say which camera took a frame. Use "
            "moments:N, or --eval."
        )
    if name not in names:
        raise BadInputError(
            f"--hold-out camera:{name} cannot be used: the cameras of {capture.source} are {', '.join(names)}."
        )
    if len(names) == 1:
        raise BadInputError(
            f"--hold-out camera:{name} cannot be used: {name} is the only camera of {capture.source}, and nothing "
            "would be left to train on."
        )
    return [i for i, frame in enumerate(capture.frames) if frame.camera == name]
