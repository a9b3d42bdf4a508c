"""Handles: groups of control points that are led to a new place, and the edit that comes of it (SC-GS, section 3.4)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from ..errors import BadInputError
from ..geometry import so3_exp
from ..splat import MovingSplat, StaticSplat
from .as_rigid_as_possible import AsRigidAsPossible, Deformation, stretch
from .control_graph import diagonal
from .frozen_moment import FrozenMoment

Mode = Literal["iterative", "from_init"]
MODES: tuple[Mode, ...] = ("iterative", "from_init")
STEP_RAD = math.radians(5)  # of a handle that is led on: a turn that the iterations of one solve catch up with
STEP_SHARE = 1 / 40  # of the scene's diagonal: the same of a move
SETTLES = 20  # solves at most when the handles have arrived
SETTLED = 0.01  # share of the energy that a solve has to take off for another one
LONGEST_MOVE = 3  # diagonals of the scene
MOVED = 1e-3  # of the diagonal: from there a Gaussian counts as moved


def _nothing() -> Tensor:
    return torch.zeros(3, dtype=torch.float64)


@dataclass(frozen=True)
class Handle:
    """Control points that are led together as one rigid piece; without a move and a turn they are an anchor."""

    points: Tensor  # [H] int64
    move: Tensor = field(default_factory=_nothing)  # [3] float64, world units
    turn: Tensor = field(default_factory=_nothing)  # [3] float64, rotation vector in radians about the centroid

    @property
    def is_anchor(self) -> bool:
        return not bool(self.move.any() or self.turn.any())

    def places(self, rest: Tensor) -> Tensor:
        """Places [H, 3] of its points, for all control points at rest [M, 3]."""
        own = rest[self.points]
        centre = own.mean(0)
        return (own - centre) @ so3_exp(self.turn).T + centre + self.move

    def towards(self, other: Handle, share: float) -> Handle:
        """The same points, a share of the way to where another handle of them leads."""
        return Handle(self.points, torch.lerp(self.move, other.move, share), torch.lerp(self.turn, other.turn, share))


@dataclass(frozen=True)
class DragKey:
    """Handles at a moment of a film, the same groups in the same order as in its other key frames."""

    time_s: float
    handles: tuple[Handle, ...]


@dataclass(frozen=True)
class DragFacts:
    """Figures of an edit, of a film the worst of its key frames."""

    distance: float  # of a held point from where it should be, the largest, world units
    mean_stretch: float  # relative change of length of the graph's edges
    max_stretch: float
    moved: int  # Gaussians that moved by more than a thousandth of the scene's diagonal


class Dragging:
    """A frozen moment whose groups of control points are held: solves for each place that they are led to."""

    def __init__(self, frozen: FrozenMoment, handles: Sequence[Handle]) -> None:
        """Takes handles of all groups, wherever these are led; `check_handles` says if they can be held together."""
        self.frozen = frozen
        held = torch.cat([handle.points for handle in handles])
        self._solver = AsRigidAsPossible(frozen.points, frozen.graph.index, frozen.graph.weights, held)
        self._pairs = frozen.graph.edges()

    def solve(self, handles: Sequence[Handle], start: Deformation | None = None) -> Deformation:
        """The deformation that puts the handles in their places at once: from the start, else from rest alone."""
        return self._solver.solve(self._places(handles), None if start is None else start.points)

    def settled(self, handles: Sequence[Handle], deformation: Deformation) -> Deformation:
        """The deformation after more solves with the handles in their places, until they hardly lower the energy."""
        energy = self._solver.energy(deformation)
        for _ in range(SETTLES):
            deformation = self.solve(handles, deformation)
            before, energy = energy, self._solver.energy(deformation)
            if energy > (1 - SETTLED) * before:
                break
        return deformation

    def led(
        self,
        before: Sequence[Handle],
        after: Sequence[Handle],
        start: Deformation,
        mode: Mode = "iterative",
    ) -> Iterator[tuple[float, Deformation]]:
        """(share of the way, deformation) of small steps from where the handles are to where they shall be.

        The last step has the share 1. In the mode `from_init` each is solved from rest, whatever came before.
        """
        count = self._steps(before, after)
        for i in range(1, count + 1):
            there = [a.towards(b, i / count) for a, b in zip(before, after, strict=True)]
            start = self.solve(there, start if mode == "iterative" else None)
            yield i / count, start

    def facts(self, handles: Sequence[Handle], deformation: Deformation, edited: StaticSplat) -> DragFacts:
        """Figures of a deformation, and of the splat that it gives."""
        rest = self.frozen.points
        held = torch.cat([handle.points for handle in handles])
        distance = (deformation.points[held] - self._places(handles)).norm(dim=-1).max()
        mean, most = stretch(rest, deformation.points, self._pairs)
        apart = edited.gaussians.means - self.frozen.still.gaussians.means
        return DragFacts(float(distance), mean, most, int((apart.norm(dim=-1) > MOVED * diagonal(rest)).sum()))

    def _places(self, handles: Sequence[Handle]) -> Tensor:
        return torch.cat([handle.places(self.frozen.points) for handle in handles])

    def _steps(self, before: Sequence[Handle], after: Sequence[Handle]) -> int:
        longest = STEP_SHARE * diagonal(self.frozen.points)
        most = 1.0
        for a, b in zip(before, after, strict=True):
            most = max(most, float((b.move - a.move).norm()) / longest, float((b.turn - a.turn).norm()) / STEP_RAD)
        return math.ceil(most - 1e-9)


def dragged(frozen: FrozenMoment, handles: Sequence[Handle], mode: Mode = "iterative") -> tuple[StaticSplat, DragFacts]:
    """Give (the splat with its handles where they lead, figures of the edit).

    `iterative` leads them there in small steps, which large turns need, and lets the rest settle. `from_init` solves
    once, from rest. Raises BadInputError unless there is an anchor besides what is moved, and no point belongs to two
    handles.
    """
    check_handles(frozen, [handles])
    dragging = Dragging(frozen, handles)
    deformation = _arrival(dragging, handles, mode)
    edited = frozen.edited(deformation)
    return edited, dragging.facts(handles, deformation, edited)


def dragged_film(
    frozen: FrozenMoment, keys: Sequence[DragKey], mode: Mode = "iterative"
) -> tuple[MovingSplat, DragFacts]:
    """Give (the splat that moves from each key frame to the next, figures of the worst one).

    Between key frames handles move on straight lines and turn at an even rate; the motion has moments in between, so
    that what turns keeps its size. Raises BadInputError as `dragged` does, and unless the
    key frames rise in time.
    """
    if any(not a.time_s < b.time_s for a, b in itertools.pairwise(keys)):
        raise BadInputError("The key frames do not rise in time; each has to be later than the one before.")
    check_handles(frozen, [key.handles for key in keys])
    dragging = Dragging(frozen, keys[0].handles)
    deformation = _arrival(dragging, keys[0].handles, mode)
    times, found = [keys[0].time_s], [deformation]
    facts = [dragging.facts(keys[0].handles, deformation, frozen.edited(deformation))]
    for before, after in itertools.pairwise(keys):
        for share, step in dragging.led(before.handles, after.handles, deformation, mode):
            times.append(after.time_s if share == 1 else before.time_s + share * (after.time_s - before.time_s))
            found.append(step)
        deformation = found[-1]
        facts.append(dragging.facts(after.handles, deformation, frozen.edited(deformation)))
    worst = DragFacts(
        max(f.distance for f in facts),
        max(f.mean_stretch for f in facts),
        max(f.max_stretch for f in facts),
        max(f.moved for f in facts),
    )
    return frozen.filmed(times, found), worst


def check_handles(frozen: FrozenMoment, keys: Sequence[Sequence[Handle]]) -> None:
    """Raise BadInputError unless the handles of one or more key frames can be solved for."""
    groups = [handle.points for handle in keys[0]] if keys else []
    moved = [not all(handles[i].is_anchor for handles in keys) for i in range(len(groups))]
    if not any(moved):
        raise BadInputError("No handle is moved or turned; at least one has to be, or nothing would change.")
    if all(moved):
        raise BadInputError(
            "Nothing holds the rest of the scene: add an anchor, a handle that stays where it is, in a part that shall "
            "not move."
        )
    owner = torch.full((len(frozen.points),), -1)
    for i, points in enumerate(groups):
        if bool((owner[points] >= 0).any()):
            other = int(owner[points].max())
            raise BadInputError(
                f"The handles {other + 1} and {i + 1} share control points; give one of them fewer rings, or move them "
                "apart."
            )
        owner[points] = i
    farthest = max(float(handle.move.norm()) for handles in keys for handle in handles)
    across = diagonal(frozen.points)
    if not farthest <= LONGEST_MOVE * across:
        raise BadInputError(
            f"A handle is moved by {farthest:g}, and the whole scene is {across:.4g} across; moves are in the scene's "
            "own units."
        )


def _arrival(dragging: Dragging, handles: Sequence[Handle], mode: Mode) -> Deformation:
    if mode == "from_init":
        return dragging.solve(handles)
    way = dragging.led(
        [Handle(handle.points) for handle in handles], handles, Deformation.at_rest(dragging.frozen.points)
    )
    return dragging.settled(handles, list(way)[-1][1])
