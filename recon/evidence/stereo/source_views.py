"""Choice of the views to match a view with: those that see the same surface from a good angle."""

from __future__ import annotations

import torch
from torch import Tensor

from ....scene.cameras import Cameras
from ....scene.geometry import transform_points
from ....scene.point_cloud import PointCloud

BEST_ANGLE_DEG = 12.0  # between the rays to a point: less says little about depth, more looks too different
NARROW_DEG, WIDE_DEG = 5.0, 20.0  # spreads of the angle's weight on its two sides
UNMATCHED = 0.2  # weight of a point that lies in the source's picture but was not matched there


def source_views(cameras: Cameras, points: PointCloud, count: int) -> list[list[int]]:
    """For each view up to `count` others, best first: the sum over the points it sees of how well the other helps."""
    seen = seen_by(cameras, points)  # [V, N]
    inside = torch.stack([in_picture(cameras[v], points.xyz) for v in range(len(cameras))])
    chosen = []
    for view in range(len(cameras)):
        here = seen[view]
        to_here = torch.nn.functional.normalize(cameras.centers[view] - points.xyz[here], dim=-1)
        scores = []
        for other in range(len(cameras)):
            to_other = torch.nn.functional.normalize(cameras.centers[other] - points.xyz[here], dim=-1)
            angle = torch.rad2deg(torch.acos((to_here * to_other).sum(-1).clamp(-1, 1)))
            spread = torch.where(angle < BEST_ANGLE_DEG, NARROW_DEG, WIDE_DEG)
            helps = torch.exp(-0.5 * ((angle - BEST_ANGLE_DEG) / spread) ** 2) + 1e-3
            shared = torch.where(seen[other, here], 1.0, UNMATCHED) * inside[other, here]
            distance = (cameras.centers[view] - cameras.centers[other]).norm()
            scores.append(float((helps * shared).sum()) - 1e-6 * float(distance))  # the nearest, where no point tells
        order = sorted((o for o in range(len(cameras)) if o != view), key=lambda o: -scores[o])
        chosen.append(order[:count])
    return chosen


def seen_by(cameras: Cameras, points: PointCloud) -> Tensor:
    """bool [V, N]: by the observations, or lying in the picture where there are none."""
    if points.seen_point is None or points.seen_view is None:
        return torch.stack([in_picture(cameras[v], points.xyz) for v in range(len(cameras))])
    seen = torch.zeros(len(cameras), len(points), dtype=torch.bool)
    seen[points.seen_view, points.seen_point] = True
    return seen


def in_picture(
    camera: Cameras,  # []
    xyz: Tensor,  # [N, 3] world
) -> Tensor:
    """bool [N]"""
    pixel, depth = project(camera, xyz)
    size = torch.stack([camera.width, camera.height]).to(pixel)
    return (depth > 1e-6) & ((pixel >= 0) & (pixel < size)).all(-1)


def project(
    camera: Cameras,  # []
    xyz: Tensor,  # [N, 3] world
) -> tuple[Tensor, Tensor]:
    """Pixels [N, 2] and depths [N]; behind the camera the pixels mean nothing."""
    in_camera = transform_points(camera.cam_from_world, xyz)
    homogeneous = in_camera @ camera.K.T
    return homogeneous[:, :2] / in_camera[:, 2:].clamp_min(1e-9), in_camera[:, 2]
