"""Control points on the page: a dot for each, lines along their graph, and colours that tell the handles apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import viser
from torch import Tensor

from ..stage import Stage

FREE, ANCHOR, LED, CHOSEN = (150, 150, 150), (40, 120, 235), (255, 170, 30), (235, 60, 40)  # colours of points
EDGE_COLOR = (120, 160, 120)
POINT_SIZE, EDGE_WIDTH = 0.03, 1.0  # page units; pixels
PATH = "/drag"


def draw_control_points(
    scene: viser.SceneApi,
    stage: Stage,
    points: Tensor,  # [M, 3] world
    colors: np.ndarray,  # [M, 3] uint8
    pairs: Tensor,  # [E, 2] of points that are joined
) -> list[Any]:
    """Handles of the dots and the lines."""
    places = stage.place(points)
    dots = scene.add_point_cloud(
        f"{PATH}/points", places, colors, point_size=POINT_SIZE, point_shape="circle", precision="float32"
    )
    lines = scene.add_line_segments(
        f"{PATH}/edges", places[pairs.numpy()], np.array(EDGE_COLOR, np.uint8), thickness=EDGE_WIDTH,
        thickness_units="screen",
    )  # fmt: skip
    return [dots, lines]
