"""Camera paths: smooth, upright, looking at the subject, and near the photographed side."""

import math

import numpy as np
import pytest
import torch
from fewview.render.aim import focus_point, look_at, up_direction
from fewview.render.paths import orbit, through
from fewview.scene.cameras import Cameras
from fewview.scene.errors import BadInputError
from fewview.scene.geometry import rotation_angle

FOCUS = torch.tensor([1.0, -2.0, 0.5])
UP = torch.nn.functional.normalize(torch.tensor([0.2, 0.3, 0.9]), dim=0)


def rig(azimuths_deg, elevation_deg=20.0, distance=4.0, target=FOCUS, focal=500.0):
    """Cameras around FOCUS in a world whose up axis is UP, level, 640x480."""
    east = torch.nn.functional.normalize(torch.linalg.cross(UP, torch.tensor([1.0, 0, 0])), dim=0)
    north = torch.linalg.cross(UP, east)
    az = torch.deg2rad(torch.as_tensor(azimuths_deg, dtype=torch.float32))[:, None]
    el = torch.deg2rad(torch.as_tensor(elevation_deg, dtype=torch.float32)).expand(len(az))[:, None]
    direction = el.cos() * (az.cos() * east + az.sin() * north) + el.sin() * UP
    return Cameras.pinhole(look_at(FOCUS + distance * direction, target, UP), focal, 640, 480)


def largest_turn(path, closed):
    """Largest ratio of acceleration to speed along a path: about 2 pi / n for a circle of n steps."""
    c = path.centers.double()
    c = torch.cat([c, c[:2]]) if closed else c
    velocity = c[1:] - c[:-1]
    return float(((velocity[1:] - velocity[:-1]).norm(dim=-1) / velocity.norm(dim=-1).max()).max())


def test_focus_is_where_the_rays_meet():
    # float32 poses at distance 4: the least-squares point is good to a few 1e-6 times the distance.
    torch.testing.assert_close(focus_point(rig([-30, 0, 25])), FOCUS, atol=1e-4, rtol=0)


def test_parallel_rays_have_a_focus_ahead():
    centers = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]])
    pose = torch.eye(4).repeat(3, 1, 1)
    pose[:, :3, 3] = -centers
    focus = focus_point(Cameras.pinhole(pose, 500.0, 64, 48))
    torch.testing.assert_close(focus, torch.tensor([1.0, 0, 3.0]))  # three times the spread of 1 ahead of the mean


def test_up_is_the_vertical_although_every_camera_looks_down():
    up = up_direction(rig([-25, -10, 5, 30], elevation_deg=40.0))
    assert math.degrees(math.acos(float(up @ UP))) < 8  # the mean of the tilted up axes alone is off by 40 degrees
    up = up_direction(rig(range(0, 360, 30), elevation_deg=40.0))
    assert math.degrees(math.acos(min(1.0, float(up @ UP)))) < 0.1


@pytest.mark.parametrize("azimuths", [[-20, 0, 20], list(range(-40, 41, 8)), list(range(0, 360, 36)), [0, 15]])
def test_orbit_is_smooth_upright_and_aimed(azimuths):
    path = orbit(rig(azimuths), 120)
    assert len(path) == 120
    up = up_direction(rig(azimuths))
    right, down, forward = path.world_from_cam[:, :3, :3].unbind(-1)
    assert float((right @ up).abs().max()) < 1e-4  # level
    assert float((down @ up).max()) < 0  # never upside down
    aim = torch.nn.functional.normalize(FOCUS - path.centers, dim=-1)
    assert float((aim * forward).sum(-1).min()) > 0.9999
    # A circle of 120 steps turns by 2 pi / 120 = 0.052 a step, an ellipse of half-axes 5:1 by at most five times that.
    assert largest_turn(path, closed=True) < 0.26


