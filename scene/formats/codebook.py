"""One-dimensional codebooks: numbers as 8-bit indices into a table of at most 256 values."""

from __future__ import annotations

import numpy as np

LEVELS = 256
_BINS = 16384  # of the histogram that the density is estimated from
_SMOOTHING = 33  # bins that are averaged for it
# Level density is density of values to this power. 1/3 has the least squared error (Panter and Dite, 1951) and 0, a
# uniform step, the least entropy after coding at a given error (Gish and Pierce, 1968); in between, splats come out
# both more precise and smaller, because their tails matter too.
_DENSITY_POWER = 0.15


def codebook(
    values: np.ndarray,  # [...] finite
    finest: float,  # a step that is fine enough, in units of the values
) -> tuple[np.ndarray, np.ndarray]:  # float64 [<= 256] ascending, uint8 [...]
    """(levels, labels) with `levels[labels]` close to the values; deterministic.

    Few distinct values are kept exactly. Otherwise the steps are even and about `finest` where 256 of them span the
    values, since that compresses best, and else shorter where values are dense.
    """
    flat = np.asarray(values, dtype=np.float64).ravel()
    distinct = np.unique(flat)
    if len(distinct) <= LEVELS:
        return distinct, np.searchsorted(distinct, flat).astype(np.uint8).reshape(values.shape)
    low, high = distinct[0], distinct[-1]
    steps = (high - low) / finest
    edges = np.linspace(low, high, max(2, int(steps) + 2)) if steps < LEVELS else _dense_edges(flat, low, high)
    labels = (np.searchsorted(edges, flat, side="right") - 1).clip(0, len(edges) - 2)
    count = np.bincount(labels, minlength=len(edges) - 1)
    total = np.bincount(labels, flat, len(edges) - 1)
    middles = (edges[1:] + edges[:-1]) / 2
    levels = np.where(count > 0, total / count.clip(1), middles)
    return levels, labels.astype(np.uint8).reshape(values.shape)


def _dense_edges(flat: np.ndarray, low: float, high: float) -> np.ndarray:
    """Borders [257] of the cells: closer together where values are dense."""
    count, edges = np.histogram(flat, bins=_BINS, range=(low, high))
    density = np.convolve(count, np.full(_SMOOTHING, 1 / _SMOOTHING), "same").clip(1e-9) ** _DENSITY_POWER
    share = np.concatenate([[0], np.cumsum(density)])
    return np.interp(np.linspace(0, share[-1], LEVELS + 1), share, edges)
