"""The viewer in a real browser, and what it shows in plain arrays; the browser part skips where there is none."""

import http.client

import numpy as np
import pytest
import torch
from fewview.scene.errors import BadInputError
from fewview.scene.gaussians import Gaussians
from fewview.scene.splat import StaticSplat
from fewview.viewer.app import how_to_open, serve
from fewview.viewer.layers.camera_layer import frustum_size
from fewview.viewer.layers.splat_layer import splat_arrays
from fewview.viewer.live_viewer import LiveViewer
from fewview.viewer.pictures import error_map, opaque, side_by_side, wiped
from fewview.viewer.report import write_report
from fewview.viewer.stage import Stage
from fewview.viewer.subjects import drawn_splat
from fewview.viewer.subjects.loader import load_subject
from fewview.viewer.subjects.splat_subject import SplatSubject
from support.browser import PATIENCE_MS, open_viewer, screenshot, until
from support.browser import browser as browser
from support.small_run import small_capture, small_gaussians, small_run
from support.small_splats import small_splat


@pytest.fixture
def served(tmp_path):
    server, page = serve(load_subject(small_run(tmp_path / "my_run").path), port=0)
    yield server, page
    page.close()
    server.stop()


def test_page_shows_the_scene_and_asks_nobody_else(browser, served):
    server, _ = served
    requests, problems = [], []
    tab = open_viewer(browser, server)
    tab.on("request", lambda r: requests.append(r.url))
    tab.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.reload()
    tab.get_by_text("5 photographs · 400 sparse points · 400 Gaussians").wait_for()
    tab.get_by_text("one colour for all directions").wait_for()
    colours = set()

    def shows_something():
        tab.wait_for_timeout(300)
        pixels = screenshot(tab, clip={"x": 0, "y": 200, "width": 550, "height": 400})
        colours.update(map(tuple, pixels[::20, ::20].reshape(-1, 3)))
        return len(colours) > 50

    until(shows_something)  # a smooth cube of coloured Gaussians, not an empty page
    assert requests
    assert all(u.startswith((server.url, "data:", "blob:")) for u in requests)
    assert problems == []
    tab.close()


def test_a_browser_without_a_graphics_card_gets_the_gaussians_that_cover_most(browser, monkeypatch):
    monkeypatch.setattr(drawn_splat, "FEW_GAUSSIANS", 100)
    monkeypatch.setattr(drawn_splat, "MANY_GAUSSIANS", 200)
    server, page = serve(SplatSubject("scene", StaticSplat(small_gaussians()), small_capture()), port=0)
    shown = page.context.active
    drawn = lambda: len(shown.layers["splat"].handles[0].buffer)  # noqa: E731
    tab = open_viewer(browser, server)
    box = tab.get_by_label("All Gaussians")
    box.wait_for()
    assert not box.is_checked()
    assert drawn() == 100
    tint = torch.rand(400, 3)
    shown.show_splat(StaticSplat(small_gaussians()), tint)
    assert drawn() == 100
    box.click()
    until(lambda: drawn() == 400)
    box.click()
    until(lambda: drawn() == 100)
    tab.evaluate("fetch('renderer?software=0')")  # another browser, which has one
    until(lambda: drawn() == 400 and shown.drawn.draws_all)
    until(box.is_checked)
    tab.close()
    page.close()
    server.stop()


def test_choosing_a_photograph_flies_there_and_compares(browser, served):
    server, page = served
    tab = open_viewer(browser, server)
    tab.get_by_role("tab", name="Photographs").click()
    tab.get_by_role("button", name="Next").click()
    tab.get_by_text("photograph, then rendering").wait_for()
    tab.get_by_text("held out from training").wait_for()  # photo_1 is
    assert tab.get_by_text("photo_1.jpg").count() >= 1
    client = next(iter(server.get_clients().values()))
    expected = page.context.stage.place(page.context.active.cameras.centers[1])
    until(lambda: np.abs(client.camera.position - expected).max() < 1e-3)
    panel = page.panel("Photographs")
    rendering = panel.picture
    assert rendering.shape[0] > 64
    tab.get_by_label("Beside it").click()
    tab.get_by_role("option", name="error map").click()
    tab.get_by_text("photograph, then error map").wait_for()
    assert not np.array_equal(panel.picture, rendering)
    tab.close()


def test_wide_server_opens_with_the_token_only(browser, tmp_path):
    shown = load_subject(small_gaussians())
    server, page = serve(shown, host="0.0.0.0", port=0, token="long-enough-token")
    try:
        tab = browser.new_page()
        assert tab.goto(server.url.split("?")[0]).status == 403
        tab.goto(server.url)
        tab.wait_for_selector("canvas[data-engine]", timeout=PATIENCE_MS)
        until(lambda: len(server.get_clients()) == 1)  # the WebSocket came through by the cookie
        tab.close()
    finally:
        page.close()
        server.stop()


