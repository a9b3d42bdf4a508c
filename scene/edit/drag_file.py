"""The drag file: handles of a moving scene and where they go, as JSON (docs/drag.md describes it)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..errors import BadInputError
from ..files import read_json
from ..json_field import JsonField
from .control_graph import diagonal, rings
from .frozen_moment import FrozenMoment
from .node_drag import MODES, DragKey, Handle, Mode

VERSION = 1
MAX_HANDLES, MAX_POINTS, MAX_KEYS, MAX_RINGS = 200, 5000, 200, 50
USUAL_RINGS = 2  # around a place; a list of control points is taken as it is
FARTHEST = 1 / 4  # of the scene's diagonal, from a place to the nearest control point


@dataclass(frozen=True)
class WantedHandle:
    """A handle as the file names it: by a place or by control points, and what is done to it."""

    name: str  # where it stands in the file
    at: Tensor | None  # [3] float64 world
    points: tuple[int, ...]  # where there is no place
    rings: int
    move: Tensor  # [3] float64
    turn: Tensor  # [3] float64 rotation vector


@dataclass(frozen=True)
class WantedKey:
    time_s: float
    handles: tuple[WantedHandle, ...]


@dataclass(frozen=True)
class DragFile:
    """An edit as a file describes it, for any scene: a single one, or key frames of a film."""

    source: str
    time_s: float | None  # the moment that is frozen
    mode: Mode
    handles: tuple[WantedHandle, ...]  # in all key frames
    keys: tuple[WantedKey, ...]  # none for a single edit


@dataclass(frozen=True)
class FoundHandle:
    """A group of control points that a file's handle means in a scene."""

    name: str
    points: Tensor  # [H] int64
    distance: float | None  # from the place that was named to the nearest control point; None of a list of points


def read_drag(path: Path) -> DragFile:
    """The edit in a JSON file. Raises BadInputError that names the file and the field."""
    root = JsonField(read_json(path), str(path), "a drag file")
    root.only("version", "time_s", "mode", "handles", "keyframes")
    if (version := root["version"].whole()) != VERSION:
        raise BadInputError(f"{path} is of version {version}; this Fewview reads drag files of version {VERSION}.")
    mode = next((m for m in MODES if m == root.get("mode", MODES[0]).text()), None)
    if mode is None:
        raise root["mode"].bad(" or ".join(MODES))
    handles = _handles(root["handles"]) if root.has("handles") or not root.has("keyframes") else ()
    keys: tuple[WantedKey, ...] = ()
    if root.has("keyframes"):
        keys = tuple(_key(item) for item in root["keyframes"].items(MAX_KEYS))
        if len(keys) < 2:
            raise BadInputError(f"{path} has {len(keys)} key frames; a film needs two, and a single edit none.")
    time_s = root.get("time_s", None).number_or_none()
    return DragFile(str(path), time_s, mode, handles, keys)


def _key(item: JsonField) -> WantedKey:
    item.only("time_s", "handles")
    return WantedKey(item["time_s"].number(), _handles(item["handles"]))


def _handles(field: JsonField) -> tuple[WantedHandle, ...]:
    return tuple(_handle(item) for item in field.items(MAX_HANDLES))


def _handle(item: JsonField) -> WantedHandle:
    item.only("at", "nodes", "rings", "move", "rotate", "anchor")
    if item.has("at") == item.has("nodes"):
        raise item.bad("a handle with either 'at', a place, or 'nodes', a list of control points,")
    at = item["at"].numbers(3) if item.has("at") else None
    points = () if at is not None else tuple(p.whole() for p in item["nodes"].items(MAX_POINTS))
    if at is None and not points:
        raise item["nodes"].bad("a list of at least one control point")
    count = item.get("rings", USUAL_RINGS if at is not None else 0).whole()
    if not 0 <= count <= MAX_RINGS:
        raise item["rings"].bad(f"a number from 0 to {MAX_RINGS}")
    anchor, moves = item.get("anchor", False).flag(), item.has("move") or item.has("rotate")
    if anchor == moves:
        raise item.bad("a handle with either 'move' or 'rotate' or both, or with 'anchor': true,")
    move = item.get("move", [0.0, 0.0, 0.0]).numbers(3)
    turn = _turn(item["rotate"]) if item.has("rotate") else torch.zeros(3, dtype=torch.float64)
    return WantedHandle(item.name, at, points, count, move, turn)


def _turn(field: JsonField) -> Tensor:
    field.only("axis", "degrees")
    axis, degrees = field["axis"].numbers(3), field["degrees"].number()
    if not float(axis.norm()) > 0:
        raise field["axis"].bad("a direction that is not zero")
    if not abs(degrees) <= 360:
        raise field["degrees"].bad("an angle from -360 to 360")
    return axis / axis.norm() * math.radians(degrees)


def handles_in(file: DragFile, frozen: FrozenMoment) -> tuple[list[DragKey], list[FoundHandle]]:
    """(key frames, one at 0 s for a single edit, with the same groups each; these groups as they were found).

    A group that a key frame does not name is where it was at rest. Raises BadInputError for a handle that is nowhere.
    """
    wanted = [WantedKey(0.0, ())] if not file.keys else file.keys
    groups: dict[tuple[int, ...], FoundHandle] = {}
    led: list[tuple[float, dict[tuple[int, ...], Handle]]] = []
    for key in wanted:
        handles: dict[tuple[int, ...], Handle] = {}
        for handle in (*file.handles, *key.handles):
            found = _found(file, handle, frozen)
            group = tuple(found.points.tolist())
            if group in handles:
                raise BadInputError(f"{file.source}: {handle.name} holds the same control points as one before it.")
            groups.setdefault(group, found)
            handles[group] = Handle(found.points, handle.move, handle.turn)
        led.append((key.time_s, handles))
    keys = [
        DragKey(time_s, tuple(handles.get(group, Handle(found.points)) for group, found in groups.items()))
        for time_s, handles in led
    ]
    return keys, list(groups.values())


def _found(file: DragFile, handle: WantedHandle, frozen: FrozenMoment) -> FoundHandle:
    size, distance = len(frozen.points), None
    if handle.at is None:
        if unknown := [p for p in handle.points if not 0 <= p < size]:
            raise BadInputError(
                f"{file.source}: {handle.name} names control point {unknown[0]}, and this scene has 0 to {size - 1}."
            )
        centres = list(handle.points)
    else:
        nearest, distance = frozen.nearest(handle.at)
        if distance > FARTHEST * diagonal(frozen.points):
            low, high = (", ".join(f"{x:.4g}" for x in p.tolist()) for p in _corners(frozen.points))
            raise BadInputError(
                f"{file.source}: {handle.name} is {distance:.4g} away from every control point; these lie between "
                f"({low}) and ({high}) at this moment."
            )
        centres = [nearest]
    return FoundHandle(handle.name, rings(frozen.near, torch.tensor(centres), handle.rings), distance)


def _corners(points: Tensor) -> tuple[Tensor, Tensor]:
    return points.amin(0), points.amax(0)
