"""Dense flow of photographs with cameras, without a network: depth says where each pixel lies in another view."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ...scene.geometry import transform_points
from .dense_flow import DenseFlow, checked_flow, pixel_centres
from .depth_maps import Stereo

GUESSED = 1.0  # confidence of depth that nothing confirms


def flow_by_depth(stereo: Stereo) -> DenseFlow:
    """Flow of all ordered pairs of views by reprojection, with the check there and back.

    Pixels whose own depth is only a guess weigh 0: two guesses may agree with each other and with nothing else.
    """
    views = range(len(stereo))
    flow = checked_flow({(i, j): reprojected(stereo, i, j) for i in views for j in views if i != j})
    trusted = [m.confidence > GUESSED for m in stereo.maps]
    return DenseFlow({(i, j): replace(f, weight=f.weight * trusted[i]) for (i, j), f in flow.fields.items()})


def reprojected(stereo: Stereo, i: int, j: int) -> Tensor:
    """Flow [H, W, 2] from view i to view j by i's depth.

    What lies behind view j is led far out of its picture, to the side.
    """
    points = stereo.points(i)
    height, width = points.shape[:2]
    camera = stereo.cameras[j]
    homogeneous = transform_points(camera.cam_from_world, points.reshape(-1, 3)) @ camera.K.T
    z = homogeneous[:, 2:]
    outside = -10.0 * torch.stack([camera.width, camera.height]).to(z)
    landing = torch.where(z > 1e-6, homogeneous[:, :2] / z.clamp_min(1e-6), outside)
    return landing.reshape(height, width, 2) - pixel_centres(height, width)
