"""A moving splat in a real browser: played, filmed and compared; skips where there is none."""

import os
from pathlib import Path

import av
import numpy as np
import pytest
from fewview.render.camera_path import CameraPath
from fewview.viewer import path_edit
from fewview.viewer.app import serve
from fewview.viewer.panels import time_tab
from fewview.viewer.pictures import render_rgb8
from fewview.viewer.subjects.loader import load_subject
from PIL import Image
from support.bending_splat import bending_splat
from support.browser import browser as browser
from support.browser import camera_in_page, open_viewer, screenshot, until
from support.small_run import small_cameras
from support.small_splats import LAST_S, moving_run

SCENE = {"x": 0, "y": 200, "width": 550, "height": 480}  # of the page, left of the panel and below the browser's notice


@pytest.fixture(scope="module")
def opened(browser, tmp_path_factory):
    """(tab at the Time tab, page)"""
    server, page = serve(load_subject(moving_run(tmp_path_factory.mktemp("time") / "run")), port=0)
    tab = open_viewer(browser, server)
    tab.get_by_text("moves from 1 s to 3 s").wait_for()
    for name in ("cameras", "held_out"):
        page.context.active.layers[name].wanted = False
    tab.get_by_role("tab", name="Time").click()
    yield tab, page
    tab.close()
    page.close()
    server.stop()


def middle_of(tab) -> float:
    """The column in the middle of what is drawn on the black page."""
    light = screenshot(tab, clip=SCENE).astype(float).sum(-1)
    return float((light.sum(0) * np.arange(light.shape[1])).sum() / max(light.sum(), 1e-9))


def test_the_slider_moves_the_splat_on_the_canvas(opened):
    tab, page = opened
    tab.wait_for_timeout(1500)
    first = middle_of(tab)
    slider = tab.get_by_role("slider").first
    slider.focus()
    for _ in range(3):
        slider.press("End")
    until(lambda: page.context.clock.now == pytest.approx(LAST_S))
    tab.get_by_text("3 s of 1 s to 3 s").wait_for()
    until(lambda: tab.wait_for_timeout(300) or middle_of(tab) > first + 15)  # it drifts to the right
    if (folder := os.environ.get("FEWVIEW_PICTURES")) is not None:
        Image.fromarray(screenshot(tab)).save(Path(folder) / "time.png")


def test_playing_passes_through_all_moments_and_stops(opened):
    tab, page = opened
    seen = []
    page.context.clock.on_change(seen.append)
    page.panel("Time")._speed.value = "0.5x"
    tab.get_by_role("button", name="Play").click()
    until(lambda: len(seen) > 5 and max(seen) > 2.5 and min(seen) < 1.5)
    tab.get_by_role("button", name="Stop").click()
    tab.get_by_role("button", name="Play").wait_for()
    count = len(seen)
    tab.wait_for_timeout(500)
    assert len(seen) == count
    until(lambda: page.context.active.drawn.time_s == page.context.clock.now)


def test_the_slider_follows_now_and_then_and_stands_where_the_time_stops(opened, monkeypatch):
    """Every moment that it shows costs a browser that draws in software as much as the scene."""
    tab, page = opened
    panel, clock = page.panel("Time"), page.context.clock
    monkeypatch.setattr(time_tab, "FOLLOW_SECONDS", 1e9)
    before = panel.time
    tab.get_by_role("button", name="Play").click()
    until(lambda: clock.now is not None and abs(clock.now - before) > 0.2)
    assert panel.time == before
    tab.get_by_role("button", name="Stop").click()
    tab.get_by_role("button", name="Play").wait_for()
    until(lambda: panel.time == clock.now != before)


def test_a_film_and_its_preview_play_the_motion(opened, tmp_path):
    tab, page = opened
    path = CameraPath.through(small_cameras(3), seconds=0.5, fps=8)  # its key frames say no times
    (tmp_path / "tour.json").write_bytes(path_edit.path_bytes(path))
    tab.get_by_role("tab", name="Film").click()
    page.panel("Film").put(path, 0)
    tab.get_by_text("3 key frames · 0.5 s").wait_for()
    tab.get_by_role("button", name="Preview").click()
    until(lambda: page.context.clock.now == pytest.approx(LAST_S))
    tab.get_by_role("button", name="Export film").click()
    tab.get_by_text("The film is ready").wait_for()
    with av.open(str(page.context.active.run.path / "renders" / "film-001.mp4")) as made:
        assert sum(1 for _ in made.decode(video=0)) == 5


