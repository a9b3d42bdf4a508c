"""Held-out photographs are placed in the others' solution and have no say in it."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from fewview.recon.poses import PosesConfig
from fewview.recon.poses.best_model import solve
from fewview.recon.poses.correspondences import Correspondences, Image
from fewview.recon.poses.focal_prior import group_lenses
from fewview.recon.poses.held_out import register_held_out
from fewview.recon.poses.placed_capture import placed_capture
from fewview.recon.poses.verification import verify
from fewview.scene import Capture, Frame
from support.posed_photos import HEIGHT, WIDTH, arc, posed_photos

GRAY = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
HELD_OUT = (2, 4)


def capture_of(n: int) -> Capture:
    return Capture(
        tuple(Frame(f"view_{i}.jpg", WIDTH, HEIGHT, lambda: GRAY) for i in range(n)), "a test", test=HELD_OUT
    )


@pytest.fixture(scope="module")
def solved():
    photos = posed_photos(arc(7, seed=1), seed=2)
    capture = capture_of(7)
    lenses = group_lenses(list(capture.frames), [(WIDTH, HEIGHT)] * 7)
    colors = [np.full((len(f), 3), 128, np.uint8) for f in photos.features]
    images = [Image(f, c, 1.0) for f, c in zip(photos.features, colors, strict=True)]
    correspondences = Correspondences(images, photos.matches)
    among_others = {pair: m for pair, m in photos.matches.items() if not set(pair) & set(HELD_OUT)}
    cameras = lenses.of_views(lenses.cameras("SIMPLE_PINHOLE", 1.0))
    graph = verify(photos.features, among_others, cameras, seed=0)
    model = solve(graph, lenses, PosesConfig(distortion="off"))
    return photos, capture, lenses, colors, correspondences, model


def test_they_are_found_where_they_were_taken(solved) -> None:
    photos, capture, lenses, colors, correspondences, model = solved
    poses, reasons = register_held_out(capture, correspondences, lenses, model, HELD_OUT, seed=0)
    assert sorted(poses) == list(HELD_OUT)
    assert not reasons
    placed = placed_capture(capture, model, lenses, poses, colors, {})
    relative = placed.cameras.cam_from_world.double() @ torch.linalg.inv(placed.cameras.cam_from_world[0].double())
    true = photos.cam_from_world @ torch.linalg.inv(photos.cam_from_world[0])
    turned = relative[:, :3, :3] @ true[:, :3, :3].transpose(1, 2)
    angles = torch.rad2deg(torch.arccos(((turned.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2).clamp(-1, 1)))
    # Half a pixel of noise on hundreds of matches, and what the solution of five views is off by itself.
    assert float(angles.max()) < 0.3
    assert placed.test == HELD_OUT
    assert not set(placed.points.seen_view.tolist()) & set(HELD_OUT)


def test_the_others_do_not_move(solved) -> None:
    _, capture, lenses, colors, correspondences, model = solved
    poses, _ = register_held_out(capture, correspondences, lenses, model, HELD_OUT, seed=0)
    kept = [i for i in range(7) if i not in HELD_OUT]
    with_them = placed_capture(capture, model, lenses, poses, colors, {})
    without = placed_capture(capture, model, lenses, {}, colors, {})
    assert torch.equal(with_them.cameras.cam_from_world[kept], without.cameras.cam_from_world)
    assert torch.equal(with_them.points.xyz, without.points.xyz)


def test_where_few_points_match_interpolated_ones_help(solved) -> None:
    photos, capture, lenses, _, correspondences, model = solved
    sparse = replace(model, reconstruction=copy.deepcopy(model.reconstruction))
    for point_id in sorted(sparse.reconstruction.point3D_ids())[::2]:
        sparse.reconstruction.delete_point3D(point_id)
    matches = dict(correspondences.matches)
    for pair in [p for p in matches if 2 in p]:
        other = sum(pair) - 2
        if other in sparse.views:  # only matches whose keypoint has lost its point
            keypoints = sparse.reconstruction.image(other + 1).points2D
            lost = [not keypoints[k].has_point3D() for k in matches[pair][:, 1 if pair[0] == 2 else 0]]
            matches[pair] = matches[pair][lost]
    poses, _ = register_held_out(capture, Correspondences(correspondences.images, matches), lenses, sparse, [2], seed=0)
    reference = model.reconstruction.image(1).cam_from_world().matrix()
    found, true = (
        p[:, :3] @ q[:, :3].T for p, q in ((poses[2], reference), *[photos.cam_from_world[[2, 0], :3].numpy()])
    )
    # The cloud of points is no surface, so depths between them are off by a tenth: enough to start refining from.
    assert np.degrees(np.arccos(np.clip((np.trace(found @ true.T) - 1) / 2, -1, 1))) < 5


def test_a_photograph_without_matches_is_named(solved) -> None:
    _, capture, lenses, _, correspondences, model = solved
    alone = Correspondences(correspondences.images, {p: m for p, m in correspondences.matches.items() if 2 not in p})
    poses, reasons = register_held_out(capture, alone, lenses, model, HELD_OUT, seed=0)
    assert sorted(poses) == [4]
    assert "view_2.jpg is held out and could not be registered: 0 of its matches" in reasons[2]
