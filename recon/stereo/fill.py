"""Depth for pixels that stereo could not match: interpolated between those it could, along the photograph's surfaces."""

from __future__ import annotations

import numpy as np

EDGE_GREY = 6.0  # a step of this many grey levels between neighbours divides their tie by e
WEAKEST_TIE = 1e-3  # across the strongest edge; above zero, so that no pixel is ever without a neighbour


def fill(
    value: np.ndarray,  # [H, W] float32, what is known
    weight: np.ndarray,  # [H, W] float32 >= 0, how well; 0: unknown
    image: np.ndarray,  # [H, W, 3] uint8, whose edges the result respects
    start: np.ndarray,  # [H, W] float32, a first guess: unknown pixels far from all others keep it
    iterations: int,
) -> np.ndarray:
    """The map [H, W] that lies near the known values and changes least where the photograph does not.

    Weighted least squares: sum of weight (u - value)^2 + sum over neighbours of tie (u_p - u_q)^2, by `iterations` of
    conjugate gradients preconditioned by the diagonal (Farbman et al., "Edge-Preserving Decompositions", 2008).
    """
    right, down = _ties(image, 1), _ties(image, 0)
    diagonal = weight + 1e-6
    diagonal[:, :-1] += right
    diagonal[:, 1:] += right
    diagonal[:-1] += down
    diagonal[1:] += down
    off = weight + 1e-6

    def system(u: np.ndarray) -> np.ndarray:
        out = off * u
        step = right * (u[:, 1:] - u[:, :-1])
        out[:, :-1] -= step
        out[:, 1:] += step
        step = down * (u[1:] - u[:-1])
        out[:-1] -= step
        out[1:] += step
        return out

    u = start.astype(np.float32, copy=True)
    residual = weight * value + 1e-6 * start - system(u)
    scaled = residual / diagonal
    direction = scaled.copy()
    energy = float(np.vdot(residual, scaled))
    first = energy
    for _ in range(iterations):
        if energy <= 1e-8 * first or energy <= 0.0:
            break
        moved = system(direction)
        step_size = energy / float(np.vdot(direction, moved))
        u += step_size * direction
        residual -= step_size * moved
        scaled = residual / diagonal
        before, energy = energy, float(np.vdot(residual, scaled))
        direction = scaled + (energy / before) * direction
    return u


def _ties(image: np.ndarray, axis: int) -> np.ndarray:
    """Between each pixel and the next along the axis, [H, W - 1] or [H - 1, W]: 1 within a surface."""
    difference = np.abs(np.diff(image.astype(np.float32), axis=axis)).max(axis=2)
    return WEAKEST_TIE + np.exp(-difference / EDGE_GREY)
