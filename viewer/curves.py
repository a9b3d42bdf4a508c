"""`Curve`: a figure over the steps of a training, thinned for a chart."""

from __future__ import annotations

import numpy as np

MAX_POINTS = 300  # more than a chart in the panel has pixels for


class Curve:
    """Values by step; where there are many, neighbours are averaged. Memory does not grow with the steps."""

    def __init__(self) -> None:
        self._steps: list[float] = []
        self._means: list[float] = []
        self._every = 1  # values in one point
        self._waiting: list[tuple[float, float]] = []

    def add(self, step: int, value: float) -> None:
        self._waiting.append((step, value))
        if len(self._waiting) < self._every:
            return
        steps, values = zip(*self._waiting, strict=True)
        self._steps.append(sum(steps) / len(steps))
        self._means.append(sum(values) / len(values))
        self._waiting.clear()
        if len(self._steps) >= 2 * MAX_POINTS:
            self._steps, self._means = _halved(self._steps), _halved(self._means)
            self._every *= 2

    def points(self) -> tuple[np.ndarray, np.ndarray]:
        """(steps, values), float64 [P], P at most twice MAX_POINTS; one that is drawn needs two."""
        return np.array(self._steps), np.array(self._means)


def _halved(values: list[float]) -> list[float]:
    return [(a + b) / 2 for a, b in zip(values[::2], values[1::2], strict=True)]
