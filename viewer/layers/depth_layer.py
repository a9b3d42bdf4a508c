"""Depth maps of stereo on the page as one cloud of points, coloured by the photographs or by confidence."""

from __future__ import annotations

import cv2
import numpy as np
import torch
import viser

from ...recon.evidence.depth_maps import Stereo
from ...scene.capture import Capture
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


def trust_picture(
    confidence: np.ndarray,  # [H, W], from 1 (a guess) upwards
) -> np.ndarray:
    """uint8 [H, W, 3]: dark where depth is a guess, bright where it is sure."""
    scaled = 1 - 1 / np.maximum(confidence, 1)  # 1 to infinity becomes 0 to 1
    return _colored(scaled, cv2.COLORMAP_VIRIDIS)


def depth_picture(
    depth: np.ndarray,  # [H, W]
) -> np.ndarray:
    """uint8 [H, W, 3]: near is bright; inverse depth between its 2nd and 98th percentile."""
    inverse = 1 / np.maximum(depth, 1e-9)
    low, high = np.percentile(inverse, (2, 98))
    return _colored((inverse - low) / max(high - low, 1e-9), cv2.COLORMAP_TURBO)


def _colored(values: np.ndarray, color_map: int) -> np.ndarray:
    scaled = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(cv2.applyColorMap(scaled, color_map)[..., ::-1])


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
