"""Schedules of learning rates over a run."""

from __future__ import annotations


def log_linear(start: float, end: float, progress: float) -> float:
    """From start to end along an exponential, at `progress` in [0, 1]; linear where one of them is zero."""
    if start <= 0 or end <= 0:
        return start + (end - start) * progress
    return start * (end / start) ** progress
