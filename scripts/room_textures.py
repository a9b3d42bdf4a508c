"""Procedural looks of surfaces: a brightness for places on a part, from its own coordinates in metres."""

from __future__ import annotations

import numpy as np


def _hash(*cells: np.ndarray) -> np.ndarray:
    """Numbers in 0..1 that look random, the same for the same whole numbers."""
    mixed = sum(c.astype(np.int64) * k for c, k in zip(cells, (73856093, 19349663, 83492791), strict=False))
    return ((mixed * 2654435761) % 1009) / 1009.0


def brightness(texture: str, local: np.ndarray, seed: int) -> np.ndarray:
    """Factor [n] of a part's colour at places [n, 3] on it; `seed` tells parts of one kind apart."""
    x, y, z = local.T
    shift = seed % 97 * 0.37
    if texture == "wood":
        return 0.85 + 0.15 * np.sin(70 * (x + shift) + 4 * np.sin(3 * y + shift) + 2 * np.sin(5 * z))
    if texture == "cloth":
        return 0.82 + 0.3 * _hash(np.floor(x / 0.02) + seed, np.floor(y / 0.02), np.floor(z / 0.02)) - 0.06
    if texture in ("doors", "drawers", "fridge"):
        step = {"doors": 0.45, "drawers": 0.22, "fridge": 0.7}[texture]
        across = y if texture == "doors" else z
        line = np.abs((across + shift * (texture == "doors")) / step % 1 - 0.5) > 0.47
        return np.where(line, 0.45, 1.0)
    if texture == "books":
        return 0.45 + 0.9 * _hash(np.floor(y / 0.035) + seed, np.floor(y * 0) + 3)
    if texture == "stone":
        return 0.8 + 0.3 * _hash(np.floor(x / 0.015) + seed, np.floor(y / 0.015), np.floor(z / 0.015))
    if texture == "leaves":
        return 0.45 + 0.9 * _hash(np.floor(x / 0.05) + seed, np.floor(y / 0.05), np.floor(z / 0.05))
    if texture == "panes":
        frame = (np.abs(y / 0.6 % 1 - 0.5) > 0.45) | (np.abs(z / 0.6 % 1 - 0.5) > 0.45)
        return np.where(frame, 0.5, 1.35)
    if texture == "painting":
        return 0.55 + 0.5 * (np.sin(9 * y + shift) * np.cos(7 * z + 2 * shift) + 1) / 2 + 0.2 * np.sin(31 * (y + z))
    if texture == "folds":
        return 0.8 + 0.2 * np.sin(55 * y + shift)
    if texture == "boards":
        return 0.8 + 0.25 * _hash(np.floor(y / 0.12) + seed, np.floor((x + 0.6 * np.floor(y / 0.12)) / 1.2))
    if texture == "tiles":
        joint = (np.abs(x / 0.3 % 1 - 0.5) > 0.48) | (np.abs(y / 0.3 % 1 - 0.5) > 0.48)
        return np.where(joint, 0.7, 0.95 + 0.1 * _hash(np.floor(x / 0.3) + seed, np.floor(y / 0.3)))
    return 0.96 + 0.08 * _hash(np.floor(x / 0.1) + seed, np.floor(y / 0.1), np.floor(z / 0.1))
