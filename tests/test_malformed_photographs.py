"""Photographs that cannot be placed, or not surely: one sentence each, and no camera that is wrong and told as sure."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from fewview.recon.poses import Poses, PosesConfig, estimate_poses
from fewview.recon.poses.still_background import STILL_BACKGROUND
from fewview.scene import Capture, FewviewError
from fewview.scene.run import SURE
from support.painted_box import FOCAL_PX, HEIGHT, WIDTH, around, capture_of, paint, photograph, sides
from support.threads import one_torch_thread as one_torch_thread

CONFIG = PosesConfig(features="sift", keypoints=1024)  # the matcher that is always installed
RIGHT_DEG = 5.0


def sure_and_wrong(poses: Poses, true: list[np.ndarray]) -> list[int]:
    """Views told as sure that are off by more than RIGHT_DEG in the world that most sure ones agree with."""
    assert poses.capture.cameras is not None
    found = poses.capture.cameras.cam_from_world.double().numpy()
    sure = [i for i, c in enumerate(poses.confidence) if c is not None and c >= SURE]
    turns = [found[i][:3, :3].T @ true[poses.placed[i]][:3, :3] for i in sure]
    off = np.array([[(np.trace(a.T @ b) - 1) / 2 for b in turns] for a in turns]).clip(-1, 1)
    if not len(off):
        return []
    best = max(np.degrees(np.arccos(off)), key=lambda row: (row < RIGHT_DEG).sum())
    return [poses.placed[i] for i, angle in zip(sure, best, strict=True) if angle > RIGHT_DEG]


def placed_or_a_sentence(capture: Capture, true: list[np.ndarray]) -> tuple[Poses | None, str]:
    """Poses and their sentences; or the sentence of the refusal. None is both sure and wrong."""
    try:
        poses = estimate_poses(capture, CONFIG)
    except FewviewError as error:
        return None, str(error)
    assert not sure_and_wrong(poses, true)
    return poses, " ".join([*poses.notes, *poses.unplaced.values()])


def test_a_wall_without_texture_is_named_as_such() -> None:
    rng = np.random.default_rng(0)
    walls = [np.clip(rng.normal(150, 2, (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8) for _ in range(5)]
    with pytest.raises(FewviewError, match=r"No two of the 5 photographs .* could be placed"):
        estimate_poses(capture_of(walls), CONFIG)


def test_exact_copies_are_told_and_left_out() -> None:
    views = [around(a) for a in (0, 12, 24, 36)]
    shown = [photograph(sides(range(5)), view, seed=i) for i, view in enumerate(views)]
    poses = estimate_poses(capture_of([*shown, shown[1]]), CONFIG)
    assert "4.png is the same photograph as 1.png" in poses.unplaced[4]
    assert not sure_and_wrong(poses, [*views, views[1]])
    with pytest.raises(FewviewError, match="taken from one place"):
        estimate_poses(capture_of([shown[0]] * 4), CONFIG)


def test_a_mirror_symmetric_box_has_no_sure_camera_on_the_wrong_side() -> None:
    left, top = paint(21), paint(22, 1.0, 1.0)
    top[:, top.shape[1] // 2 :] = top[:, : top.shape[1] - top.shape[1] // 2][:, ::-1]
    front = paint(23)
    front[:, front.shape[1] // 2 :] = front[:, : front.shape[1] - front.shape[1] // 2][:, ::-1]
    pictures = [front, left, front, np.ascontiguousarray(left[:, ::-1]), top]
    views = [around(a) for a in (-75, -50, -25, 0, 25, 50, 75)]
    shown = [photograph(pictures, view, seed=i) for i, view in enumerate(views)]
    placed_or_a_sentence(capture_of(shown), views)


def test_a_turntable_before_a_still_background_says_so() -> None:
    background = cv2.resize(paint(31), (WIDTH, HEIGHT))
    views = [around(12.0 * i) for i in range(6)]
    shown = [photograph(sides(range(5)), view, background, seed=i) for i, view in enumerate(views)]
    poses, said = placed_or_a_sentence(capture_of(shown), views)
    assert poses is not None
    assert STILL_BACKGROUND in said
    assert len(poses.placed) >= 4


def test_cameras_of_several_lenses_are_placed_or_told() -> None:
    views = [around(12.0 * i) for i in range(6)]
    focal_px = [FOCAL_PX, 1.5 * FOCAL_PX] * 3
    shown = [photograph(sides(range(5)), v, None, f, i) for i, (v, f) in enumerate(zip(views, focal_px, strict=True))]
    poses, _ = placed_or_a_sentence(capture_of(shown, focal_px), views)
    assert poses is not None
    assert len(poses.placed) >= 5
    # Without EXIF nothing says that there were two lenses: what does not fit is told.
    placed_or_a_sentence(capture_of(shown), views)


def test_two_photographs_that_hardly_overlap_are_no_sure_pair() -> None:
    """A twentieth of a wall is on both."""
    wall = paint(41, 3.0, 5.0)
    rows, columns = wall.shape[:2]
    step = round(0.95 * WIDTH * 1.2)
    shown = []
    for left in (60, 60 + step):
        window = np.array([[1.2, 0, left], [0, 1.2, 150], [0, 0, 1]])
        shown.append(cv2.warpPerspective(wall, np.linalg.inv(window), (WIDTH, HEIGHT)))
    assert columns > 60 + step + 1.2 * WIDTH
    assert rows > 150 + 1.2 * HEIGHT
    view = np.eye(4)
    poses, said = placed_or_a_sentence(capture_of(shown), [view, view])
    assert said
    assert poses is None or max(c or 0.0 for c in poses.confidence) < SURE


def test_a_box_of_four_equal_sides_is_not_told_as_sure_where_it_is_wrong() -> None:
    one = paint(51)
    marked = one.copy()
    marked[80:170, 60:150] = paint(52)[:90, :90]
    pictures = [marked, one, one, one, paint(53, 1.0, 1.0)]
    views = [around(40.0 * i, 20) for i in range(9)]
    shown = [photograph(pictures, view, seed=i) for i, view in enumerate(views)]
    placed_or_a_sentence(capture_of(shown), views)