@pytest.fixture
def bending(browser):
    """(tab at the Time tab, page) of a splat that a browser's own software draws too slowly to play it"""
    server, page = serve(load_subject(bending_splat(8000)), port=0)
    tab = open_viewer(browser, server)
    tab.get_by_role("tab", name="Time").click()
    yield tab, page
    tab.close()
    page.close()
    server.stop()


def likeness_db(tab, page) -> float:
    """PSNR of what is seen left of the panel to our rendering of the clock's moment."""
    shown = screenshot(tab)
    (client,) = page.context.server.get_clients().values()
    camera = camera_in_page(page, client, shown.shape[0])
    ours = render_rgb8(page.context.active.splat, camera, 10_000, page.context.clock.now)
    box = (slice(SCENE["y"], SCENE["y"] + SCENE["height"]), slice(SCENE["x"], SCENE["x"] + SCENE["width"]))
    error = (shown[: ours.shape[0], : ours.shape[1]][box].astype(float) - ours[box]) / 255
    return float(-10 * np.log10((error**2).mean()))


def test_a_browser_without_a_card_sees_pictures_of_every_moment(bending):
    tab, page = bending
    drawn = page.context.active.drawn
    assert drawn.held
    until(lambda: likeness_db(tab, page) > 30)
    tab.get_by_role("button", name="Play").click()
    until(lambda: (page.context.clock.now or 0.0) > 2.5)
    tab.get_by_role("button", name="Stop").click()
    tab.get_by_role("button", name="Play").wait_for()
    until(lambda: drawn.time_s == page.context.clock.now)
    until(lambda: likeness_db(tab, page) > 30)
    page.context.clock.go_to(3.0)
    until(lambda: likeness_db(tab, page) > 30)
    if (folder := os.environ.get("FEWVIEW_PICTURES")) is not None:
        Image.fromarray(screenshot(tab)).save(Path(folder) / "playing.png")


def test_lines_of_control_points_are_switched_on_in_the_scene_tab(bending):
    tab, page = bending
    tab.get_by_role("tab", name="Scene").click()
    background = np.array(page.context.active.splat.background) * 255
    bare = lambda: (np.abs(screenshot(tab, clip=SCENE) - background).max(-1) > 40).sum()  # noqa: E731
    tab.get_by_label("Splat", exact=True).uncheck()
    until(lambda: bare() == 0)
    tab.get_by_label("Trajectories").check()
    until(lambda: bare() > 300)  # 24 lines of two pixels
    assert page.context.active.layers["trajectories"].seen
    if (folder := os.environ.get("FEWVIEW_PICTURES")) is not None:
        Image.fromarray(screenshot(tab)).save(Path(folder) / "trajectories.png")


def test_key_frames_hold_the_time_that_is_seen_and_a_film_moves_both(bending):
    tab, page = bending
    film = page.panel("Film")
    tab.get_by_role("tab", name="Film").click()
    tab.get_by_label("Key frames hold the time").check()
    for moment in (4.0, 2.5):
        page.context.clock.go_to(moment)
        tab.get_by_role("button", name="Add key frame").click()
        until(lambda m=moment: film.path is not None and film.path.key_frames[-1].time_s == m)
    assert len(film.path.key_frames) == 2
    scene_time = tab.get_by_label("Scene time")
    scene_time.fill("3")
    scene_time.press("Enter")
    until(lambda: film.path.key_frames[-1].time_s == 3.0)
    tab.get_by_role("button", name="Preview").click()
    until(lambda: page.context.clock.now == pytest.approx(3.0))
    tab.get_by_label("Key frames hold the time").uncheck()
    until(lambda: film.path.key_frames[0].time_s is None)


def test_without_the_loop_it_stops_at_the_end(opened):
    tab, page = opened
    tab.get_by_role("tab", name="Time").click()
    tab.get_by_label("Loop").first.uncheck()
    page.panel("Time")._speed.value = "4x"
    page.context.clock.go_to(1.0)
    tab.get_by_role("button", name="Play").click()
    until(lambda: page.context.clock.now == pytest.approx(LAST_S))
    tab.get_by_role("button", name="Play").wait_for()
    tab.wait_for_timeout(400)
    assert page.context.clock.now == pytest.approx(LAST_S)
