"""Colours for points: by height, by how strongly they reflect, by a probability, or from the photographs."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from ..scene.cameras import Cameras
from ..scene.capture import Capture
from ..scene.geometry import transform_points

HEIGHT_RANGE_M = (-2.5, 3.5)  # around a sensor on the roof: the road is at about -1.8
UNSEEN = 90  # grey of points that no photograph shows
_NEAR_M = 0.1


def by_height(xyz: Tensor) -> np.ndarray:
    """uint8 [N, 3] of points [N, 3] with z up: blue low, red high."""
    low, high = HEIGHT_RANGE_M
    return _mapped((xyz[:, 2].numpy() - low) / (high - low))


def by_intensity(intensity: Tensor) -> np.ndarray:
    """uint8 [N, 3] of intensities [N], 0 to 255. The square root, as most of them are small."""
    return _mapped(np.sqrt(np.clip(intensity.numpy() / 255, 0, 1)))


def by_probability(values: Tensor) -> np.ndarray:
    """uint8 [N, 3] of values [N], 0 (blue) to 1 (red)."""
    return _mapped(values.numpy())


def by_photographs(xyz: Tensor, capture: Capture) -> np.ndarray:
    """uint8 [N, 3]: the colour at each point's place in the photograph it is nearest to the middle of, else grey.

    Nothing is occluded: a point behind a thing that the camera sees takes the thing's colour.
    """
    colors = np.full((len(xyz), 3), UNSEEN, np.uint8)
    if capture.cameras is None:
        return colors
    best = np.full(len(xyz), np.inf)
    for i in range(len(capture)):
        pixels, depth = project_points(xyz, capture.cameras[i])
        width, height = int(capture.cameras.width[i]), int(capture.cameras.height[i])
        size = np.array([width, height])
        columns = np.floor(pixels).astype(np.int64)
        inside = (depth > _NEAR_M) & ((columns >= 0) & (columns < size)).all(axis=1)
        from_middle = np.abs(pixels / size - 0.5).max(axis=1)
        better = inside & (from_middle < best)
        best[better] = from_middle[better]
        colors[better] = capture.image(i).numpy()[..., :3][columns[better, 1], columns[better, 0]]
    return colors


def project_points(
    xyz: Tensor,  # [N, 3] world
    camera: Cameras,  # batch shape []
) -> tuple[np.ndarray, np.ndarray]:
    """(pixels [N, 2], depths [N]) float64; pixels mean nothing where the depth is not positive, and are -1 there."""
    local = transform_points(camera.cam_from_world.double(), xyz.double())
    depth = local[:, 2]
    pixels = (local @ camera.K.double().T)[:, :2] / depth.clamp_min(1e-9)[:, None]
    return torch.where(depth[:, None] > 0, pixels, -torch.ones_like(pixels)).numpy(), depth.numpy()


def _mapped(values: np.ndarray) -> np.ndarray:
    """uint8 [N, 3] of values [N], 0 to 1."""
    if not len(values):
        return np.zeros((0, 3), np.uint8)
    levels = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(cv2.applyColorMap(levels[:, None], cv2.COLORMAP_TURBO)[:, 0, ::-1])
