"""A camera path on the page: its curve, its key frames, and where the camera is on it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import viser

from ...render.camera_path import CameraPath
from ...scene.geometry import quat_from_rotation
from ..path_edit import curve
from ..stage import Stage

CURVE_COLOR, KEY_COLOR, CHOSEN_COLOR, NOW_COLOR = (200, 80, 200), (200, 80, 200), (255, 170, 30), (30, 180, 90)
KEY_SIZE, NOW_SIZE = 0.12, 0.2  # page units
MAX_DRAWN = 60  # key frames; of more, evenly chosen ones


def draw_path(
    server: viser.ViserServer,
    path: CameraPath,
    stage: Stage,
    chosen: int,
    on_click: Callable[[int, viser.ClientHandle], None],
) -> list[Any]:
    """Handles of the curve and of a frustum for each key frame; the chosen one has a colour of its own."""
    handles: list[Any] = []
    if len(path.key_frames) > 1:
        handles.append(
            server.scene.add_line_segments(
                "/film/curve", curve(path, stage), CURVE_COLOR, thickness=2.0, thickness_units="screen"
            )
        )
    count = len(path.key_frames)
    drawn = np.unique(np.append(np.linspace(0, count - 1, min(count, MAX_DRAWN)).round().astype(int), chosen))
    for i in drawn.tolist():
        color = CHOSEN_COLOR if i == chosen else KEY_COLOR
        frustum = draw_camera(server, f"/film/key{i:04d}", path, float(path.key_times_s[i]), stage, KEY_SIZE, color)
        frustum.on_click(functools.partial(_clicked, on_click, i))
        handles.append(frustum)
    return handles


def draw_camera(
    server: viser.ViserServer,
    name: str,
    path: CameraPath,
    time_s: float,
    stage: Stage,
    size: float = NOW_SIZE,
    color: tuple[int, int, int] = NOW_COLOR,
) -> viser.CameraFrustumHandle:
    """The frustum of the path's camera at a time."""
    world_from_cam, fov, _ = path.at([time_s])
    return server.scene.add_camera_frustum(
        name,
        fov=float(fov[0]),
        aspect=path.width / path.height,
        scale=size,
        thickness=2.0,
        thickness_units="screen",
        color=color,
        wxyz=quat_from_rotation(world_from_cam[0, :3, :3]).numpy(),
        position=stage.place(world_from_cam[0, :3, 3]),
    )


def _clicked(on_click: Callable[[int, viser.ClientHandle], None], index: int, event: Any) -> None:
    on_click(index, event.client)
