"""A shared page in a real browser, from a file and without a network; skips without a browser or the viewer."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from fewview.render import render
from fewview.render.paths import look_at
from fewview.scene.cameras import Cameras
from fewview.scene.errors import FewviewError
from fewview.scene.formats import load_splat
from fewview.viewer.app import serve
from fewview.viewer.share import write_share
from fewview.viewer.share.share_page import CANNOT_RUN
from fewview.viewer.subjects.loader import load_subject
from support.browser import PATIENCE_MS, open_viewer, screenshot
from support.browser import browser as browser
from support.shared_page import SharedPage
from support.small_run import small_run

WIDTH, HEIGHT = 480, 320  # the shape of small_run's photographs, so that nothing is cut off


@pytest.fixture(scope="module")
def page_path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("share")
    run = small_run(folder / "run")
    run.update_metrics(training={"background": [0.2, 0.3, 0.4]})
    try:
        subject = load_subject(run)
        return write_share(subject.splat, folder / "gift.html", "Für <i>alle</i>", subject.cameras).path
    except FewviewError:
        pytest.skip("the viewer of shared pages is not installed")


def opened(browser, path, **options):
    """(tab, addresses that it asked for, problems that it told)"""
    options = {"viewport": {"width": WIDTH, "height": HEIGHT}, "reduced_motion": "reduce", **options}
    tab = browser.new_context(offline=True, **options).new_page()
    asked, problems = [], []
    tab.on("request", lambda r: asked.append(r.url))
    tab.on("pageerror", lambda e: problems.append(str(e)))
    tab.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
    tab.goto(path.as_uri())
    tab.wait_for_selector("html[data-state=shown]", state="attached", timeout=PATIENCE_MS)
    return tab, asked, problems


def pixels_of(tab):
    tab.add_style_tag(content=".sse-ui, #title { display: none !important }")
    tab.wait_for_timeout(1500)  # the view eases into the orbit
    return screenshot(tab).astype(np.float32) / 255


def expected(path, tmp_path):
    """Our own rendering of what the page carries, from its first view."""
    page = SharedPage(path)
    (tmp_path / "a.compressed.ply").write_bytes(page.carried("splat"))
    splat = load_splat(tmp_path / "a.compressed.ply").gaussians
    first = page.view["settings"]["cameras"][0]["initial"]
    position, target = torch.tensor(first["position"]), torch.tensor(first["target"])
    flip = torch.tensor([-1.0, -1.0, 1.0])  # the program's half turn around z
    pose = look_at(position * flip, target * flip, torch.tensor([0.0, -1.0, 0.0]))
    camera = Cameras.pinhole(pose, WIDTH / 2 / page.view["tanX"], WIDTH, HEIGHT)
    background = torch.tensor(page.view["settings"]["background"]["color"])
    return render(splat, camera, background=background).rgb.clamp(0, 1).numpy()


def test_the_page_opens_from_a_file_and_shows_our_rendering(browser, page_path, tmp_path):
    tab, asked, problems = opened(browser, page_path)
    assert all(url.startswith(("file:", "blob:", "data:")) for url in asked)
    assert problems == []
    assert tab.title() == "Für <i>alle</i>"
    assert tab.locator("#title").inner_text() == "Für <i>alle</i>"
    assert not tab.locator("#message").is_visible()
    error = pixels_of(tab) - expected(page_path, tmp_path)
    # The viewer lets a Gaussian end at 2.8 sigma and sorts by distance instead of depth, which costs it 30 dB on edges.
    assert -10 * math.log10(float((error**2).mean())) > 26
    tab.context.close()


def test_turning_changes_the_view_and_keeps_it_upright(browser, page_path):
    tab, _, _ = opened(browser, page_path)
    before = pixels_of(tab)
    tab.mouse.move(WIDTH / 2, HEIGHT / 2)
    tab.mouse.down()
    tab.mouse.move(WIDTH / 2 + 90, HEIGHT / 2, steps=4)
    tab.mouse.up()
    after = pixels_of(tab)
    assert np.abs(before - after).mean() > 0.01
    # small_gaussians are green below: y is down in the photographs' world.
    middle = after[:, WIDTH // 2 - 40 : WIDTH // 2 + 40, 1]
    assert middle[HEIGHT * 5 // 8 : HEIGHT * 6 // 8].mean() > middle[HEIGHT * 2 // 8 : HEIGHT * 3 // 8].mean() + 0.1
    tab.context.close()


def test_on_a_phone_it_moves_by_itself_and_nothing_sticks_out(browser, page_path):
    options = {"viewport": {"width": 360, "height": 640}, "is_mobile": True, "has_touch": True}
    tab, _, problems = opened(browser, page_path, reduced_motion="no-preference", **options)
    first = pixels_of(tab)
    tab.wait_for_timeout(1000)
    assert np.abs(first - pixels_of(tab)).mean() > 0.002
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    assert problems == []
    tab.context.close()


def test_without_webgl_one_sentence_says_so(browser, page_path):
    tab = browser.new_context(offline=True).new_page()
    tab.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    tab.goto(page_path.as_uri())
    tab.get_by_text(CANNOT_RUN).first.wait_for(timeout=PATIENCE_MS)
    tab.context.close()


def test_the_viewer_hands_the_page_out(browser, page_path, tmp_path):
    run = page_path.parent / "run"
    server, page = serve(load_subject(run), port=0)
    try:
        tab = open_viewer(browser, server)
        with tab.expect_download(timeout=PATIENCE_MS) as download:
            tab.get_by_role("button", name="Download as one page", exact=True).click()
        download.value.save_as(tmp_path / "scene.html")
        carried = SharedPage(tmp_path / "scene.html")
        (tmp_path / "a.compressed.ply").write_bytes(carried.carried("splat"))
        assert len(load_splat(tmp_path / "a.compressed.ply").gaussians) == 400
    finally:
        page.close()
        server.stop()
