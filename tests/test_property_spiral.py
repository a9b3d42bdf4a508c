"""The spiral: closed, upright, aimed at the subject, and on the side of the photographs."""

import pytest
import torch
from fewview.render.aim import focus_point, look_at, up_direction
from fewview.render.spiral import spiral
from fewview.scene.cameras import Cameras
from support.small_run import small_cameras


def test_it_is_smooth_closed_upright_and_aimed():
    cameras = small_cameras(7)
    path = spiral(cameras, 240)
    up, focus = up_direction(cameras), focus_point(cameras)
    right, down, forward = path.world_from_cam[:, :3, :3].unbind(-1)
    assert float((right @ up).abs().max()) < 1e-5
    assert float((down @ up).max()) < 0
    aim = torch.nn.functional.normalize(focus - path.centers, dim=-1)
    assert float((aim * forward).sum(-1).min()) > 0.9999
    closed = torch.cat([path.centers, path.centers[:2]])
    step = closed[1:] - closed[:-1]
    turn = (step[1:] - step[:-1]).norm(dim=-1) / step.norm(dim=-1).max()
    # Two turns in 240 steps change direction by 2 pi / 120 = 0.05 a step; a gap or corner would give about 1.
    assert float(turn.max()) < 0.15


def test_it_stays_among_the_photographs():
    cameras = small_cameras(7)
    path = spiral(cameras, 100)
    low, high = cameras.centers.min(0).values, cameras.centers.max(0).values
    assert bool((path.centers >= low - 0.15).all())  # the arc is flat in y, where the spiral keeps 2 % of 4 units
    assert bool((path.centers <= high + 0.15).all())
    assert float(path.centers[:, 0].max() - path.centers[:, 0].min()) > 0.5 * float((high - low)[0])


@pytest.mark.parametrize("which", ["one", "ring", "straight down"])
def test_unusual_captures_have_a_spiral_too(which):
    if which == "one":
        cameras = small_cameras(5)[2:3]
    elif which == "ring":
        angle = torch.arange(8) * torch.pi / 4
        centers = torch.stack([angle.sin(), torch.zeros(8), angle.cos()], dim=-1)
        cameras = Cameras.pinhole(look_at(centers, torch.zeros(3), torch.tensor([0.0, -1, 0])), 90.0, 96, 64)
    else:
        pose = torch.eye(4).repeat(3, 1, 1)
        pose[:, 0, 3] = torch.tensor([-0.5, 0, 0.5])
        cameras = Cameras.pinhole(pose, 90.0, 96, 64)
    path = spiral(cameras, 30)
    assert torch.isfinite(path.cam_from_world).all()
    rotation = path.cam_from_world[:, :3, :3]
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3).expand_as(rotation), atol=1e-5, rtol=0)
    assert float((path.centers - path.centers[0]).norm(dim=-1).max()) > 0
