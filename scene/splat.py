"""`Splat`: the scene that a reconstruction gives, still (`StaticSplat`) or moving (`MovingSplat`)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch
from torch import Tensor

from .gaussians import Gaussians
from .geometry import Similarity
from .motion import Motion

Axis = tuple[float, float, float]
Color = tuple[float, float, float]
S = TypeVar("S", bound="Splat")

BLACK: Color = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Splat:
    """Gaussians at any moment, and how they are to be rendered.

    Take what is drawn from `at(time)`; `gaussians` are the stored ones, which in a moving splat are of no moment.
    """

    gaussians: Gaussians
    antialiased: bool = False  # trained with the Mip-Splatting 2D filter, and to be rendered with it
    up: Axis | None = None  # unit vector in the frame of `gaussians`, None where nobody says
    notes: tuple[str, ...] = ()  # sentences for the person: what was left out, filled in, clamped or lost
    background: Color = BLACK  # sRGB in [0, 1] that it was trained over, and is rendered over

    def __len__(self) -> int:
        return len(self.gaussians)

    @property
    def time_range_s(self) -> tuple[float, float] | None:
        """First and last moment; None for a splat that does not move."""
        return None

    def at(self, time_s: float | None = None) -> Gaussians:
        """Gaussians at a moment, the first one when None; before and after its range a splat stands still."""
        return self.gaussians

    def still(self, time_s: float | None = None) -> StaticSplat:
        """The splat of one moment, the first one when None, for formats that hold no motion."""
        return StaticSplat(self.at(time_s), self.antialiased, self.up, self.notes, self.background)

    def to(self: S, device: torch.device | str) -> S:
        return replace(self, gaussians=self.gaussians.to(device))

    def rows(self: S, index: Tensor) -> S:
        """The splat of some of the Gaussians: indices, or a mask [N]."""
        return replace(self, gaussians=self.gaussians[index])

    def moved(self: S, new_from_old: Similarity) -> S:
        """The same splat in another frame. `up` is left to the caller, who may know it exactly."""
        return replace(self, gaussians=self.gaussians.moved(new_from_old))


@dataclass(frozen=True)
class StaticSplat(Splat):
    """One set of Gaussians at all times."""


@dataclass(frozen=True)
class MovingSplat(Splat):
    """Canonical Gaussians and a motion that says where they are when."""

    motion: Motion = field(kw_only=True)

    @property
    def time_range_s(self) -> tuple[float, float]:
        return self.motion.time_range_s

    def at(self, time_s: float | None = None) -> Gaussians:
        first, last = self.time_range_s
        return self.motion.at(self.gaussians, first if time_s is None else min(max(time_s, first), last))

    def to(self, device: torch.device | str) -> MovingSplat:
        return replace(self, gaussians=self.gaussians.to(device), motion=self.motion.to(device))

    def rows(self, index: Tensor) -> MovingSplat:
        return replace(self, gaussians=self.gaussians[index], motion=self.motion.rows(index))

    def moved(self, new_from_old: Similarity) -> MovingSplat:
        return replace(self, gaussians=self.gaussians.moved(new_from_old), motion=self.motion.moved(new_from_old))
