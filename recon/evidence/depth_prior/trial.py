"""Trial of the fills on one photograph: known depth is hidden, and each says what it would have been.

Which way of filling is right differs more from scene to scene than from place to place: before a carpet that goes on
everywhere it is another than at a facade with a garden. What is known of the photograph itself tells.
"""

from __future__ import annotations

import numpy as np

from ..hidden_pixels import distance_to, hidden_parts
from .fills import MIN_KNOWN, NAMES, fills

TRIALS = 2
FAR = 5.0  # cells from what was told, from which on a hidden one counts; nearer ones say little, all fills know them
FEWEST = 40  # of these, without which the farthest of all count
FARTHEST_SHARE = 0.4
UNTRIED = 0.1  # error of every fill where too little is known to hide any
LARGEST, SMALLEST = 1.0, 2e-3  # errors count as no more, and as no less


def errors_of_fills(
    image: np.ndarray,  # [h, w, 3] uint8
    inverse: np.ndarray,  # [h, w] float32 inverse depth, read where it is known
    weight: np.ndarray,  # [h, w] float32 >= 0; 0: not known
) -> np.ndarray:
    """Mean absolute error of log-depth [len(NAMES)] float32 of each fill at known cells that were hidden from it."""
    errors: list[np.ndarray] = []
    for seed in range(TRIALS):
        hidden = hidden_parts(weight, seed)
        told = np.where(hidden, 0, weight).astype(np.float32)
        if not hidden.any() or int((told > 0).sum()) < MIN_KNOWN:
            continue
        away = distance_to(told > 0)[hidden]
        far = away > FAR
        if far.sum() < FEWEST:
            far = away >= np.quantile(away, 1 - FARTHEST_SHARE)
        off = np.abs(fills(image, inverse, told)[:, hidden] + np.log(inverse[hidden]))
        errors.append(np.minimum(off[:, far], LARGEST))
    if not errors:
        return np.full(len(NAMES), UNTRIED, np.float32)
    return np.maximum(np.concatenate(errors, 1).mean(1), SMALLEST).astype(np.float32)
