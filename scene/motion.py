"""`Motion`: the rule that says where canonical Gaussians are at a moment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from .gaussians import Gaussians
from .geometry import Similarity


class Motion(Protocol):
    """A rule that moves N canonical Gaussians; differentiable in its tensors."""

    kind: ClassVar[str]  # its name in files

    @property
    def times_s(self) -> Tensor:
        """Moments [T] float64, increasing, between which it is linear."""
        ...

    @property
    def time_range_s(self) -> tuple[float, float]:
        """First and last moment."""
        ...

    def at(self, canonical: Gaussians, time_s: float) -> Gaussians:
        """The Gaussians at a moment within the range."""
        ...

    def to(self, device: torch.device | str) -> Motion: ...

    def rows(self, index: Tensor) -> Motion:
        """The motion of some of the Gaussians: indices, or a mask [N]."""
        ...

    def moved(self, new_from_old: Similarity) -> Motion:
        """The same motion in another world frame."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """All that a file has to keep, by name."""
        ...

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], count: int) -> Motion:
        """The motion of `count` Gaussians that `tensors` gave. Raises ValueError where they do not fit together."""
        ...


def check_times(times_s: Tensor, moments: int) -> None:
    """Raise ValueError unless `times_s` are that many finite moments, at least one, each after the one before."""
    if times_s.shape != (moments,) or moments < 1:
        raise ValueError(f"expected times_s [{moments}], at least one, found {tuple(times_s.shape)}")
    if not bool((times_s[1:] > times_s[:-1]).all()) or not bool(times_s.isfinite().all()):
        raise ValueError("times_s should be finite and increase from each moment to the next")


def place_in_time(times_s: Tensor, time_s: float) -> tuple[int, float]:
    """The last moment that is not after `time_s`, and the share of the way to the next, 0 beyond either end."""
    times = times_s.tolist()
    before = max(0, min(len(times) - 1, sum(t <= time_s for t in times) - 1))
    if before + 1 == len(times):
        return before, 0.0
    return before, min(1.0, max(0.0, (time_s - times[before]) / (times[before + 1] - times[before])))


def at_place(values: Tensor, place: tuple[int, float]) -> Tensor:
    """Values [...] of [T, ...] at a place in time, linear between moments."""
    before, share = place
    return torch.lerp(values[before], values[before + 1], share) if share > 0 else values[before]
