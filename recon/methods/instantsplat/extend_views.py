"""Guesses of the surroundings just beyond the photographs' borders: surfaces go on, colours blur out.

Walking around a few photographs leads past their borders at once, where nothing was reconstructed and viewers show
black. No photograph sees these points, so training leaves them as they are.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from ....scene.geometry import transform_points
from ....scene.point_cloud import PointCloud
from ...evidence import Stereo
from ...evidence.depth_maps import unproject
from ...optimise.dataset import Dataset

BAND = 0.15  # of the longer side: how far inside the border the slope of a surface is read
BLUR = 0.03  # of the longer side: over which colours at the border are averaged
DEPTH_RANGE = 1.5  # a continued surface comes at most so many times nearer, or goes further, than the view's own


def points_beyond(
    dataset: Dataset,
    stereo: Stereo,  # of the training views
    margin: float,  # of each view's longer side
    spacing_px: int,
) -> PointCloud:
    """A grid of points around each training view's picture, in no training view's sight.

    Inverse depth goes on linearly, as planes do, but nothing does from a masked or transparent border. Where the
    surroundings of several views overlap, each point is left to the view whose picture is nearest.
    """
    xyz, rgb = [], []
    for view, index in enumerate(dataset.train):
        depth = stereo.maps[view].depth
        pad = max(spacing_px, round(margin * max(depth.shape)))
        inverse = _continued(1 / depth, pad)
        pixels, counts = dataset.views[index].photograph(depth.shape[1], depth.shape[0])
        colors = _blurred_out(pixels.numpy(), pad)
        K = stereo.cameras.K[view].clone()
        K[:2, 2] += pad
        grid = torch.zeros_like(inverse, dtype=torch.bool)
        grid[spacing_px // 2 :: spacing_px, spacing_px // 2 :: spacing_px] = True
        grid &= _carried_out(counts.numpy().astype(np.uint8), pad).bool()
        points = transform_points(stereo.cameras.world_from_cam[view], unproject(1 / inverse, K)[grid])
        mine = _is_nearest(stereo, view, points)
        xyz.append(points[mine])
        rgb.append(colors[grid][mine])
    return PointCloud(torch.cat(xyz), torch.cat(rgb))


def _continued(inverse: Tensor, pad: int) -> Tensor:
    """Inverse depth [H + 2 pad, W + 2 pad], linear beyond the border, its slope read over a band inside it."""
    height, width = inverse.shape
    low, high = inverse.quantile(torch.tensor([0.02, 0.98]))
    band = max(2, round(BAND * max(height, width)))
    across = _continued_columns(inverse, pad, min(band, width - 1))
    both = _continued_columns(across.T.contiguous(), pad, min(band, height - 1)).T
    return both.clamp(low / DEPTH_RANGE, high * DEPTH_RANGE).contiguous()


def _continued_columns(values: Tensor, pad: int, band: int) -> Tensor:
    """[H, W + 2 pad]: each row goes on with the mean slope of the rows around it."""
    steps = torch.arange(1, pad + 1, dtype=values.dtype)
    left = (values[:, 0] - values[:, band]) / max(band, 1)  # a single column has no slope
    right = (values[:, -1] - values[:, -1 - band]) / max(band, 1)
    left, right = (_smoothed(s, band) for s in (left, right))
    return torch.cat(
        [values[:, :1] + left[:, None] * steps.flip(0), values, values[:, -1:] + right[:, None] * steps], dim=1
    )


def _smoothed(slopes: Tensor, window: int) -> Tensor:
    """The running median-like mean [H] of slopes: robust against the few rows that cross an edge."""
    size = min(2 * (window // 2) + 1, 2 * ((len(slopes) - 1) // 2) + 1)
    padded = torch.nn.functional.pad(slopes[None, None], (size // 2, size // 2), mode="replicate")[0, 0]
    return padded.unfold(0, size, 1).median(dim=1).values


def _blurred_out(pixels: np.ndarray, pad: int) -> Tensor:
    """Colours [H + 2 pad, W + 2 pad, 3] uint8: the border's, blurred, carried outwards."""
    sigma = max(1.0, BLUR * max(pixels.shape))
    return _carried_out(cv2.GaussianBlur(pixels, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE), pad)


def _carried_out(values: np.ndarray, pad: int) -> Tensor:
    """[H + 2 pad, W + 2 pad, ...]: each pixel beyond the border has the value of the border's nearest one."""
    return torch.from_numpy(cv2.copyMakeBorder(values, pad, pad, pad, pad, cv2.BORDER_REPLICATE))


def _is_nearest(stereo: Stereo, view: int, points: Tensor) -> Tensor:
    """bool [M]: outside every view's picture, and not nearer to another's border than to this view's."""
    outside = torch.stack([_overshoot(stereo, other, points) for other in range(len(stereo))])
    return (outside > 0).all(0) & (outside[view] <= outside.min(0).values)


def _overshoot(stereo: Stereo, view: int, points: Tensor) -> Tensor:
    """Distance [M] of projected points outside a view's picture, in its longer sides; infinite behind the camera."""
    in_camera = transform_points(stereo.cameras.cam_from_world[view], points)
    K, width, height = stereo.cameras.K[view], int(stereo.cameras.width[view]), int(stereo.cameras.height[view])
    z = in_camera[:, 2].clamp_min(1e-6)
    x, y = K[0, 0] * in_camera[:, 0] / z + K[0, 2], K[1, 1] * in_camera[:, 1] / z + K[1, 2]
    beyond = torch.stack([-x, x - width, -y, y - height]).amax(0) / max(width, height)
    return torch.where(in_camera[:, 2] > 1e-6, beyond, torch.full_like(beyond, torch.inf))
