"""`DragSession`: the state of dragging one splat by its control points, without any control or drawing."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..scene.edit import freeze
from ..scene.edit.as_rigid_as_possible import Deformation
from ..scene.edit.control_graph import diagonal, rings
from ..scene.edit.drag_file import MAX_KEYS
from ..scene.edit.node_drag import MODES, DragFacts, Dragging, DragKey, Handle, Mode, check_handles, dragged_film
from ..scene.errors import BadInputError
from ..scene.fitted_rotations import fitted_rotations
from ..scene.geometry import so3_log
from ..scene.splat import MovingSplat, Splat, StaticSplat

UNMOVED = 1e-6  # radians, or of the scene's diagonal: nearer to its rest, in a page's float32, a handle is an anchor
STEPS = 200  # of the history; each keeps the places of the control points


@dataclass(frozen=True)
class Grip:
    """A handle as a person made it: a control point and so many rings around it, led somewhere."""

    centre: int
    rings: int
    handle: Handle


@dataclass(frozen=True)
class Kept:
    """A key frame of a film: where handles and control points were when it was kept."""

    time_s: float
    grips: tuple[Grip, ...]
    deformation: Deformation


@dataclass(frozen=True)
class _State:
    name: str  # of the step that led here
    grips: tuple[Grip, ...]
    deformation: Deformation
    keys: tuple[Kept, ...] = ()  # rising in time


class DragSession:
    """A moment of a splat, the handles on it, and the deformation that they give; with undo and redo.

    Handles that are not moved are anchors. All is in the world frame that the splat came in.
    """

    def __init__(self, splat: Splat, time_s: float | None) -> None:
        """Raises BadInputError where the splat has too little to hold on to."""
        self.frozen = freeze(splat, time_s)
        self.mode: Mode = MODES[0]
        self.pairs = self.frozen.graph.edges()  # [E, 2] of control points that are joined
        self._done = [_State("", (), Deformation.at_rest(self.frozen.points))]
        self._undone: list[_State] = []
        self._open = False  # the last step is a handle on its way, which the next place replaces
        self._edited: tuple[Deformation, StaticSplat] | None = None  # the last that was made
        self._dragging: tuple[tuple[tuple[int, int], ...], Dragging] | None = None

    # -- what is there ----------------------------------------------------------------------------------------------

    @property
    def grips(self) -> tuple[Grip, ...]:
        return self._done[-1].grips

    @property
    def points(self) -> Tensor:
        """Places [M, 3] float64 of the control points now."""
        return self._done[-1].deformation.points

    @property
    def undo_name(self) -> str | None:
        """Name of the step that `undo` would take back, None when there is none."""
        return self._done[-1].name if len(self._done) > 1 else None

    @property
    def redo_name(self) -> str | None:
        return self._undone[-1].name if self._undone else None

    @property
    def is_dragged(self) -> bool:
        return any(not grip.handle.is_anchor for grip in self.grips)

    def splat(self) -> StaticSplat:
        """The splat as it is now."""
        deformation = self._done[-1].deformation
        if self._edited is None or self._edited[0] is not deformation:
            self._edited = deformation, self.frozen.edited(deformation)
        return self._edited[1]

    def facts(self) -> DragFacts | None:
        """Figures of the edit, None before anything is dragged."""
        if not self.is_dragged:
            return None
        handles = [grip.handle for grip in self.grips]
        return self._solver(self.grips).facts(handles, self._done[-1].deformation, self.splat())

    def owner(self, point: int) -> int | None:
        """The number of the handle that a control point belongs to."""
        found = [i for i, grip in enumerate(self.grips) if bool((grip.handle.points == point).any())]
        return found[0] if found else None

    def nearest(self, place: Tensor) -> int:
        """The control point that is nearest now to a place [3] in the world."""
        return int((self.points - place.double()).norm(dim=-1).argmin())

    # -- handles ----------------------------------------------------------------------------------------------------

    def add(self, centre: int, count: int) -> int:
        """Make a handle of a control point and its rings, of what no other handle has; returns its number.

        It holds them where they are now. Raises BadInputError where the point belongs to a handle already.
        """
        if self.owner(centre) is not None:
            raise BadInputError("This control point belongs to a handle already; choose another, or remove that one.")
        points = rings(self.frozen.near, torch.tensor([centre]), count)
        taken = [grip.handle.points for grip in self.grips]
        if taken:
            points = points[~torch.isin(points, torch.cat(taken))]
        grip = Grip(centre, count, self._held(points, self.points))
        self._do(f"Handle {len(self.grips) + 1}", (*self.grips, grip), self._done[-1].deformation)
        return len(self.grips) - 1

    def remove(self, index: int) -> None:
        """Let a handle go: its points follow the others from now on."""
        left = self.grips[:index] + self.grips[index + 1 :]
        deformation = self._done[-1].deformation
        if any(not grip.handle.is_anchor for grip in left):
            handles = [grip.handle for grip in left]
            check_handles(self.frozen, [handles])
            deformation = self._solver(left).settled(handles, deformation)
        else:  # with nothing dragged all is at rest
            deformation = self._done[0].deformation
        self._do(f"Remove handle {index + 1}", left, deformation)

    def lead(self, index: int, move: Tensor, turn: Tensor) -> None:
        """Lead a handle on to a move [3] and a turn [3] (rotation vector) from rest, and all others after it.

        Until `let_go` the places that one handle is led to are one step of the history. Raises BadInputError when
        nothing else stays.
        """
        grip = self.grips[index]
        nowhere = float(move.norm()) <= UNMOVED * diagonal(self.frozen.points) and float(turn.norm()) <= UNMOVED
        points = grip.handle.points
        moved = replace(grip, handle=Handle(points) if nowhere else Handle(points, move.double(), turn.double()))
        grips = (*self.grips[:index], moved, *self.grips[index + 1 :])
        before, after = [g.handle for g in self.grips], [g.handle for g in grips]
        check_handles(self.frozen, [after])
        solver = self._solver(grips)
        if self.mode == "from_init":
            deformation = solver.solve(after)
        else:
            deformation = list(solver.led(before, after, self._done[-1].deformation))[-1][1]
        name = f"Lead handle {index + 1}"
        if self._open and self._done[-1].name == name:
            self._done.pop()
        self._do(name, grips, deformation)
        self._open = True

    def let_go(self) -> None:
        """The hand leaves the handle: the next place is another step."""
        self._open = False

    def undo(self) -> None:
        """Take the last step back, if there is one."""
        if len(self._done) > 1:
            self._undone.append(self._done.pop())
            self._open = False

    def redo(self) -> None:
        """Do the step that was taken back last once more, if there is one."""
        if self._undone:
            self._done.append(self._undone.pop())
            self._open = False

    # -- key frames -------------------------------------------------------------------------------------------------

    @property
    def keys(self) -> tuple[Kept, ...]:
        """Key frames that were kept, rising in time."""
        return self._done[-1].keys

    def keep(self, time_s: float) -> None:
        """Keep the handles as they are now as the key frame of a time in seconds, in place of one that it had."""
        state = self._done[-1]
        if not math.isfinite(time_s) or not state.grips:
            raise BadInputError("A key frame is handles where they are at a time in seconds; add a handle first.")
        others = [key for key in state.keys if key.time_s != time_s]
        if len(others) >= MAX_KEYS:
            raise BadInputError(f"There are {len(others)} key frames, which is as many as a film can have.")
        key = Kept(time_s, state.grips, state.deformation)
        keys = tuple(sorted((*others, key), key=lambda k: k.time_s))
        self._do(f"Key frame at {time_s:g} s", state.grips, state.deformation, keys)

    def film(self) -> tuple[MovingSplat, DragFacts]:
        """Give (the splat that moves from one key frame to the next, figures of the worst one).

        Raises BadInputError for fewer than two key frames, and for handles that cannot be held together.
        """
        if len(self.keys) < 2:
            raise BadInputError(f"A film needs two key frames or more, and {len(self.keys)} were kept.")
        return dragged_film(self.frozen, self._film_keys(), self.mode)

    def _film_keys(self) -> list[DragKey]:
        """Key frames with the same groups each: one that came later is held where it was carried to before."""
        groups = {tuple(grip.handle.points.tolist()): None for key in self.keys for grip in key.grips}
        keys = []
        for key in self.keys:
            own = {tuple(grip.handle.points.tolist()): grip.handle for grip in key.grips}
            handles = [own.get(g) or self._held(torch.tensor(g), key.deformation.points) for g in groups]
            keys.append(DragKey(key.time_s, tuple(handles)))
        return keys

    # -- saving -----------------------------------------------------------------------------------------------------

    def drag_file(self) -> bytes:
        """The handles as a file for `fewview edit --drag`, which leads them to the same places; a film of key frames.

        A single key frame is no film yet, and is left out.
        """
        value: dict[str, Any] = {"version": 1, "mode": self.mode}
        if len(self.keys) < 2:
            value["handles"] = _described([grip.handle for grip in self.grips])
        else:
            value["keyframes"] = [
                {"time_s": key.time_s, "handles": _described(key.handles)} for key in self._film_keys()
            ]
        if self.frozen.time_s is not None:
            value["time_s"] = self.frozen.time_s
        return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()

    # -- inside -----------------------------------------------------------------------------------------------------

    def _held(self, points: Tensor, places: Tensor) -> Handle:
        """A handle that holds control points where others have brought them, as near as one rigid piece can.

        `places` [M, 3] are those of all control points.
        """
        rest, now = self.frozen.points[points], places[points]
        if float((now - rest).norm(dim=-1).max()) <= UNMOVED * diagonal(self.frozen.points):
            return Handle(points)
        before, after = rest - rest.mean(0), now - now.mean(0)
        turn = fitted_rotations(before[None], after[None], torch.ones(1, len(points)))[0]
        return Handle(points, now.mean(0) - rest.mean(0), so3_log(turn))

    def _solver(self, grips: tuple[Grip, ...]) -> Dragging:
        """Made anew only for other groups, as its factorisation takes longer than a solve."""
        groups = tuple(tuple(grip.handle.points.tolist()) for grip in grips)
        if self._dragging is None or self._dragging[0] != groups:
            self._dragging = groups, Dragging(self.frozen, [grip.handle for grip in grips])
        return self._dragging[1]

    def _do(
        self, name: str, grips: tuple[Grip, ...], deformation: Deformation, keys: tuple[Kept, ...] | None = None
    ) -> None:
        """Take a step; it has the key frames of the one before unless others are given."""
        self._undone.clear()
        self._open = False
        self._done.append(_State(name, grips, deformation, self.keys if keys is None else keys))
        if len(self._done) > STEPS:
            del self._done[1]  # the first one is what it was at rest


def _described(handles: Sequence[Handle]) -> list[dict[str, Any]]:
    """Handles as the drag file has them."""
    told: list[dict[str, Any]] = []
    for handle in handles:
        one: dict[str, Any] = {"nodes": handle.points.tolist()}
        angle = float(handle.turn.norm())
        if handle.is_anchor:
            one["anchor"] = True
        else:
            one["move"] = handle.move.tolist()
        if angle > 0:
            one["rotate"] = {"axis": (handle.turn / angle).tolist(), "degrees": math.degrees(angle)}
        told.append(one)
    return told
