"""A ring of photographs that tears is solved anew, all at once; others are left as they are."""

from __future__ import annotations

import numpy as np
import pycolmap
import pytest
import torch
from fewview.recon.poses.features import Features
from fewview.recon.poses.focal_prior import Lenses
from fewview.recon.poses.judge.agreement import agreement
from fewview.recon.poses.judge.torn_links import torn_links
from fewview.recon.poses.mapping import Model, quiet_pycolmap
from fewview.recon.poses.pose_errors import pair_errors
from fewview.recon.poses.poses_config import PosesConfig
from fewview.recon.poses.untorn import MANY_VIEWS, untorn
from fewview.recon.poses.verification import ViewGraph, verify

WIDTH, HEIGHT, FOCAL_PX = 640, 480, 560.0
POINTS = 250


def ring(views: int) -> np.ndarray:
    """cam_from_world [V, 4, 4] of cameras all around the origin that look at it."""
    poses = np.tile(np.eye(4), (views, 1, 1))
    for view, angle in enumerate(2 * np.pi * np.arange(views) / views):
        poses[view, :3, :3] = [[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0], [np.sin(angle), 0, np.cos(angle)]]
        poses[view, :3, 3] = [0.1 * (view % 2), 0.15 * (view % 3), 5.0 + 0.7 * (view % 4)]
    return poses


def graph_and_lens(poses: np.ndarray) -> tuple[ViewGraph, Lenses]:
    """Verified matches of each view with the next three, of points around the origin, through one lens."""
    rng = np.random.default_rng(0)
    points = rng.normal(0, 0.5, (POINTS, 3)).clip(-1, 1)
    features = []
    for pose in poses:
        in_cam = points @ pose[:3, :3].T + pose[:3, 3]
        xy = FOCAL_PX * in_cam[:, :2] / in_cam[:, 2:] + np.array([WIDTH, HEIGHT]) / 2
        xy += rng.normal(0, 0.4, xy.shape)
        features.append(Features(torch.from_numpy(xy).float(), torch.zeros(POINTS, 0), WIDTH, HEIGHT))
    every = np.stack([np.arange(POINTS)] * 2, axis=1)
    pairs = {tuple(sorted((a, (a + step) % len(poses)))): every for a in range(len(poses)) for step in (1, 2, 3)}
    lenses = Lenses([1] * len(poses), [(WIDTH, HEIGHT)], [None])
    return verify(features, pairs, lenses.of_views(lenses.cameras("SIMPLE_PINHOLE", 0.9)), seed=0), lenses


def placed(poses: np.ndarray, first: int = 0) -> Model:
    """A model of these cameras [V, 4, 4] of the views from `first` on, without points, its lens 2 % off."""
    reconstruction = pycolmap.Reconstruction()
    lens = pycolmap.Camera.create_from_model_name(1, "SIMPLE_PINHOLE", 1.02 * FOCAL_PX, WIDTH, HEIGHT)
    reconstruction.add_camera_with_trivial_rig(lens)
    for view, pose in enumerate(poses, start=first):
        image = pycolmap.Image(name=str(view), camera_id=1, image_id=view + 1)
        reconstruction.add_image_with_trivial_frame(image, pycolmap.Rigid3d(pose[:3]))
    return Model(reconstruction, 1.02 * FOCAL_PX / WIDTH)


def torn(poses: np.ndarray) -> np.ndarray:
    """The ring opened: each camera rolled by a little more than the one before, 60 degrees at the end."""
    opened = poses.copy()
    for view in range(len(poses)):
        angle = np.radians(60.0 * view / (len(poses) - 1))
        turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        opened[view, :3, :3] = turn @ poses[view, :3, :3]
    return opened


def test_a_ring_that_tears_is_solved_all_at_once() -> None:
    poses = ring(MANY_VIEWS)
    graph, lenses = graph_and_lens(poses)
    broken = placed(torn(poses))
    assert (0, MANY_VIEWS - 1) in torn_links(agreement(broken, graph))
    with quiet_pycolmap():
        whole = untorn(graph, broken, lenses, PosesConfig())
    assert whole.views == broken.views
    assert torn_links(agreement(whole, graph)) == []
    found = np.tile(np.eye(4), (MANY_VIEWS, 1, 1))
    found[:, :3] = [whole.camera(view)[0] for view in whole.views]
    errors = pair_errors(torch.from_numpy(found), torch.from_numpy(poses))
    assert float(errors.rotation_deg.max()) < 1.0
    assert whole.camera(0)[1].mean_focal_length() == pytest.approx(FOCAL_PX, rel=0.03)


def test_few_photographs_and_rings_that_close_are_left_as_they_are() -> None:
    poses = ring(MANY_VIEWS)
    graph, lenses = graph_and_lens(poses)
    right = placed(poses)
    assert untorn(graph, right, lenses, PosesConfig()) is right
    few = placed(torn(poses)[1:], first=1)
    assert torn_links(agreement(few, graph))
    assert untorn(graph, few, lenses, PosesConfig()) is few


def test_a_solution_that_tears_as_well_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    poses = ring(MANY_VIEWS)
    graph, lenses = graph_and_lens(poses)
    broken = placed(torn(poses))
    assert torn_links(agreement(broken, graph))
    for other in (None, placed(torn(poses)), placed(poses[: MANY_VIEWS // 2])):
        monkeypatch.setattr("fewview.recon.poses.untorn.Mapper.run_globally", lambda *_, other=other, **__: other)
        assert untorn(graph, broken, lenses, PosesConfig()) is broken


def test_a_known_lens_is_held_and_one_that_leaves_exif_is_not_taken() -> None:
    poses = ring(MANY_VIEWS)
    graph, unknown = graph_and_lens(poses)
    broken = placed(torn(poses))  # whose lens is 2 % off
    known = Lenses(unknown.camera_of_view, unknown.sizes, [1.02 * FOCAL_PX])
    with quiet_pycolmap():
        held = untorn(graph, broken, known, PosesConfig(hold_focal=True))
        assert held is not broken
        assert held.camera(0)[1].mean_focal_length() == 1.02 * FOCAL_PX
        far = Lenses(unknown.camera_of_view, unknown.sizes, [1.5 * FOCAL_PX])
        assert untorn(graph, broken, far, PosesConfig()) is broken
