"""Edits of a path by the film panel: key frames come, go and move in time; its files and films."""

import threading

import av
import numpy as np
import pytest
import torch
from fewview.render.camera_path import CameraPath
from fewview.scene.errors import BadInputError, FewviewError
from fewview.scene.splat import StaticSplat
from fewview.viewer import path_edit
from fewview.viewer.stage import Stage
from fewview.viewer.viewpoint import Viewpoint, between
from support.camera_paths import random_path
from support.small_run import small_cameras, small_gaussians


def centers(path):
    return [frame.world_from_cam[:3, 3].tolist() for frame in path.key_frames]


def test_a_key_frame_is_where_the_camera_stands():
    camera = small_cameras()[2]
    frame = path_edit.key_frame_of(camera)
    film = CameraPath((frame,), width=96, height=64).cameras()
    torch.testing.assert_close(film[0].cam_from_world, camera.cam_from_world, atol=1e-6, rtol=0)
    torch.testing.assert_close(film[0].K, camera.K, rtol=1e-6, atol=0)


def test_key_frames_come_and_go_in_order():
    path = random_path(0, 3)
    new = random_path(9, 1).key_frames[0]
    longer = path_edit.inserted(path, new, 1)
    assert centers(longer) == [centers(path)[0], new.world_from_cam[:3, 3].tolist(), *centers(path)[1:]]
    again = path_edit.removed(longer, 1)
    assert centers(again) == centers(path)
    # What stood behind the one that went keeps its time.
    assert again.key_times_s[-1] == pytest.approx(longer.key_times_s[-1])
    shorter = path_edit.removed(path, 2)
    np.testing.assert_allclose(shorter.key_times_s, path.key_times_s[:2])
    first = path_edit.removed(path, 0)
    np.testing.assert_allclose(first.key_times_s, path.key_times_s[1:] - path.key_times_s[1])
    assert path_edit.removed(path_edit.removed(shorter, 0), 0) is None


def test_another_pose_keeps_the_time():
    path = random_path(0, 3)
    new = random_path(9, 1).key_frames[0]
    changed = path_edit.replaced(path, 1, new)
    assert centers(changed)[1] == new.world_from_cam[:3, 3].tolist()
    np.testing.assert_array_equal(changed.key_times_s, path.key_times_s)


def test_a_key_frame_without_a_time_joins_those_that_have_one():
    cameras = small_cameras(3)
    timed = CameraPath.through(type(cameras)(*list(vars(cameras).values())[:4], torch.linspace(0, 1, 3)))
    assert path_edit.inserted(timed, random_path(0, 1).key_frames[0], 3).key_frames[3].time_s == 0
    plain = path_edit.inserted(random_path(0, 2), timed.key_frames[2], 2)
    assert plain.key_frames[2].time_s is None


def test_times_can_be_dragged():
    path = random_path(0, 4)
    np.testing.assert_allclose(path_edit.retimed(path, [0, 1, 1.5, 4]).key_times_s, [0, 1, 1.5, 4])
    close = path_edit.retimed(path, [0, 1, 1, 4]).key_times_s
    assert close[2] - close[1] == pytest.approx(path_edit.MIN_TRANSITION_S)
    assert path_edit.with_transition(path, 2, 7.0).transitions_s[1] == 7
    assert path_edit.with_transition(path, 2, 0.0).transitions_s[1] == path_edit.MIN_TRANSITION_S
    with pytest.raises(ValueError, match="expected 4"):
        path_edit.retimed(path, [0, 1])


def test_the_page_sees_what_the_film_shows():
    cameras = small_cameras()
    path = CameraPath.through(cameras)
    stage = Stage.of(cameras)
    for i, view in enumerate(path_edit.views(path, stage, path.key_times_s)):
        assert isinstance(view, Viewpoint)
        np.testing.assert_allclose(view.position, stage.place(cameras.centers[i]), atol=1e-5)
        down = cameras.world_from_cam[i, :3, 1].numpy()
        np.testing.assert_allclose(view.up, -down, atol=1e-6)
        ahead = (view.look_at - view.position) / np.linalg.norm(view.look_at - view.position)
        np.testing.assert_allclose(ahead, cameras.world_from_cam[i, :3, 2], atol=1e-5)
    segments = path_edit.curve(path, stage)
    np.testing.assert_array_equal(segments[1:, 0], segments[:-1, 1])
    np.testing.assert_allclose(segments[[0, -1], [0, 1]], stage.place(cameras.centers[[0, -1]]), atol=1e-5)


def test_previews_go_to_the_end_or_around():
    path = random_path(0, 4)
    times = path_edit.ride_times(path, 1.0, 30)
    assert times[[0, -1]].tolist() == [1.0, path.duration_s]
    assert float(np.diff(times).max()) <= 1 / 30 + 1e-9
    assert path_edit.ride_times(path, path.duration_s, 30)[0] == 0
    assert path_edit.ride_times(random_path(0, 1), 0.0, 30).tolist() == [0]
    loop = random_path(0, 4, loop=True)
    around = path_edit.ride_times(loop, 1.0, 30)
    steps = np.mod(np.diff(np.append(around, around[0])), loop.duration_s)  # the seam included
    np.testing.assert_allclose(steps, steps[0])
    assert steps.sum() == pytest.approx(loop.duration_s)


