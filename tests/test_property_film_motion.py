"""Films of things that move: they are found by their flow, keep no camera from being found, and stay for training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fewview.recon.poses import PosesConfig, estimate_poses, pose_errors
from fewview.recon.poses.moving_pixels import NOTHING_MOVES, film_motion, is_film
from fewview.scene import FewviewError
from fewview.scene.readers import read_capture
from support.data import shared_data
from support.film_scenes import (
    CORNER,
    FOCAL_PX,
    HEIGHT,
    MOVING,
    STANDING,
    WALL,
    WIDTH,
    Film,
    film,
    precision_and_recall,
)

RIGID = replace(MOVING, swing=0.0)
SIFT = PosesConfig(features="sift", keypoints=512)


@pytest.mark.parametrize(
    ("planes", "camera", "least"),
    [
        ((*CORNER, *STANDING, MOVING), {}, 0.8),
        ((*CORNER, *STANDING, RIGID), {}, 0.9),
        ((WALL, MOVING), {}, 0.9),  # one homography for all that stands
        ((WALL, RIGID), {}, 0.9),
        ((*CORNER, *STANDING, MOVING), {"step": (0, 0, 0), "turn_rad": 0.01}, 0.9),
        ((*CORNER, *STANDING, MOVING), {"step": (0, 0, 0.06), "turn_rad": 0.002}, 0.9),
        ((*CORNER, *STANDING, MOVING), {"step": (0, 0, 0), "turn_rad": 0}, 0.9),
    ],
    ids=["deep", "deep-rigid", "flat", "flat-rigid", "turning", "forward", "standing"],
)
def test_what_moves_is_found(planes, camera, least) -> None:
    """Three quarters of what is masked moves: the rim around it is masked, too, so that no feature lies on its edge."""
    scene = film(planes, 10, **camera)
    precision, recall = precision_and_recall(film_motion(scene.capture()).moving, scene.moving)
    assert recall >= least
    assert precision >= 0.75


@pytest.mark.parametrize(
    "camera",
    [{}, {"step": (0.2, 0.02, 0.1)}, {"step": (0, 0, 0), "turn_rad": 0.01}, {"step": (0, 0, 0), "turn_rad": 0}],
    ids=["walking", "striding", "turning", "standing"],
)
@pytest.mark.parametrize("planes", [(WALL,), (*CORNER, *STANDING)], ids=["flat", "deep"])
def test_nothing_moves_where_everything_stands(planes, camera) -> None:
    assert film_motion(film(planes, 6, **camera).capture()).share == 0


def test_only_a_camera_that_stands_is_said_to_stand() -> None:
    planes = (*CORNER, *STANDING, MOVING)
    assert film_motion(film(planes, 6, step=(0, 0, 0), turn_rad=0).capture()).camera_stands
    assert not film_motion(film(planes, 6).capture()).camera_stands
    assert not film_motion(film(planes, 6, step=(0, 0, 0), turn_rad=0.01).capture()).camera_stands


def test_what_is_cut_out_or_masked_never_moves() -> None:
    scene = film((*CORNER, *STANDING, MOVING), 5)
    left = np.arange(WIDTH)[None].repeat(HEIGHT, 0) < WIDTH // 2
    capture = scene.capture()
    frames = tuple(replace(frame, load_mask=lambda: left) for frame in capture.frames)
    motion = film_motion(replace(capture, frames=frames))
    assert not any(moving[:, WIDTH // 2 + 1 :].any() for moving in motion.moving)
    assert any(moving.any() for moving in motion.moving)


def test_held_out_frames_have_no_part() -> None:
    capture = film((*CORNER, *STANDING, MOVING), 6).capture()
    other = film((WALL,), 6).capture()
    changed = replace(capture, frames=(*capture.frames[:2], other.frames[2], *capture.frames[3:]), test=(2,))
    found, again = film_motion(replace(capture, test=(2,))), film_motion(changed)
    assert all((a == b).all() for a, b in zip(found.moving, again.moving, strict=True))
    assert not found.moving[2].any()


def test_films_are_frames_of_one_camera_at_different_times() -> None:
    capture = film((WALL,), 4).capture()
    assert is_film(capture)
    assert not is_film(film((WALL,), 4).capture(fps=None))
    assert not is_film(capture.subset([0, 1]))
    assert not is_film(replace(capture, frames=tuple(replace(f, time_s=0.5) for f in capture.frames)))
    assert not is_film(replace(capture, frames=tuple(replace(f, camera="left") for f in capture.frames)))
    assert not is_film(replace(capture, frames=(replace(capture.frames[0], width=WIDTH + 1), *capture.frames[1:])))


@pytest.fixture(scope="module")
def walked() -> Film:
    return film((*CORNER, *STANDING, MOVING), 8, step=(0.12, 0.02, 0.02), turn_rad=0.006)


def test_cameras_come_from_what_stands_still_and_training_sees_all(walked: Film) -> None:
    poses = estimate_poses(walked.capture(), SIFT)
    assert poses.placed == list(range(8))
    true = torch.from_numpy(np.stack(walked.cam_from_world)).float()
    assert poses.capture.cameras is not None
    errors = pose_errors(poses.capture.cameras.cam_from_world, true)
    assert float(errors.pairs.rotation_deg.median()) < 0.5
    assert any("found from what stands still" in note for note in poses.notes)
    assert poses.stats["moving_share"] > 0.06
    for i, frame in enumerate(poses.capture.frames):
        assert frame.time_s == pytest.approx(i / 10)
        if frame.load_mask is not None:  # the corners that the estimated lens does not cover, and nothing that moves
            assert frame.load_mask()[walked.moving[i]].mean() > 0.98
        if frame.load_still is not None:
            still = frame.load_still()
            assert still.shape == (HEIGHT, WIDTH)
            assert still[walked.moving[i]].mean() < 0.3
    assert sum(frame.load_still is not None for frame in poses.capture.frames) >= 6
    points = poses.capture.points
    assert points is not None
    # No point lies on what moves: seen from its frame, none projects into the middle of the disc, nearer than the wall.
    camera = poses.capture.cameras[4]
    seen = (camera.K @ (camera.cam_from_world[:3, :3] @ points.xyz.T + camera.cam_from_world[:3, 3:])).T
    at = (seen[:, :2] / seen[:, 2:]).round().long().clamp_min(0)
    inside = torch.from_numpy(walked.moving[4])[at[:, 1].clamp_max(HEIGHT - 1), at[:, 0].clamp_max(WIDTH - 1)]
    assert float(inside.float().mean()) < 0.1


def test_a_standing_camera_is_said_to_stand_and_gives_one_camera() -> None:
    scene = film((*CORNER, *STANDING, MOVING), 6, step=(0, 0, 0), turn_rad=0)
    capture = scene.capture()
    poses = estimate_poses(replace(capture, test=(3,)), SIFT)
    assert poses.placed == list(range(6))
    assert poses.capture.test == (3,)
    assert any(
        note.startswith("The camera stands still, so the depth of what moves is a guess") for note in poses.notes
    )
    cameras = poses.capture.cameras
    assert cameras is not None
    assert torch.equal(cameras.cam_from_world, cameras.cam_from_world[:1].expand(6, 4, 4))
    assert float(cameras.K[0, 0, 0]) == FOCAL_PX
    assert poses.capture.times_s is not None


def test_a_standing_camera_before_what_stands_is_refused_as_before() -> None:
    with pytest.raises(FewviewError, match="taken from one place"):
        estimate_poses(film((*CORNER, *STANDING), 5, step=(0, 0, 0), turn_rad=0).capture(), SIFT)


def test_a_hand_held_film_of_what_stands_has_next_to_no_moving_pixels() -> None:
    """The first twelve frames of the fox are a film; later ones are steps of half a picture."""
    capture = read_capture(shared_data("fox") / "images", fps=10).subset(range(12))
    assert film_motion(capture).share < 0.02


def test_a_person_who_runs_is_found() -> None:
    """Twelve frames of lady_running; a rectangle well inside of her, and the wall above, say what is meant."""
    capture = read_capture(shared_data("mono_videos") / "lady_running", fps=12).subset(range(18, 30))
    motion = film_motion(capture)
    assert NOTHING_MOVES < motion.share < 0.3
    assert not motion.camera_stands
