"""`Rounds`: the steps at which densification happens."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rounds:
    """Every `every` steps after `first` and up to `last`."""

    first: int
    last: int
    every: int

    def at(self, step: int) -> bool:
        done = step + 1
        return self.first < done <= self.last and (done - self.first) % self.every == 0
