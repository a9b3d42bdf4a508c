"""A shared page that plays a moving splat, in a real browser from a file; skips where there is none."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fewview.render import render
from fewview.render.paths import look_at
from fewview.scene.cameras import Cameras
from fewview.viewer.share import write_share
from fewview.viewer.share.first_views import FirstViews
from fewview.viewer.share.share_file import MIN_ALPHA
from fewview.viewer.share.share_page import CANNOT_RUN
from PIL import Image
from support.bending_splat import FIRST_S, LAST_S, bending_splat
from support.browser import PATIENCE_MS, screenshot, until
from support.browser import browser as browser
from support.shared_page import SharedPage

WIDTH, HEIGHT = 480, 320
# 28 dB is asked of the object; the page blends in 8 bits, which costs little, and packs to 16 and 8.
LEAST_DB = 34.0


@pytest.fixture(scope="module")
def splats(tmp_path_factory):
    """{name: (splat, page)}"""
    folder = tmp_path_factory.mktemp("moving")
    made = {
        "plain": bending_splat(4000, degree=3),
        "residuals": bending_splat(4000, near=5, residuals=True, antialiased=True),
        "small": bending_splat(500, degree=0),  # a busy machine draws it often enough to be played
    }
    # From above and aside, as bare splats are seen; some Gaussians weigh less than one, and are held back.
    tensors = made["residuals"].motion.tensors()
    tensors["weights"] *= torch.linspace(0.7, 1, 4000)[:, None]
    return {n: (s, write_share(s, folder / f"{n}.html", f"A <b>{n}</b> one").path) for n, s in made.items()}


def opened(browser, path, **options):
    """(tab, addresses that it asked for, problems that it told)"""
    options = {"viewport": {"width": WIDTH, "height": HEIGHT}, "reduced_motion": "reduce", **options}
    tab = browser.new_context(offline=True, **options).new_page()
    tab.set_default_timeout(PATIENCE_MS)
    asked, problems = [], []
    tab.on("request", lambda r: asked.append(r.url))
    tab.on("pageerror", lambda e: problems.append(str(e)))
    tab.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
    tab.goto(path.as_uri())
    tab.wait_for_selector("html[data-state=shown]", state="attached", timeout=PATIENCE_MS)
    return tab, asked, problems


def moment_of(tab) -> float:
    """The moment that the picture shows."""
    return float(tab.evaluate("document.documentElement.dataset.time"))


def go_to(tab, moment: float) -> None:
    slide = "(slider, t) => { slider.value = t; slider.dispatchEvent(new Event('input')); }"
    tab.locator("#time").evaluate(slide, moment)
    until(lambda: moment_of(tab) == pytest.approx(moment))


def canvas_of(tab) -> np.ndarray:
    """float [H, W, 3] of the 3D view alone, once it rests and has all of its pixels"""
    tab.wait_for_timeout(300)
    until(lambda: tab.evaluate("document.documentElement.dataset.share") == "1")
    tab.evaluate("for (const id of ['player', 'title']) document.getElementById(id).style.visibility = 'hidden'")
    picture = screenshot(tab).astype(np.float32) / 255
    tab.evaluate("for (const id of ['player', 'title']) document.getElementById(id).style.visibility = ''")
    return picture


def expected(splat, page: SharedPage, moment: float):
    """(our rendering [H, W, 3] of the first view, the object's mask [H, W])"""
    splat = splat.rows(splat.gaussians.opacities >= MIN_ALPHA)  # the page, and so its frame, knows no others
    gaussians = splat.at(moment).moved(FirstViews.of(None, splat.at(), torch.tensor(splat.up)).page_from_world)
    fits = (page.view["tanX"] * max(1, HEIGHT / WIDTH), page.view["tanY"] * max(1, WIDTH / HEIGHT))
    tan = max(fits) ** (1 / 3) * min(fits) ** (2 / 3)
    pose = look_at(torch.tensor(page.view["position"]), torch.tensor(page.view["target"]), torch.tensor([0.0, 1, 0]))
    camera = Cameras.pinhole(pose, WIDTH / 2 / tan, WIDTH, HEIGHT)
    under = torch.tensor(splat.background)
    drawn = render(gaussians, camera, background=under, antialiased=splat.antialiased)
    return drawn.rgb.clamp(0, 1).numpy(), drawn.alpha.numpy() > 0.5


@pytest.mark.parametrize("name", ["plain", "residuals"])
def test_the_page_shows_our_rendering_at_every_moment(browser, splats, name):
    splat, path = splats[name]
    tab, asked, problems = opened(browser, path)
    page, seen = SharedPage(path), []
    for moment in (FIRST_S, 3.37, LAST_S - 0.6):
        go_to(tab, moment)
        ours, solid = expected(splat, page, moment)
        picture = canvas_of(tab)
        seen.append(picture)
        error = (picture - ours) ** 2
        assert solid.mean() > 0.03, "the bar is in the picture"
        db = -10 * math.log10(float(error[solid].mean()))
        if (folder := os.environ.get("FEWVIEW_PICTURES")) is not None:
            both = np.concatenate([picture, ours], axis=1)
            Image.fromarray(np.rint(255 * both).astype(np.uint8)).save(Path(folder) / f"moving_{name}_{moment}.png")
            print(name, moment, f"{db:.2f} dB")
        assert db > LEAST_DB
    assert np.abs(seen[0] - seen[1]).mean() > 0.01, "it moves"
    assert asked == [path.as_uri()], "nothing is loaded"
    assert problems == []
    assert tab.title() == f"A <b>{name}</b> one"
    assert tab.locator("#title").inner_text() == f"A <b>{name}</b> one"
    assert not tab.locator("#message").is_visible()
    tab.context.close()


def test_it_plays_pauses_and_loops(browser, splats):
    tab, _, problems = opened(browser, splats["small"][1], reduced_motion="no-preference")
    tab.get_by_role("button", name="Pause").wait_for(timeout=PATIENCE_MS)
    until(lambda: moment_of(tab) > FIRST_S)
    tab.get_by_label("Speed").select_option("4")
    seen = [moment_of(tab)]
    until(lambda: seen.append(moment_of(tab)) or seen[-1] < seen[-2])  # from the end to the start
    tab.get_by_label("Loop").uncheck()
    tab.get_by_role("button", name="Play").wait_for(timeout=PATIENCE_MS)  # it has stopped at the end
    assert moment_of(tab) == pytest.approx(LAST_S)
    assert tab.locator("#moment").inner_text() == "3 / 3"
    tab.evaluate("document.activeElement.blur()")  # on a control the space bar is the control's
    tab.keyboard.press("Space")  # plays from the beginning
    until(lambda: moment_of(tab) < LAST_S)
    tab.keyboard.press("Space")
    tab.get_by_role("button", name="Play").wait_for(timeout=PATIENCE_MS)
    tab.wait_for_timeout(300)
    stopped = moment_of(tab)
    tab.keyboard.press("ArrowLeft")
    until(lambda: moment_of(tab) < stopped)
    assert problems == []
    tab.context.close()


def test_mouse_wheel_and_keys_move_the_view(browser, splats):
    tab, _, problems = opened(browser, splats["small"][1])
    start = canvas_of(tab)

    def changed(before) -> np.ndarray:
        tab.wait_for_timeout(400)
        after = canvas_of(tab)
        assert np.abs(after - before).mean() > 0.004
        return after

    tab.mouse.move(WIDTH / 2, HEIGHT / 3)
    tab.mouse.down()
    tab.mouse.move(WIDTH / 2 + 60, HEIGHT / 3, steps=3)
    tab.mouse.up()
    turned = changed(start)
    tab.mouse.wheel(0, 400)
    far = changed(turned)
    background = np.array(splats["small"][0].background)
    shown = [np.abs(picture - background).max(-1) > 0.1 for picture in (turned, far)]
    assert shown[1].sum() < 0.7 * shown[0].sum(), "it has become smaller"
    tab.keyboard.down("Shift")
    tab.mouse.down()
    tab.mouse.move(WIDTH / 2 + 60, HEIGHT / 3 + 60, steps=3)
    tab.mouse.up()
    tab.keyboard.up("Shift")
    changed(far)
    tab.keyboard.press("Home")
    tab.wait_for_timeout(400)
    assert np.abs(canvas_of(tab) - start).max() < 0.02
    assert problems == []
    tab.context.close()


def test_two_fingers_zoom_on_a_phone_and_nothing_sticks_out(browser, splats):
    options = {"viewport": {"width": 360, "height": 640}, "is_mobile": True, "has_touch": True}
    tab, _, problems = opened(browser, splats["small"][1], **options)
    background = np.array(splats["small"][0].background)
    before = (np.abs(canvas_of(tab) - background).max(-1) > 0.1).sum()
    touch = tab.context.new_cdp_session(tab)
    for kind, apart in (("touchStart", 30), ("touchMove", 60), ("touchMove", 90), ("touchEnd", None)):
        points = [] if apart is None else [{"x": 180 + s * apart, "y": 250, "id": i} for i, s in enumerate((-1, 1))]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    tab.wait_for_timeout(500)
    assert (np.abs(canvas_of(tab) - background).max(-1) > 0.1).sum() > 1.5 * before
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    box = tab.locator("#player").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 360
    assert problems == []
    tab.context.close()


def test_without_webgl_one_sentence_says_so(browser, splats):
    tab = browser.new_context(offline=True).new_page()
    tab.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    tab.goto(splats["small"][1].as_uri())
    tab.get_by_text(CANNOT_RUN).first.wait_for(timeout=PATIENCE_MS)
    assert not tab.locator("#player").is_visible()
    tab.context.close()


def test_a_page_of_one_moment_stands_still(browser, tmp_path):
    splat = bending_splat(300, moments=1)
    path = write_share(replace(splat, up=None), tmp_path / "one.html", "one").path
    tab, _, problems = opened(browser, path, reduced_motion="no-preference")
    tab.get_by_role("button", name="Play").click()
    assert np.abs(canvas_of(tab) - np.array(splat.background)).max() > 0.2
    assert problems == []
    tab.context.close()
