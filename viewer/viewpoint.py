"""`Viewpoint`: where a browser's camera stands on the page, and what is between two of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Viewpoint:
    """Place, aim and lens of a browser's camera, in page coordinates."""

    position: np.ndarray  # [3]
    look_at: np.ndarray  # [3]
    fov_rad: float  # vertical
    up: np.ndarray | None = None  # [3] unit, of a camera that is not held level; else the page's


def between(a: Viewpoint, b: Viewpoint, s: float) -> Viewpoint:
    """The viewpoint at the share `s` of the way from `a` to `b`."""
    return Viewpoint(
        a.position + s * (b.position - a.position),
        a.look_at + s * (b.look_at - a.look_at),
        a.fov_rad + s * (b.fov_rad - a.fov_rad),
        None if a.up is None or b.up is None else _unit(a.up + s * (b.up - a.up), b.up),
    )


def _unit(vector: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vector)
    return vector / length if length > 1e-6 else otherwise
