"""Changes by chance of a scan in training, which keep its sentences true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...scene.datasets.reference_sentences import is_view_dependent

TURN_RAD, TILT_RAD = np.radians(5.0), np.radians(2.5)  # about z, beside quarter turns, and about x and y
NOISE_M, SHIFT_M = 0.005, 0.5  # of each coordinate of a point, and of the scan along each axis, either way
SCALE, GAIN = 0.02, 0.02  # of the scan, and of each colour of each point, either way


@dataclass(frozen=True)
class Change:
    """Flips, then turns about z, x and y, then noise of points, a shift, a scale; and gains of colours."""

    matrix: np.ndarray  # [3, 3] flips and turns
    noise: np.ndarray  # float32 [N, 3] metres
    shift: np.ndarray  # [3] metres
    scale: float
    gain: np.ndarray  # float32 [N, 3]

    def points(self, points: Tensor) -> Tensor:
        """Points [N, 3] of the scan, changed."""
        moved = points.double().numpy() @ self.matrix.T + self.noise + self.shift
        return torch.from_numpy(moved * self.scale).float()


def draw_change(sentences: Sequence[str], count: int, random: np.random.Generator) -> Change:
    """A change of a scan of `count` points that is asked for by these sentences.

    A sentence that depends on the view would no longer be true in a mirror, and quarter turns would take its directions
    away from those of the walls; its scan is turned a little only.
    """
    free = not any(map(is_view_dependent, sentences))
    flips = np.where(random.random(2) < 0.5, -1.0, 1.0) if free else np.ones(2)
    quarter = int(random.integers(4)) if free else 0
    about_z = quarter * np.pi / 2 + random.uniform(-TURN_RAD, TURN_RAD)
    about_x, about_y = random.uniform(-TILT_RAD, TILT_RAD, 2)
    matrix = _turn(1, about_y) @ _turn(0, about_x) @ _turn(2, about_z) @ np.diag([*flips, 1.0])
    return Change(
        matrix,
        random.random((count, 3), np.float32) * NOISE_M,
        random.uniform(-SHIFT_M, SHIFT_M, 3),
        float(random.uniform(1 - SCALE, 1 + SCALE)),
        1 - GAIN + 2 * GAIN * random.random((count, 3), np.float32),
    )


def _turn(axis: int, angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    a, b = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[a, a], matrix[a, b], matrix[b, a], matrix[b, b] = c, -s, s, c
    return matrix
