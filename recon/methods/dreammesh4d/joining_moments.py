"""The order in which moments join a motion: outwards from the one whose shape is known."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

NEWEST = 0.5  # of the draws: how many go to the moment that joined last


class JoiningMoments:
    """Moments that join one after another, evenly over some steps, the nearest to that of the rest shape first.

    A shape that is fitted to a moment from the shape of the moment before has little to move. From rest, half a walk
    later, each leg is nearer to where another one is, and takes its place.
    """

    def __init__(self, moments: Sequence[float], rest: float, steps: int) -> None:
        """Takes the moment of every view that is drawn from, that of the rest shape, and the steps until all joined."""
        self._moments, self._steps = torch.tensor([*moments], dtype=torch.float64), steps
        different = sorted(set(moments))
        self._order = sorted(different, key=lambda moment: (abs(moment - rest), moment))

    def joined(self, step: int) -> list[float]:
        """The moments that have joined at a step, in the order in which they did."""
        count = len(self._order)
        if step < self._steps:
            count = min(count, 2 + (count - 1) * step // self._steps)  # the rest shape has nothing to learn
        return self._order[:count]

    def weights(self, step: int) -> Tensor:
        """float32 [views]: how likely a step draws each."""
        joined = torch.tensor(self.joined(step), dtype=torch.float64)
        chance = torch.isin(self._moments, joined).float()
        chance /= chance.sum()
        if step < self._steps:
            newest = (self._moments == joined[-1]).float()
            chance = (1 - NEWEST) * chance + NEWEST * newest / newest.sum()
        return chance

    def before_joining(self, step: int) -> tuple[float, float] | None:
        """The first and the last of the moments before a step at which others join; None at any other step."""
        before, now = self.joined(step - 1) if step else self._order[:1], self.joined(step)
        return None if len(before) == len(now) else (min(before), max(before))
