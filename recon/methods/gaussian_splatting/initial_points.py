"""Starting points and sizes of Gaussians: from sparse points, or from nothing but the cameras."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from ....scene.cameras import Cameras
from ....scene.geometry import transform_points
from ....scene.point_cloud import PointCloud
from ...optimise.dataset import Dataset

NEAR_SHARE, FAR_SHARE = 0.3, 2.0  # of the distance that the cameras look at: where random points may lie


def neighbour_distances(
    points: Tensor,  # [N, 3]
    fallback: float,  # world units, for a point without neighbours
    neighbours: int = 3,
) -> Tensor:
    """Root mean square distance [N] of each point to its nearest neighbours, as 3DGS sets its first scales."""
    if len(points) < 2:
        return torch.full((len(points),), fallback)
    xyz = points.double().cpu().numpy()
    distances, _ = cKDTree(xyz).query(xyz, k=min(neighbours, len(points) - 1) + 1)
    rms = np.sqrt((distances[:, 1:] ** 2).mean(axis=1))
    return torch.from_numpy(np.maximum(rms, 1e-4 * fallback)).float()  # coinciding points get a size, too


def random_points(dataset: Dataset, count: int, generator: torch.Generator) -> PointCloud:
    """`count` points in the union of the training cameras' frusta, with the colour of the pixel they lie behind.

    Depths are log-uniform around the distance that the cameras look at. Transparent and masked pixels get none.
    """
    train = list(dataset.train)
    near_far = torch.tensor([NEAR_SHARE, FAR_SHARE]).log() + math.log(
        _look_at_distance(dataset.cameras[train], dataset.scene_scale)
    )
    shares = torch.bincount(torch.randint(len(train), (count,), generator=generator), minlength=len(train))
    xyz, rgb = [], []
    for view_index, share in zip(train, shares.tolist(), strict=True):
        view = dataset.view(view_index)
        pixels, counts = view.pixels.cpu(), view.counts()
        if counts is None or not counts.any():
            counts = torch.ones(pixels.shape[:2], dtype=torch.bool)
        rows, columns = counts.nonzero(as_tuple=True)
        chosen = torch.randint(len(rows), (share,), generator=generator)
        rows, columns = rows[chosen], columns[chosen]
        depth = (near_far[0] + (near_far[1] - near_far[0]) * torch.rand(share, generator=generator)).exp()
        K = view.K.cpu()
        x = (columns + torch.rand(share, generator=generator) - K[0, 2]) / K[0, 0]
        y = (rows + torch.rand(share, generator=generator) - K[1, 2]) / K[1, 1]
        in_camera = torch.stack([x, y, torch.ones_like(x)], dim=-1) * depth[:, None]
        xyz.append(transform_points(dataset.cameras.world_from_cam[view_index].cpu(), in_camera))
        rgb.append(pixels[rows, columns, :3])
    return PointCloud(torch.cat(xyz), torch.cat(rgb))


def _look_at_distance(cameras: Cameras, scene_scale: float) -> float:
    """Median distance of the cameras to the point nearest to all their axes, or five scene scales."""
    axes = cameras.cam_from_world[:, 2, :3].double().cpu()
    centers = cameras.centers.double().cpu()
    across = torch.eye(3, dtype=torch.float64) - axes[:, :, None] * axes[:, None, :]  # [V, 3, 3]
    total = across.mean(0)
    if float(torch.linalg.eigvalsh(total)[0]) > 0.01:  # axes spread by more than about 6 degrees
        point = torch.linalg.solve(total, (across @ centers[..., None]).mean(0).squeeze(-1))
        distance = float(((point - centers) * axes).sum(-1).median())
        if distance > 0.1 * scene_scale:
            return distance
    return 5 * scene_scale
