"""Monocular depth without a network: what stereo and sparse points know, carried on along the photograph's colours."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from ...scene.cameras import Cameras
from ...scene.point_cloud import PointCloud
from ..optimise.dataset import Dataset
from .depth_maps import DepthMap, Stereo
from .monocular_depth import MonocularDepth
from .stereo.fill import EdgeAwareFill
from .stereo.source_views import in_picture, project
from .stereo.stereo_depth import observed_points

ITERATIONS = 300  # of conjugate gradients; a plain guess is the start, so that distant pixels need no more
POINT_WEIGHT = 10.0  # of a sparse point's pixel against a tie of 1 between neighbours; many views agree on it
AGREES = 0.02  # relative difference of a sparse point from trusted stereo, beyond which it shows something hidden


def filled_disparity(dataset: Dataset, stereo: Stereo) -> MonocularDepth:
    """Inverse depth of the training views: trusted where stereo or points are, filled edge-aware elsewhere.

    Sparse normal equations over each picture's pixels, solved by conjugate gradients: neighbours are tied the weaker
    the more their colours differ. The unit is one over that of the cameras, though nobody may rely on that.
    """
    points = observed_points(dataset, list(dataset.train))
    maps = []
    for number, index in enumerate(dataset.train):
        view = dataset.view(index)
        depth_map = stereo.maps[number]
        height, width = depth_map.depth.shape
        pixels, _ = view.photograph(width, height)
        value, weight = known_inverse_depth(depth_map, stereo.cameras[number], points_of_view(points, number))
        start = (1 / depth_map.depth).numpy()
        filled = EdgeAwareFill(pixels.numpy()).solve(value, weight, start, ITERATIONS)
        known = weight > 0
        low, high = (value[known].min(), value[known].max()) if known.any() else (start.min(), start.max())
        sized = cv2.resize(np.clip(filled, low, high), (view.width, view.height), interpolation=cv2.INTER_LINEAR)
        maps.append(torch.from_numpy(np.ascontiguousarray(sized, np.float32)).reshape(view.height, view.width))
    return MonocularDepth(tuple(maps))


def known_inverse_depth(
    depth_map: DepthMap,
    camera: Cameras,  # [] at the size of the map
    points: PointCloud,  # those that the view sees
) -> tuple[np.ndarray, np.ndarray]:
    """(inverse depth [H, W], weight [H, W] float32 that is 0 where nothing is known) of one view."""
    trust = (depth_map.confidence - 1).numpy()
    value = np.where(trust > 0, (1 / depth_map.depth).numpy(), 0).astype(np.float32)
    weight = trust.astype(np.float32)
    seen = points.xyz[in_picture(camera, points.xyz)]
    pixel, depth = project(camera, seen)
    order = depth.argsort(descending=True)  # the nearest of several in one pixel is written last
    inverse = (1 / depth[order]).numpy().astype(np.float32)
    column, row = pixel[order].floor().long().T.numpy()
    agrees = (trust[row, column] <= 0) | (np.abs(inverse / np.maximum(value[row, column], 1e-12) - 1) < AGREES)
    value[row[agrees], column[agrees]] = inverse[agrees]
    weight[row[agrees], column[agrees]] = POINT_WEIGHT
    return value, weight


def points_of_view(points: PointCloud, view: int) -> PointCloud:
    """The points that a view is known to see; none where they carry no observations."""
    if points.seen_view is None or points.seen_point is None:
        return PointCloud.empty()
    return points[points.seen_point[points.seen_view == view].unique()]
