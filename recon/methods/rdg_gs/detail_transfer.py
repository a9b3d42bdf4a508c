"""Detail of a photograph for a map that lacks it: edges of the map move to where colours change."""

from __future__ import annotations

import torch
from torch import Tensor

SMOOTHNESS = 0.5  # weight of the ties between pixels of one colour, against a pixel's own value
COLOR_SIGMA = 0.1  # of sRGB in [0, 1]: difference of colour over which a tie weakens
DILATIONS = (1, 4)  # distances of the eight neighbours, pixels
ITERATIONS = 60  # of conjugate gradients
TOLERANCE = 1e-4  # of the first residual's length, at which they end
_HALF = ((0, 1), (1, 0), (1, 1), (1, -1))  # one of each pair of opposite neighbours, (rows, columns)


class DetailTransfer:
    """Least squares: sum over pixels c_p (u_p - value_p)^2 + sum over pairs of neighbours w_pr (u_p - u_r)^2.

    w_pr = 0.5 exp(-|I_p - I_r|^2 / 2 sigma^2) of the photograph I; neighbours are the eight around a pixel and eight
    at four times the distance. The first term keeps the layout, the second gives the photograph's edges. Solved by
    conjugate gradients with the diagonal as preconditioner.
    """

    def __init__(self, rgb: Tensor) -> None:  # [H, W, 3] in [0, 1]
        self.ties: list[tuple[int, int, Tensor]] = []  # rows, columns, weights [H - rows, W - |columns|]
        for step in DILATIONS:
            for rows, columns in ((step * r, step * c) for r, c in _HALF):
                if rows < rgb.shape[0] and abs(columns) < rgb.shape[1]:
                    here, there = _pair(rgb, rows, columns)
                    apart = (here - there).square().sum(-1) / (2 * COLOR_SIGMA**2)
                    self.ties.append((rows, columns, SMOOTHNESS * (-apart).exp()))
        self._tied = self._spread_weights(rgb.new_zeros(rgb.shape[:2]))

    def energy(self, u: Tensor, value: Tensor, trust: Tensor) -> Tensor:
        """E of a map u [H, W], a scalar, with `trust` c [H, W] in `value` [H, W]."""
        total = (trust * (u - value).square()).sum()
        for rows, columns, tie in self.ties:
            here, there = _pair(u, rows, columns)
            total = total + (tie * (here - there).square()).sum()
        return total

    def solve(self, value: Tensor, trust: Tensor) -> Tensor:
        """The map [H, W] of least energy. Every pixel that is tied to a trusted one has a value."""
        diagonal = trust + self._tied
        diagonal = torch.where(diagonal > 0, diagonal, 1)
        u = value.clone()
        residual = trust * value - self._system(trust, u)
        scaled = residual / diagonal
        direction, energy = scaled.clone(), (residual * scaled).sum()
        enough = TOLERANCE**2 * float(energy)
        for _ in range(ITERATIONS):
            if float(energy) <= enough:
                break
            moved = self._system(trust, direction)
            length = energy / (direction * moved).sum()
            u += length * direction
            residual -= length * moved
            scaled = residual / diagonal
            before, energy = energy, (residual * scaled).sum()
            direction = scaled + (energy / before) * direction
        return u

    def _system(self, trust: Tensor, u: Tensor) -> Tensor:
        out = trust * u
        for rows, columns, tie in self.ties:
            here, there = _pair(u, rows, columns)
            flow = tie * (here - there)
            out_here, out_there = _pair(out, rows, columns)
            out_here += flow
            out_there -= flow
        return out

    def _spread_weights(self, out: Tensor) -> Tensor:
        """Sums [H, W] of the ties at each pixel, added to `out`."""
        for rows, columns, tie in self.ties:
            for side in _pair(out, rows, columns):
                side += tie
        return out


def _pair(values: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Views of the pixels [H - rows, W - |columns|, ...] and of their neighbours so far down and to the right."""
    height, width = values.shape[:2]
    left, right = max(0, -columns), max(0, columns)
    here = values[: height - rows, left : width - right]
    return here, values[rows:, left + columns : width - right + columns]
