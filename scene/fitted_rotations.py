"""Rotations that fit vectors before and after best (Kabsch 1976)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_KEEPS_TWIST = 1e-9  # of a neighbourhood's spread: what only lies on a line turns about it as little as can be


def fitted_rotations(
    before: Tensor,  # [M, K, 3]
    after: Tensor,  # [M, K, 3]
    weights: Tensor,  # [M, K]
) -> Tensor:
    """Rotations [M, 3, 3] float64, never reflections, with the least weighted squared error from `before` to `after`.

    Where several are as good (no vectors, or all on one line) it is the one that turns least (Kabsch). Computed on the
    CPU, without gradient.
    """
    arrays = (t.detach().cpu().double().numpy() for t in (before, after, weights))
    return torch.from_numpy(fitted_rotation_arrays(*arrays))


def fitted_rotation_arrays(before: np.ndarray, after: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """`fitted_rotations` of float64 arrays."""
    spread = (weights[..., None] * after).swapaxes(-1, -2) @ before
    size = np.sqrt((spread * spread).sum((-1, -2), keepdims=True))
    u, _, vt = np.linalg.svd(spread + (_KEEPS_TWIST * size + 1e-300) * np.eye(3))
    u[..., 2] *= np.sign(np.linalg.det(u) * np.linalg.det(vt))[:, None]
    found: np.ndarray = u @ vt
    return found
