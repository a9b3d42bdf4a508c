"""Known pixels as they are at work: Fewview's own stereo, and sparse points, of photographs of a generated scene."""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from depth_pictures import Picture
from fewview.recon.evidence.filled_disparity import known_inverse_depth, points_of_view
from fewview.recon.evidence.stereo.patch_match import estimate_depths
from fewview.scene.cameras import Cameras
from fewview.scene.point_cloud import PointCloud
from numpy.random import Generator

POSE_ERROR_PX = 0.15  # of the cameras that stereo is given
POINT_ERROR_PX = 0.4
SAME = 0.01  # relative depth up to which a pixel of another photograph shows a point


def known_by_stereo(pictures: list[Picture], rng: Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """(inverse depth [S, S], weight [S, S]) float32 of each photograph, 0 where nothing is known."""
    side, focal = len(pictures[0].rgb), pictures[0].focal_px
    cam_from_world = torch.from_numpy(np.stack([np.linalg.inv(p.world_from_cam) for p in pictures])).float()
    for pose in cam_from_world[1:]:
        turned, _ = cv2.Rodrigues(rng.normal(0, POSE_ERROR_PX / focal / math.sqrt(2), 3))
        pose[:3] = torch.from_numpy(turned).float() @ pose[:3]
    cameras = Cameras.pinhole(cam_from_world, focal, side, side)
    points = sparse_points(pictures, rng)
    images = [torch.from_numpy(p.rgb) for p in pictures]
    maps = estimate_depths(images, cameras, points, seed=int(rng.integers(1 << 30)))
    return [
        known_inverse_depth(maps[view], cameras[view], points_of_view(points, view)) for view in range(len(pictures))
    ]


def sparse_points(pictures: list[Picture], rng: Generator) -> PointCloud:
    """Corners of the photographs whose surface another shows, as structure from motion finds them: some are wrong."""
    side, focal = len(pictures[0].rgb), pictures[0].focal_px
    wanted = int(math.exp(rng.uniform(math.log(30), math.log(500))))
    xyz, seen_point, seen_view = [], [], []
    for view, picture in enumerate(pictures):
        grey = cv2.cvtColor(picture.rgb, cv2.COLOR_RGB2GRAY)
        shared = (picture.shared > 0).astype(np.uint8)
        corners = cv2.goodFeaturesToTrack(grey, wanted, 0.005, 4, mask=shared)
        if corners is None:
            continue
        for column, row in corners[:, 0]:
            depth = float(picture.depth[int(row), int(column)])
            depth *= math.exp(rng.normal(0, 0.004) + (rng.normal(0, 0.3) if rng.random() < 0.015 else 0))
            at = np.array([column + 0.5, row + 0.5]) + rng.normal(0, POINT_ERROR_PX, 2)
            local = np.array([*((at - side / 2) / focal * depth), depth, 1.0])
            world = picture.world_from_cam @ local
            views = [view, *(v for v, p in enumerate(pictures) if v != view and shows(p, world))]
            if len(views) < 2:
                continue
            seen_point += [len(xyz)] * len(views)
            seen_view += views
            xyz.append(world[:3])
    if not xyz:
        return PointCloud.empty()
    place = torch.from_numpy(np.stack(xyz)).float()
    seen = torch.tensor(seen_point), torch.tensor(seen_view)
    return PointCloud(place, torch.zeros(len(xyz), 3, dtype=torch.uint8), *seen)


def shows(picture: Picture, world: np.ndarray, same: float = SAME) -> bool:
    """A point [4] of the world is what the picture shows at its place."""
    local = np.linalg.inv(picture.world_from_cam) @ world
    if local[2] <= 0:
        return False
    side = len(picture.depth)
    column, row = (math.floor(local[k] / local[2] * picture.focal_px + side / 2) for k in (0, 1))
    if not (0 <= column < side and 0 <= row < side):
        return False
    return abs(float(picture.depth[row, column]) / float(local[2]) - 1) < same


def thinned(weight: np.ndarray, rng: Generator) -> np.ndarray:
    """The weight [S, S] of what is known with large parts of it unknown: a side, patches, or all but some pixels."""
    side, kind = len(weight), rng.integers(4)
    if kind == 0:  # one side of the picture is not seen by others
        y, x = np.mgrid[:side, :side] / side - 0.5
        angle = rng.uniform(0, 2 * math.pi)
        kept = x * math.cos(angle) + y * math.sin(angle) < rng.uniform(-0.25, 0.3)
    elif kind == 1:  # sparse points alone
        kept = rng.random(weight.shape) < math.exp(rng.uniform(math.log(5e-4), math.log(2e-2)))
    else:
        cells = int(rng.integers(3, 14))
        lattice = rng.standard_normal((cells, cells)).astype(np.float32)
        field = cv2.resize(lattice, (side, side), interpolation=cv2.INTER_CUBIC)
        kept = field > np.quantile(field, rng.uniform(0.2, 0.8))
    return np.where(kept, weight, 0).astype(np.float32)
