"""Views of a cloud of points with known cameras: features and matches without images."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from fewview.recon.poses.features import Features
from torch import Tensor

WIDTH, HEIGHT, FOCAL_PX = 640, 480, 520.0


@dataclass(frozen=True)
class PosedPhotos:
    """Features and matches of a perfect matcher, but for noise and some wrong matches."""

    cam_from_world: Tensor  # [N, 4, 4] float64
    features: list[Features]
    matches: dict[tuple[int, int], np.ndarray]  # [M, 2]


def looking_at(center: np.ndarray, target: np.ndarray) -> np.ndarray:
    """cam_from_world [4, 4] of a level camera, OpenCV axes, z up."""
    forward = (target - center) / np.linalg.norm(target - center)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = rotation, -rotation @ center
    return out


def arc(n_views: int, seed: int, span_deg: float = 60.0) -> Tensor:
    """Cameras [n_views, 4, 4] along an arc of radius 4 around the origin, at uneven heights."""
    rng = np.random.default_rng(seed)
    angles = np.deg2rad(np.linspace(-span_deg / 2, span_deg / 2, n_views))
    heights = 0.8 + 0.4 * rng.uniform(-1, 1, n_views)
    centers = np.stack([4 * np.sin(angles), -4 * np.cos(angles), heights], axis=1)
    return torch.from_numpy(np.stack([looking_at(c, 0.1 * rng.standard_normal(3)) for c in centers]))


def posed_photos(
    cam_from_world: Tensor,  # [N, 4, 4]
    seed: int,
    n_points: int = 600,
    noise_px: float = 0.5,
    wrong_share: float = 0.1,
    scene: Tensor | None = None,  # [N] int64: views of different numbers share no points
    flat: bool = False,  # all points on one upright wall
) -> PosedPhotos:
    """Project a random cloud (one for each scene) and match every pair, with noise and mismatches."""
    rng = np.random.default_rng(seed)
    n = len(cam_from_world)
    scenes = np.zeros(n, np.int64) if scene is None else scene.numpy()
    clouds = {
        s: rng.uniform(-1, 1, (n_points, 3)) * [1.2, 0.0 if flat else 1.2, 0.9] for s in sorted(set(scenes.tolist()))
    }
    features, visible = [], []
    for view in range(n):
        pose = cam_from_world[view].double().numpy()
        in_cam = clouds[int(scenes[view])] @ pose[:3, :3].T + pose[:3, 3]
        xy = FOCAL_PX * in_cam[:, :2] / in_cam[:, 2:] + [WIDTH / 2, HEIGHT / 2]
        xy += noise_px * rng.standard_normal(xy.shape)
        inside = (in_cam[:, 2] > 0.1) & (xy > 0).all(1) & (xy[:, 0] < WIDTH) & (xy[:, 1] < HEIGHT)
        visible.append(np.flatnonzero(inside))
        kept = torch.from_numpy(xy[inside].astype(np.float32))
        features.append(Features(kept, torch.zeros(len(kept), 8), WIDTH, HEIGHT))
    matches = {}
    for a, b in itertools.combinations(range(n), 2):
        if scenes[a] != scenes[b]:
            matches[a, b] = np.zeros((0, 2), np.int64)
            continue
        _, in_a, in_b = np.intersect1d(visible[a], visible[b], return_indices=True)
        wrong = rng.random(len(in_a)) < wrong_share
        in_b[wrong] = in_b[wrong][rng.permutation(int(wrong.sum()))]
        matches[a, b] = np.stack([in_a, in_b], axis=1)
    return PosedPhotos(cam_from_world, features, matches)
