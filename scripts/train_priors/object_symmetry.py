"""A measure of how far an object is from looking the same after a turn about the upright axis, by its shape alone.

Where it is small, as of a carton or a bowl, photographs from all sides leave several poses open that only a print or a
handle could tell apart, and a wrong side is not the fault of what chose it.
"""

from __future__ import annotations

import numpy as np
from object_meshes import Part
from scipy.spatial import cKDTree

POINTS = 3000  # on the surface
TURNS_DEG = range(30, 331, 10)  # less than 30 degrees away everything looks the same
DISTINCT = 0.015  # of the radius; from here on an object has distinct sides (of the test objects none is near it)


def turn_distance(parts: tuple[Part, ...]) -> float:
    """The least mean distance between the surface and itself after a turn, in radii, over what sampling alone gives."""
    rng = np.random.default_rng(0)
    first, second = _surface(parts, rng), _surface(parts, rng)
    tree = cKDTree(first)
    floor = tree.query(second)[0].mean()
    return float(min(tree.query(_turned(second, degrees))[0].mean() for degrees in TURNS_DEG) - floor)


def _turned(points: np.ndarray, degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return points @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])


def _surface(parts: tuple[Part, ...], rng: np.random.Generator) -> np.ndarray:
    """Points [POINTS, 3] evenly on all faces."""
    corners = np.concatenate([part.vertices[part.faces] for part in parts]).astype(np.float64)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    chosen = corners[rng.choice(len(corners), POINTS, p=area / area.sum())]
    a, b = rng.random((2, POINTS))
    a, b = np.where(a + b > 1, 1 - a, a), np.where(a + b > 1, 1 - b, b)
    return chosen[:, 0] + a[:, None] * (chosen[:, 1] - chosen[:, 0]) + b[:, None] * (chosen[:, 2] - chosen[:, 0])
