"""LiDAR points on the page in colours that say something, and boxes as lines."""

from __future__ import annotations

import numpy as np
import viser

from ...render.draw_boxes import class_color
from ...render.point_colors import by_height, by_intensity, by_photographs
from ...scene.boxes import Boxes
from ...scene.driving import DrivingFrame
from ..stage import Stage

HEIGHT, INTENSITY, PHOTOGRAPHS = "height", "intensity", "photographs"
COLORINGS = (HEIGHT, INTENSITY, PHOTOGRAPHS)
LINE_PX = 2.0
LIDAR_POINT_SIZE = 0.008  # page units


def lidar_colors(frame: DrivingFrame, coloring: str) -> np.ndarray:
    """uint8 [N, 3]"""
    if coloring == PHOTOGRAPHS:
        return by_photographs(frame.points.xyz, frame.capture)
    return by_intensity(frame.points.intensity) if coloring == INTENSITY else by_height(frame.points.xyz)


def draw_lidar(
    server: viser.ViserServer, path: str, frame: DrivingFrame, stage: Stage, colors: np.ndarray, size: float
) -> viser.PointCloudHandle:
    return server.scene.add_point_cloud(
        path,
        stage.place(frame.points.xyz),
        colors,
        point_size=size,
        point_shape="circle",
        precision="float32",
    )


def draw_boxes(
    server: viser.ViserServer, path: str, boxes: Boxes, stage: Stage, color: tuple[int, int, int] | None = None
) -> viser.LineSegmentsHandle:
    """Edges and headings in the colours of their classes, or all in one; at least one box."""
    lines = stage.place(boxes.segments).reshape(-1, 2, 3)
    colors = np.array([color or class_color(boxes.name(i)) for i in range(len(boxes))], np.uint8)
    both_ends = np.repeat(_linear(colors), 13 * 2, axis=0).reshape(-1, 2, 3)
    return server.scene.add_line_segments(path, lines, both_ends, thickness=LINE_PX, thickness_units="screen")


def _linear(srgb: np.ndarray) -> np.ndarray:
    """uint8 of uint8: the page's renderer takes the colours of lines as linear light, unlike those of points."""
    values = srgb / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return np.rint(255 * linear).astype(np.uint8)
