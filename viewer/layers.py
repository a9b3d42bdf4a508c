"""The three layers of the 3D page: splat, sparse points, cameras with their photographs."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
import viser
from torch import Tensor

from ..render.paths import focus_point, up_direction
from ..scene.cameras import Cameras
from ..scene.capture import Capture, fit_size
from ..scene.gaussians import Gaussians
from ..scene.geometry import quat_from_rotation, rotation_from_quat
from ..scene.point_cloud import PointCloud

FOCUS_DISTANCE = 5.0  # page units from the median camera to what it looks at
THUMBNAIL_PX = 192
MAX_SIGMA = 200.0  # page units; viser keeps covariances as float16, whose largest value is 65504
CAMERA_COLOR, HELD_OUT_COLOR = (72, 133, 255), (240, 150, 40)  # to be seen on black and on white


@dataclass(frozen=True)
class Stage:
    """Where the scene stands on the page: page = scale * (world - center).

    Scenes come in any unit; the page's navigation, near plane and float16 covariances want one of human size.
    """

    center: Tensor  # [3] world
    scale: float
    up: Tensor  # [3] unit

    @classmethod
    def of(cls, cameras: Cameras | None, gaussians: Gaussians | None) -> Stage:
        if cameras is not None and len(cameras):
            focus = focus_point(cameras)
            distance = float((cameras.centers - focus).norm(dim=-1).median())
            return cls(focus, FOCUS_DISTANCE / max(distance, 1e-9), up_direction(cameras))
        up = torch.tensor([0.0, -1.0, 0.0])  # a bare splat's axes are unknown; most trainers keep OpenCV's
        if gaussians is None or len(gaussians) == 0:
            return cls(torch.zeros(3), 1.0, up)
        center = gaussians.means.median(0).values
        distance_sorted = (gaussians.means - center).norm(dim=-1).sort().values
        radius = float(distance_sorted[int(0.8 * (len(gaussians) - 1))])  # far background does not count
        return cls(center, FOCUS_DISTANCE / max(2 * radius, 1e-9), up)

    def place(self, points_world: Tensor) -> np.ndarray:
        """Page coordinates float32 [..., 3] of world points."""
        return ((points_world.float() - self.center) * self.scale).numpy()


@dataclass(frozen=True)
class SplatArrays:
    """What viser draws a splat from, on the page: N Gaussians with the view-independent colour."""

    centers: np.ndarray  # [N, 3] float32
    covariances: np.ndarray  # [N, 3, 3] float32
    rgbs: np.ndarray  # [N, 3] float32 in [0, 1]
    opacities: np.ndarray  # [N, 1] float32


def splat_arrays(gaussians: Gaussians, stage: Stage) -> SplatArrays:
    """Arrays on the page; Gaussians that are not finite or add less than 1/255 anywhere are left out."""
    g = gaussians.detach().to("cpu")
    finite = torch.isfinite(g.means).all(-1) & torch.isfinite(g.quats).all(-1) & torch.isfinite(g.sh[:, 0]).all(-1)
    g = g[finite & ~g.log_scales.isnan().any(-1) & (g.opacities >= 1 / 255)]
    sigma = (g.scales * stage.scale).clamp(max=MAX_SIGMA)
    half = rotation_from_quat(g.quats.float()) * sigma[:, None, :]
    return SplatArrays(
        stage.place(g.means),
        (half @ half.transpose(-1, -2)).numpy(),
        g.base_colors.clamp(0, 1).float().numpy(),
        g.opacities[:, None].float().numpy(),
    )


def draw_splat(server: viser.ViserServer, arrays: SplatArrays, visible: bool = True) -> viser.GaussianSplatHandle:
    return server.scene.add_gaussian_splats(
        "/splat", arrays.centers, arrays.covariances, arrays.rgbs, arrays.opacities, visible=visible
    )


def draw_points(server: viser.ViserServer, points: PointCloud, stage: Stage) -> viser.PointCloudHandle:
    return server.scene.add_point_cloud(
        "/points",
        stage.place(points.xyz),
        points.rgb.numpy(),
        point_size=0.02,
        point_shape="circle",
        precision="float32",
    )


def frustum_size(cameras: Cameras, stage: Stage) -> float:
    """A depth in page units at which neighbouring frusta do not run into each other."""
    centers = cameras.centers
    if len(cameras) < 2:
        return 0.3
    apart = torch.cdist(centers, centers) + torch.eye(len(centers)) * 1e9
    return float(np.clip(0.3 * float(apart.min(1).values.median()) * stage.scale, 0.06, 0.3))


def draw_cameras(
    server: viser.ViserServer,
    capture: Capture,
    stage: Stage,
    size: float,
    on_click: Callable[[int, viser.ClientHandle], None],
) -> list[viser.CameraFrustumHandle]:
    """Frusta without pictures, which `thumbnail` fills in; held-out views have a colour of their own."""
    cameras = capture.cameras
    assert cameras is not None
    held_out = set(capture.test or ())
    rotations = quat_from_rotation(cameras.world_from_cam[:, :3, :3]).numpy()
    positions = stage.place(cameras.centers)
    handles = []
    for i in range(len(capture)):
        handle = server.scene.add_camera_frustum(
            f"/cameras/{i:04d}",
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


def _clicked(on_click: Callable[[int, viser.ClientHandle], None], index: int, event: Any) -> None:
    on_click(index, event.client)


def thumbnail(
    capture: Capture, index: int, max_side_px: int = THUMBNAIL_PX, background: Sequence[float] | None = None
) -> np.ndarray:
    """uint8 [H, W, 3], transparent pixels in the colour of `background` [3]."""
    frame = capture.frames[index]
    return opaque(capture.image(index, *fit_size(frame.width, frame.height, max_side_px)).numpy(), background)


def opaque(pixels: np.ndarray, background: Sequence[float] | None = None) -> np.ndarray:
    """uint8 [H, W, 3] of [H, W, 3 or 4] with straight alpha, over `background` [3] in [0, 1], white unless given."""
    if pixels.shape[-1] == 3:
        return pixels
    alpha = pixels[..., 3:].astype(np.float32) / 255
    under = 255 * np.asarray((1.0, 1.0, 1.0) if background is None else background, np.float32)
    return np.rint(pixels[..., :3] * alpha + under * (1 - alpha)).astype(np.uint8)


def vertical_fov(camera: Cameras) -> float:
    """Radians, of one camera (batch shape [])."""
    return 2 * math.atan(float(camera.height) / (2 * float(camera.K[1, 1])))


def resize_to(image: np.ndarray, width: int, height: int) -> np.ndarray:
    shrinking = width <= image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)
