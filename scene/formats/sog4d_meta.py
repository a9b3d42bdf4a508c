"""The `motion.json` of a 4D SOG scene: what its motion images hold, checked before any of them is decoded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..control_points import RESIDUALS
from ..errors import BadInputError
from ..files import parse_json
from ..splat import BLACK, Color
from .sog_files import MAX_META_BYTES, SogFiles

MOTION = "motion.json"
KIND, VERSION = "control_points", 1
MAX_SIDE = 16383  # pixels of a WebP: control points and moments
MAX_CELLS = 2**22  # control points times moments: about 40 times as many as methods make
MAX_NEIGHBOURS = 16
_FREE_CELLS, _MAX_CELLS_A_BYTE = 65536, 64  # as for Gaussians: more in so few bytes is a bomb
_LIMIT = 1e30

# Tracks of the control points: (channels, whether they have a row for each moment).
OPTIONAL = tuple(RESIDUALS)
TRACKS = {"points": (3, False), "shifts": (3, True), "turns": (4, True)}
TRACKS |= {name: (channels, True) for name, channels in RESIDUALS.items()}


@dataclass(frozen=True)
class Track:
    """One quantity of all control points: 16 bits between bounds, the low and the high byte in an image each."""

    low: np.ndarray  # [C]
    high: np.ndarray  # [C]
    files: tuple[str, str]


@dataclass(frozen=True)
class MotionMeta:
    count: int  # Gaussians
    order_mark: str  # SHA-256 of the two images of their places, whose order the motion follows
    points: int
    times_s: tuple[float, ...]
    tracks: dict[str, Track]
    max_weight: float
    neighbour_files: tuple[str, ...]  # an image for each of the K neighbours
    background: Color


def read_motion_meta(files: SogFiles) -> MotionMeta:
    """The checked motion.json of a scene. Raises BadInputError that names the entry that is wrong."""
    where = files.name(MOTION)
    table = parse_json(files.read(MOTION, MAX_META_BYTES), where)
    if not isinstance(table, dict):
        raise BadInputError(f"{where} should hold a JSON object, found {type(table).__name__}.")
    version, kind = table.get("version"), table.get("kind")
    if version != VERSION or isinstance(version, bool) or kind != KIND:
        raise BadInputError(
            f"{where} is of version {str(version)[:20]} and kind {str(kind)[:40]!r}; this Fewview reads version "
            f"{VERSION} of {KIND!r}. Without {MOTION} the bundle is a still SOG scene."
        )
    points = _whole(where, "points", table.get("control_points"), MAX_SIDE, "control_points")
    times = _times(where, table.get("times_s"))
    gaussians = _object(where, table, "gaussians")
    weights = _object(where, table, "weights")
    near = _whole(where, "neighbours", weights.get("neighbours"), MAX_NEIGHBOURS, "weights.neighbours")
    absent = [name for name in TRACKS if name not in OPTIONAL and name not in table]
    if absent:
        raise BadInputError(f"{where}: an object '{absent[0]}' is expected, so this is no motion.")
    tracks = {name: _track(where, name, table, channels) for name, (channels, _) in TRACKS.items() if name in table}
    meta = MotionMeta(
        _whole(where, "count", gaussians.get("count"), 2**40, "gaussians.count"),
        str(gaussians.get("sha256")),
        points,
        times,
        tracks,
        float(_numbers(where, "weights.max", [weights.get("max")], 1)[0]),
        _names(where, "weights", weights, near),
        _color(where, table.get("background", list(BLACK))),
    )
    _check_cells(files, meta)
    return meta


def _check_cells(files: SogFiles, meta: MotionMeta) -> None:
    cells = meta.points * len(meta.times_s)
    total = files.total_bytes([file for track in meta.tracks.values() for file in track.files])
    if cells > min(MAX_CELLS, _FREE_CELLS + _MAX_CELLS_A_BYTE * total):
        raise BadInputError(
            f"{files.name(MOTION)} promises {meta.points} control points at {len(meta.times_s)} moments, but their "
            f"images have {total} bytes together; the file is damaged or too large."
        )
    if meta.max_weight < 0:
        raise BadInputError(f"{files.name(MOTION)}: 'weights.max' is {meta.max_weight:g}; at least 0 is expected.")


def _whole(where: str, what: str, value: Any, highest: int, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= highest:
        raise BadInputError(
            f"{where}: '{name}' should be a whole number of {what} from 1 to {highest}, found {str(value)[:40]}."
        )
    return value


def _object(where: str, table: dict[str, Any], name: str) -> dict[str, Any]:
    value = table.get(name)
    if not isinstance(value, dict):
        raise BadInputError(f"{where}: an object '{name}' is expected, so this is no motion.")
    return value


def _names(where: str, name: str, part: dict[str, Any], count: int) -> tuple[str, ...]:
    files = part.get("files")
    if not isinstance(files, list) or len(files) != count or not all(isinstance(file, str) for file in files):
        raise BadInputError(f"{where}: '{name}.files' should be a list of {count} file names.")
    return tuple(files)


def _numbers(where: str, what: str, value: Any, count: int) -> np.ndarray:
    """float64 [count]"""
    numbers = value if isinstance(value, list) and len(value) == count else [None]
    if not all(isinstance(x, int | float) and not isinstance(x, bool) and abs(x) <= _LIMIT for x in numbers):
        raise BadInputError(f"{where}: '{what}' should be {count} numbers up to {_LIMIT:g}, found {str(value)[:60]}.")
    return np.array(numbers, np.float64)


def _track(where: str, name: str, table: dict[str, Any], channels: int) -> Track:
    part = _object(where, table, name)
    low, high = (_numbers(where, f"{name}.{end}", part.get(end), channels) for end in ("mins", "maxs"))
    lower, upper = _names(where, name, part, 2)
    return Track(low, high, (lower, upper))


def _times(where: str, value: Any) -> tuple[float, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_SIDE:
        raise BadInputError(f"{where}: 'times_s' should be a list of 1 to {MAX_SIDE} moments.")
    times = _numbers(where, "times_s", value, len(value))
    if not (np.diff(times) > 0).all():
        raise BadInputError(f"{where}: 'times_s' should increase from each moment to the next.")
    return tuple(times.tolist())


def _color(where: str, value: Any) -> Color:
    red, green, blue = _numbers(where, "background", value, 3).tolist()
    if not all(math.isfinite(x) and 0 <= x <= 1 for x in (red, green, blue)):
        raise BadInputError(f"{where}: 'background' should be three numbers from 0 to 1, found {str(value)[:60]}.")
    return red, green, blue
