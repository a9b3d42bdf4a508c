"""Trajectories that the viewer draws: some of the control points, on their way through the moments."""

from __future__ import annotations

import pytest
import torch
from fewview.scene.splat import MovingSplat
from fewview.viewer.layers.trajectory_layer import MAX_LINES, MAX_MOMENTS, draw_trajectories, trajectories
from fewview.viewer.server import ViewerServer
from fewview.viewer.stage import Stage
from support.bending_splat import FIRST_S, LAST_S, bending_splat
from support.small_splats import moving_splat


@pytest.mark.parametrize(("points", "moments"), [(24, 9), (500, 100)])
def test_lines_follow_control_points_all_over_the_splat(points: int, moments: int) -> None:
    splat = bending_splat(2000, points=points, moments=moments)
    lines = trajectories(splat)
    assert lines.shape == (min(moments, MAX_MOMENTS), min(points, MAX_LINES), 3)
    for row, moment in ((0, FIRST_S), (-1, LAST_S)):
        there = splat.motion.points_at(moment)
        assert float(torch.cdist(lines[row].double(), there.double()).min(1).values.max()) < 1e-5
    # No control point is far from those with a line: 96 of them, evenly, are 2/96 apart along the bar of length 2.
    gaps = torch.cdist(splat.motion.points.double(), lines[0].double())
    assert len(lines[0]) == points or float(gaps.min(1).values.median()) < 0.3


def test_a_splat_without_control_points_has_lines_of_gaussians() -> None:
    splat = moving_splat(400)
    lines = trajectories(splat)
    assert lines.shape == (3, MAX_LINES, 3)
    torch.testing.assert_close(lines[-1] - lines[0], torch.tensor([0.6, 0, 0]).expand(MAX_LINES, 3))


def test_lines_are_blue_at_first_and_red_at_last_and_nothing_is_drawn_of_one_moment() -> None:
    server = ViewerServer("127.0.0.1", 0, "test")
    try:
        splat = bending_splat(100, moments=5)
        (handle,) = draw_trajectories(server, "/0", splat, Stage.of(None, splat.at()))
        assert handle.points.shape == (4 * 24, 2, 3)
        colors = handle.colors.reshape(4, 24, 2, 3)
        assert (colors[0, :, 0] == colors[0, 0, 0]).all(), "a moment has one colour"
        assert colors[0, 0, 0, 2] > colors[0, 0, 0, 0]
        assert colors[-1, 0, 1, 0] > colors[-1, 0, 1, 2]
        bad = splat.motion.tensors()["shifts"]
        bad[:] = torch.nan
        assert draw_trajectories(server, "/0", splat, Stage.of(None, splat.gaussians)) == []
        assert isinstance(splat, MovingSplat)
    finally:
        server.stop()
