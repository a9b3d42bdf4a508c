"""Schedules of learning rates and of Adam's first moment over training: one cycle, by cosines."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch.optim import Optimizer

RISE = 0.4  # of the steps
BETAS = (0.9, 0.999)
LOWEST_BETA_FACTOR = 0.85 / 0.95


def cycle(step: int, steps: int, start: float, peak: float, end: float) -> float:
    """The value at a step: from `start` to `peak` at 40 % of the steps, then to `end`."""
    top = RISE * steps
    if step < top:
        return _cosine(start, peak, step / top)
    return _cosine(peak, end, min((step - top) / max(steps - top, 1e-9), 1.0))


def _cosine(a: float, b: float, t: float) -> float:
    return b + (a - b) * (1 + math.cos(math.pi * t)) / 2


@dataclass(frozen=True)
class OneCycle:
    """Learning rates that rise, then fall almost to nothing, while the momentum falls, then rises.

    Source: L. Smith and N. Topin, "Super-Convergence", 2018, with the cosines of MMDetection's cyclic updaters.
    """

    peak_factor: float  # the highest rate over the first one
    last_factor: float = 1e-4  # the last rate over the first one

    def set_rates(self, optimizer: Optimizer, step: int, steps: int) -> None:
        """Set the rates of one of `steps` steps. Groups carry the rate of their start as `base_lr`."""
        factor = cycle(step, steps, 1.0, self.peak_factor, self.last_factor)
        beta = BETAS[0] * cycle(step, steps, 1.0, LOWEST_BETA_FACTOR, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor
            group["betas"] = (beta, BETAS[1])


def log_linear(start: float, end: float, progress: float) -> float:
    """Rate from start to end along an exponential, at `progress` in [0, 1]; linear where one of them is zero."""
    if start <= 0 or end <= 0:
        return start + (end - start) * progress
    return start * (end / start) ** progress


def set_step_rates(optimizer: Optimizer, progress: float, drops: tuple[float, ...], factor: float = 0.1) -> None:
    """Rates that fall by `factor` at each of the parts of the run in `drops`, at `progress` in [0, 1)."""
    power = sum(progress >= drop for drop in drops)
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor**power
