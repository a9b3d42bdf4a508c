"""Depth for pixels that stereo could not match: continued from those it could, along the photograph's surfaces."""

from __future__ import annotations

import numpy as np

EDGE_GREY = 15.0  # a step of this many grey levels between neighbours divides their tie by e
WEAKEST_TIE = 1e-3  # across the strongest edge; above zero, so that no pixel is ever without a neighbour
HOLD = 1e-6  # pull towards the first guess, so that the system has a solution where nothing is known


class EdgeAwareFill:
    """Weighted least squares on the grid of one photograph (Farbman et al., "Edge-Preserving Decompositions", 2008).

    Minimises sum of weight (u - value)^2 + sum over neighbours p, q of tie (u_q - u_p - step)^2, where ties are weak
    across the photograph's edges, by conjugate gradients preconditioned by the diagonal.
    """

    def __init__(self, image: np.ndarray) -> None:  # [H, W, 3] uint8
        self.right, self.down = _ties(image, 1), _ties(image, 0)

    def solve(
        self,
        value: np.ndarray,  # [H, W] float32, what is known
        weight: np.ndarray,  # [H, W] float32 >= 0, how well; 0: unknown
        start: np.ndarray,  # [H, W] float32, a first guess
        iterations: int,
        steps: tuple[np.ndarray, np.ndarray] | None = None,  # expected change to the right and down, [H, W] each
    ) -> np.ndarray:
        """The filled map [H, W]."""
        pull = weight + np.float32(HOLD)
        diagonal = pull + self._spread(np.ones_like(pull), 1)
        u = start.astype(np.float32, copy=True)
        residual = weight * value + np.float32(HOLD) * start - self._system(pull, u)
        if steps is not None:
            flow = self.right * 0.5 * (steps[0][:, :-1] + steps[0][:, 1:])
            residual[:, :-1] -= flow
            residual[:, 1:] += flow
            flow = self.down * 0.5 * (steps[1][:-1] + steps[1][1:])
            residual[:-1] -= flow
            residual[1:] += flow
        scaled = residual / diagonal
        direction = scaled.copy()
        energy = first = _dot(residual, scaled)
        for _ in range(iterations):
            if energy <= 1e-8 * first or energy <= 0.0:
                break
            moved = self._system(pull, direction)
            length = np.float32(energy / _dot(direction, moved))
            u += length * direction
            residual -= length * moved
            scaled = residual / diagonal
            before, energy = energy, _dot(residual, scaled)
            direction *= np.float32(energy / before)
            direction += scaled
        return u

    def _system(self, pull: np.ndarray, u: np.ndarray) -> np.ndarray:
        return pull * u + self._spread(u, -1)

    def _spread(self, u: np.ndarray, sign: int) -> np.ndarray:
        """Ties times differences to the neighbours (sign -1), or times sums."""
        out = np.zeros_like(u)
        if sign < 0:
            flow = self.right * (u[:, 1:] - u[:, :-1])
            out[:, :-1] -= flow
            out[:, 1:] += flow
            flow = self.down * (u[1:] - u[:-1])
            out[:-1] -= flow
            out[1:] += flow
        else:
            out[:, :-1] += self.right
            out[:, 1:] += self.right
            out[:-1] += self.down
            out[1:] += self.down
        return out


def _dot(a: np.ndarray, b: np.ndarray) -> float:
    # Not BLAS: its threads wait for one another on a busy machine, and their number shows in the bits.
    return float(np.einsum("ij,ij->", a, b))


def _ties(image: np.ndarray, axis: int) -> np.ndarray:
    """Between each pixel and the next along the axis, [H, W - 1] or [H - 1, W]: 1 within a surface."""
    difference = np.abs(np.diff(image.astype(np.float32), axis=axis)).max(axis=2)
    return WEAKEST_TIE + np.exp(-difference / np.float32(EDGE_GREY))
