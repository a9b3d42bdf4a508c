"""The film panel in a real browser: key frames from where one looks, times, files and a film."""

import av
import numpy as np
import pytest
from fewview.render.camera_path import CameraPath
from fewview.render.camera_path_file import read_camera_path
from fewview.viewer import path_edit
from fewview.viewer.app import serve
from fewview.viewer.subjects.loader import load_subject
from support.browser import browser as browser
from support.browser import open_viewer, until
from support.small_run import small_cameras, small_run


@pytest.fixture(scope="module")
def opened(browser, tmp_path_factory):
    server, page = serve(load_subject(small_run(tmp_path_factory.mktemp("film") / "my_run").path), port=0)
    tab = open_viewer(browser, server, height=1000)
    tab.get_by_role("tab", name="Film").click()
    yield tab, page, page.panel("Film"), next(iter(server.get_clients().values()))
    tab.close()
    page.close()
    server.stop()


@pytest.fixture
def film(opened):
    """(tab at the film panel without key frames, page, panel, the tab's client)."""
    opened[2].put(None)
    opened[0].get_by_text("No key frames yet").wait_for()
    return opened


def load(tab, file):
    with tab.expect_file_chooser() as chooser:
        tab.get_by_role("button", name="Load path").click()
    chooser.value.set_files(file)


def test_key_frames_are_where_one_looks_and_become_a_film(film, tmp_path):
    tab, page, panel, client = film
    cameras = page.context.active.cameras
    for i in (0, 4):
        page.context.pilot.place(client, page.context.stage.view_of(cameras[i]))
        until(lambda i=i: np.abs(client.camera.position - page.context.stage.place(cameras.centers[i])).max() < 1e-3)
        tab.get_by_role("button", name="Add key frame").click()
        until(lambda i=i: panel.path is not None and len(panel.path.key_frames) == 1 + i // 4)
    for frame, i in zip(panel.path.key_frames, (0, 4), strict=True):
        # Place and direction; the page's up axis is an estimate, which tilts the picture by half a degree here.
        expected = cameras.world_from_cam[i, :3, 2:]
        np.testing.assert_allclose(frame.world_from_cam[:3, 2:], expected, atol=1e-4)
    tab.get_by_text("2 key frames · 2 s").wait_for()

    with tab.expect_download() as download:
        tab.get_by_role("button", name="Save path").click()
        tab.get_by_text("camera_path.json").first.click()
    download.value.save_as(tmp_path / "tour.json")
    saved = read_camera_path(tmp_path / "tour.json")
    assert [f.world_from_cam.tolist() for f in saved.key_frames] == [
        f.world_from_cam.tolist() for f in panel.path.key_frames
    ]

    tab.get_by_role("button", name="Delete").click()
    until(lambda: len(panel.path.key_frames) == 1)
    tab.get_by_role("button", name="Delete").click()
    until(lambda: panel.path is None)
    tab.get_by_text("No key frames yet").wait_for()


def test_a_path_is_loaded_previewed_and_exported(film, tmp_path):
    tab, page, panel, client = film
    path = CameraPath.through(small_cameras(), seconds=0.5, fps=8)
    (tmp_path / "tour.json").write_bytes(path_edit.path_bytes(path))
    load(tab, tmp_path / "tour.json")
    tab.get_by_text("5 key frames · 0.5 s · 5 pictures of 96x64").wait_for()
    tab.get_by_role("button", name="Preview").click()
    last = page.context.stage.place(small_cameras().centers[-1])
    until(lambda: np.abs(client.camera.position - last).max() < 1e-3)
    tab.get_by_role("button", name="Export film").click()
    tab.get_by_text("The film is ready").wait_for()
    with av.open(str(page.context.active.run.path / "renders" / "film-001.mp4")) as made:
        assert sum(1 for _ in made.decode(video=0)) == 5

    (tmp_path / "broken.json").write_text('{"render_width": 3')
    load(tab, tmp_path / "broken.json")
    tab.get_by_text("broken.json is not JSON").wait_for()
    assert len(panel.path.key_frames) == 5  # what was there stays


def test_key_frames_are_dragged_in_time(film, tmp_path):
    tab, _, panel, _ = film
    (tmp_path / "tour.json").write_bytes(path_edit.path_bytes(CameraPath.through(small_cameras(3), seconds=4)))
    load(tab, tmp_path / "tour.json")
    tab.get_by_text("3 key frames · 4 s").wait_for()
    handles = tab.locator(".multi-slider-thumb, .mantine-MultiSlider-thumb")
    until(lambda: handles.count() == 3)
    box = handles.nth(1).bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    tab.mouse.move(x, y)
    tab.mouse.down()
    for step in range(1, 5):
        tab.mouse.move(x + 5 * step, y)
    tab.mouse.up()
    until(lambda: panel.path.key_times_s[1] > 2.05)
    assert panel.path.key_times_s[[0, 2]].tolist() == [0, 4]
