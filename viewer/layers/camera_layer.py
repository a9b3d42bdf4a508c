"""Camera frusta with the photographs in them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import torch
import viser
from torch import Tensor

from ...scene.cameras import Cameras
from ...scene.capture import Capture
from ...scene.geometry import quat_from_rotation
from ..stage import Stage, vertical_fov

CAMERA_COLOR, HELD_OUT_COLOR = (72, 133, 255), (240, 150, 40)  # to be seen on black and on white
UNSURE_COLOR = (225, 60, 70)  # of cameras that may be wrong


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
    unsure: Collection[int] = (),
) -> list[viser.CameraFrustumHandle]:
    """Frusta without pictures, which come later; held-out views and unsure cameras have colours of their own."""
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
            color=UNSURE_COLOR if i in unsure else HELD_OUT_COLOR if i in held_out else CAMERA_COLOR,
            wxyz=rotations[i],
            position=positions[i],
        )
        handle.on_click(functools.partial(_clicked, on_click, i))
        handles.append(handle)
    return handles


def frustum_depths(cameras: Cameras, size: float) -> Tensor:
    """Distances [n] from each camera to the picture that is drawn in its frustum, for a frustum of a size.

    viser makes all frusta of one size equally large in volume, whatever their lenses (CameraFrustumVariants.tsx).
    """
    return size / (_half_sizes(cameras).prod(-1) / 3).pow(1 / 3)


def frusta_before(
    cameras: Cameras,
    view: Cameras,  # []
    size: float,
    zone: tuple[float, float] = (1.0, 1.0),
) -> Tensor:
    """Depths [n] before `view` at which frusta of a size, in world units, begin; infinity where none of one is seen.

    Counted is what is seen within a zone about the picture's middle, a share of its width and of its height.
    """
    across = torch.linspace(-1, 1, 7)
    grid = torch.cartesian_prod(torch.tensor([0.1, 0.4, 0.7, 1.0]), across, across)  # of depth, width and height
    half = _half_sizes(cameras)
    depth = frustum_depths(cameras, size)[:, None] * grid[:, 0]
    inside = torch.stack([depth * half[:, :1] * grid[:, 1], depth * half[:, 1:] * grid[:, 2], depth], dim=-1)
    pose = cameras.world_from_cam
    world = inside @ pose[:, :3, :3].transpose(-1, -2) + pose[:, None, :3, 3]  # [n, S, 3]
    seen = world @ view.cam_from_world[:3, :3].T + view.cam_from_world[:3, 3]
    x, y, z = seen.unbind(-1)
    width, height = (share * float(side) for share, side in zip(zone, (view.width, view.height), strict=True))
    within = (z > 0) & (x.abs() * view.K[0, 0] < width / 2 * z) & (y.abs() * view.K[1, 1] < height / 2 * z)
    return torch.where(within, z, torch.inf).min(dim=1).values


def _half_sizes(cameras: Cameras) -> Tensor:
    """Half the width and height [n, 2] of each camera's picture at depth 1."""
    return torch.stack([cameras.width, cameras.height], dim=-1) / (2 * cameras.K[:, [0, 1], [0, 1]])


def _clicked(on_click: Callable[[int, viser.ClientHandle], None], index: int, event: Any) -> None:
    on_click(index, event.client)
