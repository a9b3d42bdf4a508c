"""Camera frusta with the photographs in them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import viser

from ...scene.cameras import Cameras
from ...scene.capture import Capture
from ...scene.geometry import quat_from_rotation
from ..stage import Stage, vertical_fov

CAMERA_COLOR, HELD_OUT_COLOR = (72, 133, 255), (240, 150, 40)  # to be seen on black and on white


def frustum_size(cameras: Cameras, stage: Stage) -> float:
    """A depth in page units at which neighbouring frusta do not run into each other."""
    centers = cameras.centers
    if len(cameras) < 2:
        return 0.3
    apart = torch.cdist(centers, centers) + torch.eye(len(centers)) * 1e9
    return float(np.clip(0.3 * float(apart.min(1).values.median()) * stage.scale, 0.06, 0.3))


def draw_cameras(
    server: viser.ViserServer,
    path: str,
    capture: Capture,
    stage: Stage,
    size: float,
    on_click: Callable[[int, viser.ClientHandle], None],
) -> list[viser.CameraFrustumHandle]:
    """Frusta without pictures, which come later; held-out views have a colour of their own."""
    cameras = capture.cameras
    assert cameras is not None
    held_out = set(capture.test or ())
    rotations = quat_from_rotation(cameras.world_from_cam[:, :3, :3]).numpy()
    positions = stage.place(cameras.centers)
    handles = []
    for i in range(len(capture)):
        handle = server.scene.add_camera_frustum(
            f"{path}/{i:04d}",
            fov=vertical_fov(cameras[i]),
            aspect=float(cameras.width[i] / cameras.height[i]),
            scale=size,
            thickness=1.5,
            thickness_units="screen",
            color=HELD_OUT_COLOR if i in held_out else CAMERA_COLOR,
            wxyz=rotations[i],
            position=positions[i],
        )
        handle.on_click(functools.partial(_clicked, on_click, i))
        handles.append(handle)
    return handles


def blocking(cameras: Cameras, index: int, reach: float, near: float) -> set[int]:
    """The camera itself and those that stand between it and its subject.

    `reach` is how far a frustum extends from its camera, `near` how far away its subject is, in world units.
    """
    pose, K = cameras.cam_from_world[index], cameras.K[index]
    x, y, z = (cameras.centers @ pose[:3, :3].T + pose[:3, 3]).unbind(-1)
    z = z + reach  # where a frustum's picture is
    inside = (x.abs() * K[0, 0] < 0.8 * cameras.width[index] * z) & (
        y.abs() * K[1, 1] < 0.8 * cameras.height[index] * z
    )
    return {index, *torch.nonzero(inside & (z < near) & (z > 0)).flatten().tolist()}


def _clicked(on_click: Callable[[int, viser.ClientHandle], None], index: int, event: Any) -> None:
    on_click(index, event.client)
