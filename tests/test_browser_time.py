"""A moving splat in a real browser: played, filmed and compared; skips where there is none."""

import os
from pathlib import Path

import av
import numpy as np
import pytest
from fewview.render.camera_path import CameraPath
from fewview.viewer import path_edit
from fewview.viewer.app import serve
from fewview.viewer.subjects.loader import load_subject
from PIL import Image
from support.browser import browser as browser
from support.browser import open_viewer, screenshot, until
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
    page.panel("Time")._seconds.value = 2.0
    tab.get_by_role("button", name="Play").click()
    until(lambda: len(seen) > 5 and max(seen) > 2.5 and min(seen) < 1.5)
    tab.get_by_role("button", name="Stop").click()
    tab.get_by_role("button", name="Play").wait_for()
    count = len(seen)
    tab.wait_for_timeout(500)
    assert len(seen) == count
    until(lambda: page.context.active.drawn.time_s == page.context.clock.now)


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