def test_orbit_of_few_views_stays_on_the_photographed_side():
    cameras = rig([-20, 0, 20])
    path = orbit(cameras, 90)
    middle = torch.nn.functional.normalize(cameras.centers[1] - FOCUS, dim=0)
    direction = torch.nn.functional.normalize(path.centers - FOCUS, dim=-1)
    angle = torch.rad2deg(torch.acos((direction @ middle).clamp(-1, 1)))
    assert float(angle.max()) < 25  # the outermost photographs are 20 degrees (on this cone: 19) away
    assert float(angle.max()) > 15  # and the orbit uses what they cover
    distance = (path.centers - FOCUS).norm(dim=-1)
    assert float(distance.min()) > 3.9
    assert float(distance.max()) < 4.1


def test_orbit_of_a_surrounding_capture_is_a_full_circle():
    path = orbit(rig(range(0, 360, 30)), 72, loops=2)
    centers = path.centers - FOCUS
    torch.testing.assert_close(centers.norm(dim=-1), torch.full((72,), 4.0), atol=1e-3, rtol=0)
    torch.testing.assert_close(path.centers[:36], path.centers[36:], atol=1e-4, rtol=0)  # two equal loops
    assert float(centers[:36].mean(0) @ UP) == pytest.approx(4 * math.sin(math.radians(20)), abs=1e-2)
    assert float((centers[0] - centers[18]).norm()) > 7  # opposite sides


def test_orbit_of_one_camera_moves_a_little():
    path = orbit(rig([0]), 30)
    assert torch.isfinite(path.cam_from_world).all()
    assert 0 < float((path.centers - path.centers.mean(0)).norm(dim=-1).max()) < 0.2


def test_orbit_takes_the_median_lens():
    cameras = Cameras.stack([rig([a], focal=f)[0] for a, f in ((-10, 300.0), (0, 500.0), (10, 900.0))])
    path = orbit(cameras, 4)
    torch.testing.assert_close(path.K, cameras[1].K.expand(4, 3, 3))
    assert path.width.tolist() == [640] * 4


def test_through_passes_every_camera_in_order():
    cameras = rig([-30, -10, 5, 40], elevation_deg=[10.0, 25, 15, 20])
    path = through(cameras, 2001)
    away = torch.cdist(cameras.centers, path.centers)
    nearest = away.argmin(1)
    assert float(away.min(1).values.max()) < 2e-3  # half a step of 1/2000 of the way of about 6
    assert nearest.tolist() == sorted(nearest.tolist())
    assert nearest[0] == 0
    assert nearest[-1] == 2000
    relative = path[nearest].cam_from_world[:, :3, :3] @ cameras.cam_from_world[:, :3, :3].transpose(-1, -2)
    assert float(rotation_angle(relative).max()) < 2e-3


def test_through_is_smooth_and_interpolates_the_lens_and_the_time():
    cameras = Cameras.stack([rig([a], focal=f)[0] for a, f in ((-30, 400.0), (0, 500.0), (20, 700.0))])
    cameras = Cameras(cameras.cam_from_world, cameras.K, cameras.width, cameras.height, torch.tensor([0.0, 0.5, 1.0]))
    path = through(cameras, 301)
    assert largest_turn(path, closed=False) < 0.1  # a corner would give a value near 1
    focal = path.K[:, 0, 0].numpy()
    assert focal[0] == pytest.approx(400)
    assert focal[-1] == pytest.approx(700)
    assert np.all(np.diff(focal) > 0)
    assert path.times_s is not None
    assert torch.all(path.times_s[1:] >= path.times_s[:-1])


def test_through_survives_repeated_cameras_and_one_camera():
    cameras = rig([0, 0, 10, 10])
    assert torch.isfinite(through(cameras, 50).cam_from_world).all()
    assert len(through(rig([5]), 7)) == 7


def test_paths_refuse_nothing_to_do():
    with pytest.raises(BadInputError, match="at least 1"):
        orbit(rig([0, 5]), 0)
    with pytest.raises(BadInputError, match="at least one camera"):
        through(rig([0])[:0], 5)
