"""`Stage`: the scene's place and size on the page."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..render.aim import focus_point, up_direction
from ..scene.cameras import Cameras
from ..scene.gaussians import Gaussians
from ..scene.geometry import quat_from_rotation, rotation_from_quat, se3_from, se3_inverse
from ..scene.point_cloud import PointCloud
from .viewpoint import Viewpoint

FOCUS_DISTANCE = 5.0  # page units from the median camera to what it looks at
BULK = 0.8  # of the points; far background does not count for the size of a scene


@dataclass(frozen=True)
class Stage:
    """page = scale * (world - center).

    Scenes come in any unit; the page's navigation, near plane and float16 covariances want one of human size.
    """

    center: Tensor  # [3] world
    scale: float
    up: Tensor  # [3] unit, world

    @classmethod
    def of(
        cls,
        cameras: Cameras | None,
        gaussians: Gaussians | None = None,
        points: PointCloud | None = None,
        up: Tensor | None = None,
    ) -> Stage:
        """From the cameras where there are some, else from the bulk of the splat or of the points."""
        if cameras is not None and len(cameras):
            focus = focus_point(cameras)
            distance = float((cameras.centers - focus).norm(dim=-1).median())
            return cls(focus, FOCUS_DISTANCE / max(distance, 1e-9), up_direction(cameras) if up is None else up)
        # A bare splat's axes are unknown; most trainers keep OpenCV's.
        up = torch.tensor([0.0, -1.0, 0.0]) if up is None else up
        xyz = gaussians.means if gaussians is not None else points.xyz if points is not None else torch.zeros(0, 3)
        xyz = xyz[xyz.isfinite().all(-1)]
        if len(xyz) == 0:
            return cls(torch.zeros(3), 1.0, up)
        center = xyz.median(0).values
        radius = float((xyz - center).norm(dim=-1).sort().values[int(BULK * (len(xyz) - 1))])
        if gaussians is not None:  # one Gaussian, or several in one place, are as large as they are
            radius = max(radius, float(gaussians.log_scales.max(dim=-1).values.median().exp()))
        return cls(center, FOCUS_DISTANCE / max(2 * radius, 1e-9), up)

    def place(self, points_world: Tensor) -> np.ndarray:
        """Page coordinates float32 [..., 3] of world points."""
        return ((points_world.float() - self.center) * self.scale).numpy()

    def world(self, points_page: np.ndarray | Tensor) -> Tensor:
        """World coordinates float32 [..., 3] of points on the page."""
        return torch.as_tensor(points_page).float() / self.scale + self.center

    def camera(
        self,
        wxyz: np.ndarray,  # [4] page from camera, as a browser sends it
        position: np.ndarray,  # [3] page
        vertical_fov_rad: float,
        width: int,
        height: int,
    ) -> Cameras:
        """The camera [] in the world that looks as a browser's camera does on the page."""
        rotation = rotation_from_quat(torch.as_tensor(np.asarray(wxyz)).double())
        world_from_cam = se3_from(rotation, self.world(position).double())
        focal_px = height / 2 / math.tan(vertical_fov_rad / 2)
        return Cameras.pinhole(se3_inverse(world_from_cam).float()[None], focal_px, width, height)[0]

    def pose(self, camera: Cameras) -> tuple[np.ndarray, np.ndarray]:
        """(wxyz [4], position [3]) on the page of one camera [] in the world."""
        wxyz = quat_from_rotation(camera.world_from_cam[:3, :3]).numpy()
        return wxyz, self.place(camera.centers)

    def view_of(self, camera: Cameras) -> Viewpoint:
        """The viewpoint on the page of a camera [] in the world."""
        position = self.place(camera.centers).astype(float)
        forward = camera.world_from_cam[:3, 2].numpy().astype(float)
        ahead = max(float(-position @ forward), 0.3 * FOCUS_DISTANCE)  # the focus is the page's origin
        return Viewpoint(position, position + ahead * forward, vertical_fov(camera))


def vertical_fov(camera: Cameras) -> float:
    """Radians, of one camera (batch shape [])."""
    return 2 * math.atan(float(camera.height) / (2 * float(camera.K[1, 1])))
