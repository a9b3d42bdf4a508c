"""Photographs without cameras, laid out as a contact sheet that stands in front of the viewer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import viser

from ..stage import FOCUS_DISTANCE

MAX_PHOTOGRAPHS = 60
GAP = 0.08  # of a cell
UP = (0.0, -1.0, 0.0)  # of the sheet, which stands in the plane z = 0, to be seen from -z


def cells(count: int) -> tuple[np.ndarray, float]:
    """(centres [count, 3] on the page, side of a cell), in rows from the upper left, twice as wide as high."""
    columns = max(1, math.ceil(math.sqrt(2 * count)))
    rows = max(1, math.ceil(count / columns))
    side = FOCUS_DISTANCE / max(columns, 1.5 * rows)
    index = np.arange(count)
    x = (index % columns - (columns - 1) / 2) * side
    y = (index // columns - (rows - 1) / 2) * side
    return np.stack([x, y, np.zeros(count)], axis=1), side


def draw_photograph(server: viser.ViserServer, path: str, picture: np.ndarray, center: np.ndarray, side: float) -> Any:
    """One uint8 picture [H, W, 3] in its cell."""
    height, width = picture.shape[:2]
    longest = side * (1 - GAP)
    scale = longest / max(width, height)
    return server.scene.add_image(
        path, picture, render_width=width * scale, render_height=height * scale, position=center, cast_shadow=False,
        receive_shadow=False,
    )  # fmt: skip