def test_report_fits_wide_and_narrow_windows(browser, tmp_path):
    path = write_report(small_run(tmp_path / "run"))
    for width in (1180, 380):
        tab = browser.new_page(viewport={"width": width, "height": 800})
        problems = []
        tab.on("console", lambda m, problems=problems: problems.append(m.text))
        tab.goto(path.as_uri())
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        assert problems == []
        tab.close()


def test_live_viewer_never_blocks_or_breaks_the_training(browser):
    with LiveViewer(small_capture(), port=0, seconds_between=0.0) as live:
        tab = open_viewer(browser, live._server)
        assert live.update(small_splat, 1, {"loss": 0.25})
        tab.get_by_text("0.25").wait_for()
        tab.close()  # a browser that goes away in the middle
        for step in range(2, 50):
            live.update(lambda step=step: StaticSplat(small_gaussians(seed=step)), step, {"loss": 0.1})
    live.update(small_splat, 99)  # after the end: dropped
    live.close()


def test_how_to_open_names_the_address_and_the_ssh_line(served):
    server, _ = served
    told = how_to_open(server)
    assert server.url in told
    assert f"ssh -L {server.get_port()}:127.0.0.1:{server.get_port()} " in told
    connection = http.client.HTTPConnection("127.0.0.1", server.get_port(), timeout=10)
    connection.request("GET", "/")
    assert connection.getresponse().status == 200


def test_splat_arrays_on_the_page():
    gaussians = small_gaussians()
    means = gaussians.means.clone()
    means[0], means[1] = float("nan"), float("inf")
    opacity = gaussians.opacity_logits.clone()
    opacity[2] = -20.0
    log_scales = gaussians.log_scales.clone()
    log_scales[3] = 50.0
    capture = small_capture()
    stage = Stage.of(capture.cameras, None)
    arrays = splat_arrays(Gaussians(means, gaussians.quats, log_scales, opacity, gaussians.sh), stage)
    assert len(arrays.centers) == len(gaussians) - 3  # NaN, infinity, invisible
    with np.errstate(over="raise"):
        assert np.isfinite(arrays.covariances.astype(np.float16)).all()  # what viser stores
    expected = (np.exp(gaussians.log_scales[9, 0].item()) * stage.scale) ** 2
    np.testing.assert_allclose(arrays.covariances[-1], expected * np.eye(3), rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(arrays.centers[-1], (means[-1] - stage.center).numpy() * stage.scale, rtol=1e-5)


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e4])
def test_stage_gives_every_scene_a_human_size(unit):
    cameras = small_capture().cameras
    pose = cameras.cam_from_world.clone()
    pose[:, :3, 3] *= unit
    scaled = type(cameras)(pose, cameras.K, cameras.width, cameras.height)
    stage = Stage.of(scaled, None)
    distance = np.linalg.norm(stage.place(scaled.centers), axis=1)
    np.testing.assert_allclose(np.median(distance), 5.0, rtol=1e-3)
    np.testing.assert_allclose(stage.up.numpy(), [0, -1, 0], atol=0.15)  # the prior leaves a few degrees of tilt
    assert 0.05 < frustum_size(scaled, stage) < 0.5


def test_targets_that_cannot_be_shown_are_sentences(tmp_path):
    with pytest.raises(BadInputError, match="does not exist"):
        load_subject(tmp_path / "absent")


def test_pictures():
    left, right = np.zeros((4, 6, 3), np.uint8), np.full((4, 6, 3), 255, np.uint8)
    assert side_by_side(left, right, 2).shape == (10, 6, 3)  # wide ones above each other
    assert side_by_side(left.swapaxes(0, 1), right.swapaxes(0, 1), 2).shape == (6, 10, 3)
    line = wiped(left, right, 0.5)
    assert line.shape == left.shape
    assert line[0, :, 0].tolist() == [0, 0, 255, 255, 255, 255]  # two columns of the line, which is white
    assert np.array_equal(wiped(left, right, 1.0), left)
    assert np.array_equal(wiped(left, right, -3.0), right)
    assert error_map(left, left).max() <= 4  # the colour map's black is (0, 0, 4)
    assert error_map(left, right)[0, 0].min() > 150
    half = np.dstack([np.full((1, 1, 3), 200, np.uint8), np.full((1, 1, 1), 0, np.uint8)])
    assert opaque(half).tolist() == [[[255, 255, 255]]]
    assert opaque(half, (0, 0, 0)).tolist() == [[[0, 0, 0]]]