def test_flights_between_tilted_views_stay_upright_on_the_way():
    up, aside = np.array([0.0, -1, 0]), np.array([1.0, 0, 0])
    a, b = (Viewpoint(np.zeros(3), np.ones(3), 1.0, u) for u in (up, aside))
    middle = between(a, b, 0.5).up
    assert np.linalg.norm(middle) == pytest.approx(1)
    assert middle @ up == pytest.approx(middle @ aside)
    assert np.isfinite(between(a, Viewpoint(b.position, b.look_at, 1.0, -up), 0.5).up).all()
    assert between(a, Viewpoint(b.position, b.look_at, 1.0), 0.5).up is None


def test_summaries():
    assert "add one" in path_edit.summary(None)
    assert path_edit.summary(random_path(0, 1)) == "1 key frame · 0 s · 1 pictures of 640x360"
    assert "key frames" in path_edit.summary(random_path(0, 3))


def test_files_come_back_and_damaged_ones_are_told():
    path = random_path(0, 3)
    again = path_edit.path_from_bytes(path_edit.path_bytes(path), "tour.json")
    assert centers(again) == centers(path)
    for content in (b"", b"\xff\xfe", b"[]", b"{}", b"[" * 100_000):
        with pytest.raises(BadInputError, match=r"tour\.json"):
            path_edit.path_from_bytes(content, "tour.json")
    many = path_edit.path_bytes(CameraPath.through(small_cameras(path_edit.MAX_EDITED + 1), seconds=2))
    with pytest.raises(BadInputError, match="fewview render"):
        path_edit.path_from_bytes(many, "tour.json")
    with pytest.raises(BadInputError, match="bytes"):
        path_edit.path_from_bytes(b" " * (path_edit.MAX_UPLOAD_BYTES + 1), "tour.json")


def test_too_many_key_frames_are_refused():
    full = CameraPath.through(small_cameras(path_edit.MAX_EDITED), seconds=2)
    with pytest.raises(BadInputError, match="already"):
        path_edit.inserted(full, full.key_frames[0], 0)


def test_a_film_is_written_or_not_at_all(tmp_path):
    path = CameraPath.through(small_cameras(), seconds=0.4, fps=10)
    seen = []
    file = path_edit.film_file(tmp_path / "renders")
    count = path_edit.export_film(
        file, StaticSplat(small_gaussians()), path, lambda *at: seen.append(at), lambda: False
    )
    assert count == 5
    assert seen == [(i, 5) for i in range(5)]
    with av.open(str(file)) as film:
        assert (film.streams.video[0].width, film.streams.video[0].height) == (96, 64)
    second = path_edit.film_file(tmp_path / "renders")
    assert (file.name, second.name) == ("film-001.mp4", "film-002.mp4")
    stop = threading.Event()
    with pytest.raises(path_edit.Cancelled):
        path_edit.export_film(
            second, StaticSplat(small_gaussians()), path, lambda i, _: stop.set() if i == 2 else None, stop.is_set
        )
    assert [p.name for p in (tmp_path / "renders").iterdir()] == ["film-001.mp4"]
    with pytest.raises(FewviewError):
        path_edit.export_film(
            tmp_path / "absent" / "film.mp4", StaticSplat(small_gaussians()), path, print, lambda: False
        )


@pytest.mark.parametrize("shape", [None, (96, 64), (64, 96), (1000, 10)])
def test_films_are_even_and_of_one_size(shape):
    cameras = None if shape is None else small_cameras().resized(*shape)
    width, height = path_edit.default_size(cameras)
    assert width % 2 == height % 2 == 0
    assert width * height == pytest.approx(1280 * 720, rel=0.05)


def test_times_that_key_frames_are_given_leave_the_film_as_it_was():
    path, span = random_path(0, 4), (2.0, 5.0)
    assert not path_edit.is_timed(path)
    timed = path_edit.with_times(path, span)
    assert path_edit.is_timed(timed)
    assert [frame.time_s for frame in timed.key_frames] == pytest.approx(
        [2 + 3 * t / path.duration_s for t in path.key_times_s]
    )
    at = path.key_times_s
    assert path_edit.moments(timed, span, at) == pytest.approx(path_edit.moments(path, span, at))
    assert path_edit.without_times(timed).at([0.5])[2] is None
    assert centers(path_edit.without_times(timed)) == centers(path)


def test_a_moment_of_a_key_frame_can_be_chosen_and_stand_still_or_run_back():
    path = path_edit.with_times(random_path(0, 3), (0.0, 1.0))
    for index, time_s in ((0, 0.8), (1, 0.8), (2, 0.1)):
        path = path_edit.with_time(path, index, time_s)
    first, second, third = path.key_times_s
    found = path_edit.moments(path, (0.0, 1.0), np.array([first, (first + second) / 2, second, third]))
    assert found == pytest.approx([0.8, 0.8, 0.8, 0.1])
    between = path_edit.moments(path, (0.0, 1.0), np.linspace(second, third, 9))
    assert between == sorted(between, reverse=True)
