"""Frusta that are seen, those that are in the way, and the first view of a scene with cameras."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fewview.render.aim import look_at
from fewview.scene.cameras import Cameras
from fewview.viewer.app import serve
from fewview.viewer.layers.camera_layer import frusta_before, frustum_depths, frustum_size
from fewview.viewer.stage import FOCUS_DISTANCE, Stage
from fewview.viewer.subjects.first_view import MIDDLE, STEPS_BACK, camera_of, view_from_behind
from fewview.viewer.subjects.photographs import NEAR
from fewview.viewer.subjects.splat_subject import SplatSubject
from support.small_run import small_capture
from support.small_splats import small_splat

UP = torch.tensor([0.0, -1.0, 0.0])


def at(*centers: tuple[float, float, float]) -> Cameras:
    """Cameras of 100 x 100 pixels and 90 degrees that look along +z."""
    centers_world = torch.tensor(centers)
    poses = torch.stack([look_at(c, c + torch.tensor([0.0, 0.0, 1.0]), UP) for c in centers_world])
    return Cameras.pinhole(poses, 50.0, 100, 100)


def test_a_frustum_is_as_deep_as_viser_draws_it() -> None:
    # tan(45 degrees) = 1 on both sides, so the volume's cube root is that of 1 / 3.
    np.testing.assert_allclose(frustum_depths(at((0, 0, 0)), 0.2), 0.2 * 3 ** (1 / 3), rtol=1e-6)


@pytest.mark.parametrize(
    ("center", "seen"),
    [
        ((0.0, 0.0, 2.0), True),  # ahead
        ((0.0, 0.0, -3.0), False),  # behind, with its picture
        ((0.0, 0.0, -0.2), True),  # behind, but its picture is ahead
        ((5.0, 0.0, 2.0), False),  # far to the side
        ((2.2, 0.0, 2.0), True),  # its centre is beside the picture, its near corner in it
    ],
)
def test_what_of_a_frustum_is_seen_counts_not_only_its_camera(center: tuple[float, float, float], seen: bool) -> None:
    depths = frusta_before(at(center), at((0.0, 0.0, 0.0))[0], 0.3)
    assert bool(depths.isfinite()[0]) == seen
    if center[2] > 0 and seen:
        assert 2 < depths[0] < 2 + 0.3 * 3 ** (1 / 3) + 1e-5


@pytest.mark.parametrize("count", [2, 5, 12])
def test_the_first_view_has_cameras_in_it_and_none_before_the_subject(count: int) -> None:
    capture = replace(small_capture([f"{i}.jpg" for i in range(count)]), test=None)
    subject = SplatSubject("scene", small_splat(), capture)
    cameras, index = subject.cameras, subject.photographs.middle_view()
    stage = Stage.of(cameras)
    size = frustum_size(cameras, stage)
    view = view_from_behind(cameras, index, size, stage)
    camera = camera_of(view, stage)
    seen = frusta_before(cameras, camera, size / stage.scale)
    middle = frusta_before(cameras, camera, size / stage.scale, MIDDLE)
    # Two cameras are so far apart that a view which has them both would be far away.
    assert count == 2 or int((seen.isfinite() & ~middle.isfinite()).sum()) >= 1
    distance = np.linalg.norm(view.position - view.look_at)
    own = np.linalg.norm(stage.view_of(cameras[index]).position - view.look_at)
    assert own < distance < own * (1 + 1.2 * max(STEPS_BACK))
    server, page = serve(subject, port=0)
    try:
        frusta = subject.photographs.frusta
        assert [frustum.visible for frustum in frusta] == [
            not near for near in middle < NEAR * FOCUS_DISTANCE / stage.scale
        ]
        subject.look_through(0)
        assert not frusta[0].visible
    finally:
        page.close()
        server.stop()
