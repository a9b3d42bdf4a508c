"""The grid under the scene, and a scale bar on it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import viser

from ...scene.geometry import quat_from_rotation
from ..stage import FOCUS_DISTANCE, Stage

BAR_COLOR = (230, 60, 60)


def round_length(about: float) -> float:
    """1, 2 or 5 times a power of ten: the largest that is not longer than `about`."""
    power = 10.0 ** math.floor(math.log10(about))
    return max(step * power for step in (1, 2, 5) if step * power <= about * (1 + 1e-9))


def draw_ground(server: viser.ViserServer, stage: Stage, up: np.ndarray, height_page: float, unit: str) -> list[Any]:
    """A grid at right angles to `up` [3] at a height along it, with a bar of a round length; hidden to begin with."""
    length = round_length(0.4 * FOCUS_DISTANCE / stage.scale)
    cell = length * stage.scale
    across = np.cross(up, (0, 0, 1) if abs(up[2]) < 0.9 else (1, 0, 0))
    across /= np.linalg.norm(across)
    rotation = np.stack([across, np.cross(up, across), up], axis=1)
    wxyz = quat_from_rotation(torch.from_numpy(rotation)).numpy()
    base = height_page * up
    side = 8 * cell
    grid = server.scene.add_grid(
        "/ground/grid", side, side, cell_size=cell / 5, section_size=cell, wxyz=wxyz, position=base, visible=False,
        cell_color=(110, 110, 110), section_color=(150, 150, 150),
    )  # fmt: skip
    ends = base + 1e-3 * up + np.outer([0.0, cell], across)
    bar = server.scene.add_line_segments(
        "/ground/bar", ends[None], np.array(BAR_COLOR, np.uint8), thickness=4.0, thickness_units="screen", visible=False
    )
    label = server.scene.add_label(
        "/ground/length",
        f"{length:g} {unit}" if unit else f"{length:g} (scale unknown)",
        position=ends.mean(0) + 0.05 * up,
        visible=False,
    )
    return [grid, bar, label]
