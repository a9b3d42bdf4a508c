"""Depth maps of stereo on the page as one cloud of points, coloured by the photographs or by confidence."""

from __future__ import annotations

import numpy as np
import torch
import viser

from ...recon.evidence.depth_maps import Stereo
from ...scene.capture import Capture
from ..depth_colors import trust_picture
from ..stage import Stage

MAX_POINTS = 200_000  # of all views together; a browser draws that smoothly
DEPTH_POINT_SIZE = 0.01  # page units


def depth_cloud(stereo: Stereo, capture: Capture, views: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(positions [P, 3] float32 world, colours [P, 3] uint8, colours of confidence [P, 3] uint8), evenly thinned.

    `views` are the photographs of the capture that the maps belong to.
    """
    every = max(1, -(-sum(m.depth.numel() for m in stereo.maps) // MAX_POINTS))
    xyz, rgb, trust = [], [], []
    for i, (view, depth_map) in enumerate(zip(views, stereo.maps, strict=True)):
        rows, columns = depth_map.depth.shape
        pixels = capture.image(view, columns, rows)[..., :3].reshape(-1, 3)
        xyz.append(stereo.points(i).reshape(-1, 3)[::every])
        rgb.append(pixels[::every])
        trust.append(torch.from_numpy(trust_picture(depth_map.confidence.numpy())).reshape(-1, 3)[::every])
    return torch.cat(xyz).float().numpy(), torch.cat(rgb).numpy(), torch.cat(trust).numpy()


def draw_depth(
    server: viser.ViserServer, path: str, xyz_world: np.ndarray, rgb: np.ndarray, stage: Stage
) -> viser.PointCloudHandle:
    return server.scene.add_point_cloud(
        path,
        stage.place(torch.from_numpy(xyz_world)),
        rgb,
        point_size=DEPTH_POINT_SIZE,
        point_shape="square",
        precision="float32",
        visible=False,
    )
