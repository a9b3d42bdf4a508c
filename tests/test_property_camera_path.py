"""Camera paths pass their key frames, smoothly, and do not care where the world's origin is."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from fewview.render.camera_path import MAX_PICTURES, CameraPath, KeyFrame
from fewview.scene.errors import BadInputError
from fewview.scene.geometry import rotation_angle, se3_from, se3_inverse, so3_exp
from support.camera_paths import random_path
from support.small_run import small_cameras

SHAPES = [
    (seed, n, loop, tension) for seed, n in ((0, 2), (1, 3), (2, 6)) for loop in (False, True) for tension in (0, 0.6)
]
EXACT = 1e-9  # float64 through logarithms and exponentials of rotations


def poses_of(path):
    return torch.stack([frame.world_from_cam for frame in path.key_frames])


@pytest.mark.parametrize(("seed", "n", "loop", "tension"), SHAPES)
def test_it_passes_every_key_frame_at_its_time(seed, n, loop, tension):
    path = random_path(seed, n, loop=loop, tension=tension)
    poses, fov, times = path.at(path.key_times_s)
    order = [*range(n), 0] if loop else list(range(n))
    torch.testing.assert_close(poses, poses_of(path)[order], atol=EXACT, rtol=0)
    torch.testing.assert_close(
        fov, torch.tensor([path.key_frames[i].fov_rad for i in order]).double(), atol=1e-7, rtol=0
    )
    assert times is None


@pytest.mark.parametrize(("seed", "n", "loop", "tension"), SHAPES)
def test_velocity_turning_and_zoom_are_continuous(seed, n, loop, tension):
    path = random_path(seed, n, loop=loop, tension=tension)
    keys, h = path.key_times_s, 1e-4
    joints = keys[:-1] if loop else keys[1:-1]

    def rates(at):
        (a, b), (fov_a, fov_b) = (x.chunk(2) for x in path.at(np.concatenate([at, at + h]))[:2])
        turn = b[:, :3, :3] @ a[:, :3, :3].transpose(-1, -2)
        spin = torch.stack([turn[:, 2, 1], turn[:, 0, 2], turn[:, 1, 0]], dim=-1)  # of a turn by a small angle
        return torch.cat([b[:, :3, 3] - a[:, :3, 3], spin, (fov_b - fov_a)[:, None]], dim=-1) / h

    before, after = rates(np.mod(joints - h, path.duration_s) if loop else joints - h), rates(joints)
    # Rates are up to 30 units or radians a second and change by up to some hundred a second: 0.05 within h. A corner
    # would be as large as the rates themselves.
    if len(joints):
        assert float((before - after).abs().max()) < 0.1
    # Nowhere a jump or a flip either: 2,000 steps of a path in which no pair of key frames is over 115 degrees apart.
    turns = path.at(np.linspace(0, path.duration_s, 2001))[0][:, :3, :3]
    assert float(rotation_angle(turns[1:] @ turns[:-1].transpose(-1, -2)).max()) < 0.05


@pytest.mark.parametrize(("seed", "n", "loop", "tension"), SHAPES)
def test_every_pose_is_rigid(seed, n, loop, tension):
    cameras = random_path(seed, n, loop=loop, tension=tension).cameras()
    rotation = cameras.cam_from_world[:, :3, :3]
    # float32 storage.
    torch.testing.assert_close(
        rotation @ rotation.transpose(-1, -2), torch.eye(3).expand_as(rotation), atol=1e-6, rtol=0
    )
    assert bool((torch.det(rotation) > 0).all())


@pytest.mark.parametrize("loop", [False, True])
def test_a_rigid_motion_of_the_world_moves_the_whole_path(loop):
    path = random_path(5, 5, loop=loop, tension=0.2)
    motion = se3_from(so3_exp(torch.tensor([0.3, -1.2, 2.0]).double()), torch.tensor([5.0, -3, 40]).double())
    moved = replace(
        path, key_frames=tuple(replace(f, world_from_cam=motion @ f.world_from_cam) for f in path.key_frames)
    )
    at = np.linspace(0, path.duration_s, 57)
    torch.testing.assert_close(moved.at(at)[0], motion @ path.at(at)[0], atol=1e-8, rtol=0)


def test_a_loop_closes_in_place_and_pace():
    path = random_path(7, 4, loop=True)
    poses, fov, _ = path.at([0, path.duration_s])
    torch.testing.assert_close(poses[0], poses[1], atol=EXACT, rtol=0)
    assert float(fov[0]) == pytest.approx(float(fov[1]))
    times = path.picture_times_s()
    assert path.duration_s - times[-1] == pytest.approx(times[1] - times[0])  # the first picture is not repeated


def test_one_key_frame_stands_still_and_two_are_a_straight_line():
    one = random_path(0, 1)
    assert len(one.cameras()) == 1
    assert len(one.cameras(count=5)) == 5
    still = replace(
        one, loop=True, default_transition_s=1.0, key_frames=(replace(one.key_frames[0], transition_s=None),)
    )
    assert still.count == 10  # one second at 10 a second
    assert float((still.cameras().centers - still.cameras().centers[0]).abs().max()) == 0
    two = random_path(1, 2, uneven=False)
    a, b = poses_of(two)[:, :3, 3]
    poses, _, _ = two.at(np.linspace(0, two.duration_s, 11))
    expected = a + torch.linspace(0, 1, 11, dtype=torch.float64)[:, None] * (b - a)
    torch.testing.assert_close(poses[:, :3, 3], expected, atol=EXACT, rtol=0)
    angle = rotation_angle(poses[1:, :3, :3] @ poses[:-1, :3, :3].transpose(-1, -2))
    torch.testing.assert_close(angle, angle[:1].expand_as(angle), atol=1e-7, rtol=0)  # turns evenly


def test_an_even_pan_stays_even():
    """Key frames that turn and move by equal steps: no faster at the ends, nor slower between."""
    frames = [
        KeyFrame(se3_from(so3_exp(torch.tensor([0, 0.4 * i, 0]).double()), torch.tensor([i, 0.0, 0]).double()), 1.0)
        for i in range(5)
    ]
    path = CameraPath(tuple(frames), default_transition_s=1.0)
    poses, _, _ = path.at(np.linspace(0, 4, 81))
    angle = rotation_angle(poses[1:, :3, :3] @ poses[:-1, :3, :3].transpose(-1, -2))
    torch.testing.assert_close(angle, torch.full_like(angle, 0.4 / 20), atol=1e-7, rtol=0)
    torch.testing.assert_close(poses[:, 0, 3], torch.linspace(0, 4, 81, dtype=torch.float64), atol=EXACT, rtol=0)


def test_tension_one_rests_at_key_frames():
    path = random_path(3, 4, tension=1.0, uneven=False)
    h = 1e-4
    a, b = path.at(path.key_times_s[1:-1])[0], path.at(path.key_times_s[1:-1] + h)[0]
    assert float((b - a)[:, :3, 3].norm(dim=-1).max()) < 1e-5  # second order in h; at full speed it is 1e-4 times 3


def test_fields_of_view_stay_possible_and_times_never_run_back():
    wide, narrow = math.radians(175), math.radians(1)
    frames = [
        KeyFrame(f.world_from_cam, fov, None, time)
        for f, fov, time in zip(
            random_path(4, 6).key_frames,
            (narrow, narrow, wide, wide, narrow, wide),
            (0, 0.5, 0.5, 0.5, 1, 1),
            strict=True,
        )
    ]
    _, fov, times = CameraPath(tuple(frames)).at(np.linspace(0, 10, 501))
    assert float(fov.min()) > 0
    assert float(fov.max()) < math.pi
    assert times is not None
    assert bool((times[1:] >= times[:-1]).all())
    assert bool((times[101:300] == 0.5).all())  # the scene is frozen from the second key frame to the fourth
    cameras = CameraPath(tuple(frames), fps=5).cameras()
    assert cameras.times_s is not None
    assert len(cameras.times_s) == 51


def test_the_lens_follows_the_height():
    path = random_path(2, 3)
    small, large = path.cameras(), path.cameras(1280, 720)
    torch.testing.assert_close(large.K[:, :2], 2 * small.K[:, :2])
    square = path.cameras(360, 360)
    torch.testing.assert_close(square.K[:, 1], small.K[:, 1])
    assert square.K[0, 0, 2] == 180


def test_lasting_stretches_everything_alike():
    path = random_path(6, 5, loop=True)
    longer = path.lasting(30.0)
    assert longer.duration_s == pytest.approx(30)
    assert longer.count == 300
    np.testing.assert_allclose(longer.key_times_s / 30, path.key_times_s / path.duration_s)


def test_through_photographs_passes_their_cameras_at_even_times():
    cameras = small_cameras(5)
    path = CameraPath.through(cameras, seconds=2.0, fps=30)
    assert path.count == 61
    film = path.cameras()
    torch.testing.assert_close(film[::15].cam_from_world, cameras.cam_from_world, atol=1e-6, rtol=0)
    torch.testing.assert_close(film[::15].K, cameras.K, rtol=1e-6, atol=0)
    timed = replace(cameras, times_s=torch.linspace(0, 1, 5))
    torch.testing.assert_close(CameraPath.through(timed, seconds=2.0).cameras().times_s[::15], timed.times_s)
    assert CameraPath.through(cameras[:1]).count == 1


def test_rounded_matrices_are_made_rigid_and_exact_ones_are_kept():
    exact = random_path(0, 1).key_frames[0].world_from_cam
    assert torch.equal(CameraPath((KeyFrame(exact, 1.0),)).key_frames[0].world_from_cam, exact)
    rounded = CameraPath((KeyFrame((exact * 1e4).round() / 1e4, 1.0),)).key_frames[0].world_from_cam
    assert float((rounded[:3, :3].T @ rounded[:3, :3] - torch.eye(3)).abs().max()) < 1e-12
    torch.testing.assert_close(rounded, exact, atol=2e-4, rtol=0)  # four digits, and the way to the nearest rotation


def _frame(**change):
    return replace(random_path(0, 1).key_frames[0], **change)


@pytest.mark.parametrize(
    ("frames", "settings", "words"),
    [
        ([], {}, "has 0"),
        ([_frame(fov_rad=0.0)], {}, "Key frame 1"),
        ([_frame(), _frame(fov_rad=float("nan"))], {}, "Key frame 2"),
        ([_frame(fov_rad=math.pi)], {}, "below 180"),
        ([_frame(world_from_cam=2 * torch.eye(4))], {}, "not a rigid motion"),
        ([_frame(world_from_cam=torch.diag(torch.tensor([1.0, 1, -1, 1])))], {}, "determinant -1"),
        ([_frame(world_from_cam=torch.full((4, 4), float("nan")))], {}, "no usable pose"),
        ([_frame(world_from_cam=torch.eye(3))], {}, "4x4"),
        ([_frame(transition_s=0.0)], {}, "transition"),
        ([_frame(time_s=float("inf"))], {}, "finite"),
        ([_frame(time_s=0.5), _frame()], {}, "all or none"),
        ([_frame()], {"fps": 0.0}, "pictures a second"),
        ([_frame()], {"fps": float("nan")}, "pictures a second"),
        ([_frame()], {"tension": -0.1}, "tension"),
        ([_frame()], {"width": 0}, "pixels"),
        ([_frame()], {"height": 10**6}, "pixels"),
        ([_frame()], {"default_transition_s": float("inf")}, "above 0"),
        ([_frame(transition_s=1e9), _frame(transition_s=1e9)], {}, f"{MAX_PICTURES:,}"),
    ],
)
def test_what_cannot_be_a_path_is_a_sentence(frames, settings, words):
    with pytest.raises(BadInputError, match=words):
        CameraPath(tuple(frames), **settings)


def test_a_path_of_many_key_frames_is_quick_and_right():
    cameras = small_cameras(2000)
    path = CameraPath.through(cameras, seconds=1999 / 30)
    torch.testing.assert_close(path.cameras().cam_from_world, cameras.cam_from_world, atol=1e-5, rtol=0)


def test_se3_convention():
    """A key frame at the origin that looks along world x sees the point (1, 0, 0) in its middle."""
    forward_x = torch.tensor([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    cameras = CameraPath((KeyFrame(forward_x, 1.0),)).cameras(100, 50)
    seen = cameras.K[0] @ (se3_inverse(forward_x)[:3, :3] @ torch.tensor([1.0, 0, 0]))
    torch.testing.assert_close(seen[:2] / seen[2], torch.tensor([50.0, 25]))
    torch.testing.assert_close(cameras.cam_from_world[0] @ forward_x, torch.eye(4))
