"""Mapping of somebody's walk ahead, where every right pair of photographs moves along the view."""

from __future__ import annotations

import numpy as np
import torch
from fewview.recon.poses.features import Features
from fewview.recon.poses.focal_prior import Lenses
from fewview.recon.poses.mapping import ATTEMPTS, Mapper, quiet_pycolmap
from fewview.recon.poses.pose_errors import pair_errors
from fewview.recon.poses.verification import verify

WIDTH, HEIGHT, FOCAL_PX = 640, 480, 560.0
VIEWS, STEP_M, POINTS = 8, 1.5, 1500


def test_a_walk_ahead_begins_with_a_pair_that_moves_along_the_view() -> None:
    rng = np.random.default_rng(0)
    points = np.column_stack([  # of the houses on both sides
        rng.choice([-4.0, 4.0], POINTS) + rng.normal(0, 0.5, POINTS),
        rng.uniform(-3, 1, POINTS),
        rng.uniform(3, 40, POINTS),
    ])  # fmt: skip
    poses = np.tile(np.eye(4), (VIEWS, 1, 1))
    poses[:, 2, 3] = -STEP_M * np.arange(VIEWS)
    features, seen = [], []
    for pose in poses:
        in_cam = points + pose[:3, 3]
        xy = FOCAL_PX * in_cam[:, :2] / in_cam[:, 2:] + np.array([WIDTH, HEIGHT]) / 2 + rng.normal(0, 0.4, (POINTS, 2))
        inside = (xy > 0).all(1) & (xy < [WIDTH, HEIGHT]).all(1) & (in_cam[:, 2] > 1) & (in_cam[:, 2] < 25)
        seen.append(inside)
        features.append(Features(torch.from_numpy(xy).float(), torch.zeros(POINTS, 0), WIDTH, HEIGHT))
    pairs = {}
    for a in range(VIEWS):
        for b in range(a + 1, VIEWS):
            both = np.flatnonzero(seen[a] & seen[b])
            pairs[a, b] = np.column_stack([both, both])
    lenses = Lenses([1] * VIEWS, [(WIDTH, HEIGHT)], [FOCAL_PX])
    cameras = lenses.cameras("SIMPLE_PINHOLE", 1.0)
    graph = verify(features, pairs, lenses.of_views(cameras), seed=0)
    with quiet_pycolmap():
        model = Mapper(graph, lenses.camera_of_view, seed=0).run(cameras, ATTEMPTS[0])
    assert model is not None
    assert model.views == list(range(VIEWS))
    found = np.tile(np.eye(4), (VIEWS, 1, 1))
    found[:, :3] = [model.camera(view)[0] for view in model.views]
    assert pair_errors(torch.from_numpy(found), torch.from_numpy(poses)).rotation_deg.max() < 1
