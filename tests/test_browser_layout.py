"""The page as a person finds it: what is where at first, and how the 3D view looks when the camera rests."""

from __future__ import annotations

import pytest
import torch
from fewview.render import render
from fewview.render.metrics import psnr
from fewview.scene.formats import save_splat
from fewview.scene.splat import StaticSplat
from fewview.viewer.app import serve
from fewview.viewer.panel_context import Context
from fewview.viewer.subjects.loader import load_subject
from fewview.viewer.subjects.splat_subject import SplatSubject
from support.browser import browser as browser
from support.browser import camera_in_page, open_viewer, screenshot, until
from support.small_run import glossy_gaussians, small_capture, small_gaussians


@pytest.fixture
def served():
    """Photographs and cameras alone, which any browser draws quickly."""
    server, page = serve(load_subject(small_capture()), port=0)
    yield server, page
    page.close()
    server.stop()


def test_the_panel_leaves_the_view_free(browser, served):
    server, _ = served
    tab = open_viewer(browser, server, 800, 500)
    panel = tab.get_by_role("tab", name="Scene")
    panel.wait_for()
    canvas = tab.locator("canvas[data-engine]")
    until(lambda: canvas.bounding_box()["width"] < 600)  # docked, so that its middle is what is looked at
    box = canvas.bounding_box()
    assert box["x"] + box["width"] <= panel.bounding_box()["x"]
    assert box["width"] > 300
    tab.close()


def test_a_phone_has_its_panel_folded(browser, served):
    server, _ = served
    tab = open_viewer(browser, server, 390, 844)
    sheet = tab.locator("[style*='max-height: 60%']")
    until(lambda: sheet.bounding_box()["height"] < 0.2 * 844)
    sheet.locator("[style*='cursor: pointer']").first.click()
    until(lambda: sheet.bounding_box()["height"] > 0.4 * 844)  # a tap opens it
    assert tab.locator("canvas[data-engine]").bounding_box()["width"] == 390
    tab.close()


def test_the_film_can_be_exported_without_scrolling(browser, served):
    server, _ = served
    tab = open_viewer(browser, server, 800, 500)
    tab.get_by_role("tab", name="Film").click()
    button = tab.get_by_role("button", name="Export film")
    button.wait_for()
    until(lambda: button.bounding_box()["y"] + button.bounding_box()["height"] < 500)
    tab.close()


def test_a_resting_camera_sees_colours_that_depend_on_the_direction(browser):
    subject = SplatSubject("gloss", StaticSplat(glossy_gaussians(100)))
    server, page = serve(subject, port=0)
    tab = open_viewer(browser, server, 700, 300)
    client = next(iter(server.get_clients().values()))

    def likeness() -> float:
        """PSNR in dB of the 3D view to our rendering, over the object."""
        camera = camera_in_page(page, client, 300)
        with torch.no_grad():
            expected = render(subject.splat.at(), camera, background=torch.zeros(3), antialiased=False)
        seen = torch.from_numpy(screenshot(tab)[:, : expected.rgb.shape[1]].copy()).float() / 255
        if seen.shape != expected.rgb.shape:
            return 0.0
        solid = expected.alpha.reshape(seen.shape[:2]) > 0.5
        solid[: solid.shape[0] // 2, :] = False  # notices lie over the upper part
        return psnr(seen[solid][None], expected.rgb.clamp(0, 1)[solid][None])

    # With one colour for all directions it is below 20 dB. Two renderers that store colours in 8 bits and covariances
    # in 16 differ by some steps of the 255: four of them everywhere are 36 dB.
    until(lambda: likeness() > 30)
    tab.close()
    page.close()
    server.stop()


def dropped(tab, name: str, content: bytes) -> None:
    """Drops a file on the middle of the page."""
    tab.evaluate(
        """([name, bytes]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], name));
            document.querySelector("canvas[data-engine]").dispatchEvent(
                new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true}));
        }""",
        [name, list(content)],
    )


def test_a_file_that_is_dropped_is_opened_or_refused_in_a_sentence(browser, served, tmp_path, monkeypatch):
    server, page = served
    told = []  # a notice goes away by itself, on a busy machine before the test has looked
    monkeypatch.setattr(Context, "notify", lambda _, title, body="", client=None: told.append(body))
    save_splat(tmp_path / "other.ply", StaticSplat(small_gaussians(50)))
    tab = open_viewer(browser, server, 800, 500)
    tab.get_by_role("button", name="Open a splat").wait_for()
    tab.get_by_role("tab", name="Film").click()  # the button need not be seen
    dropped(tab, "notes.txt", b"no splat")
    until(lambda: len(told) == 1)
    assert "notes.txt does not end like a splat file" in told[0]
    dropped(tab, "broken.ply", b"ply\nformat binary_little_endian 1.0\nelement vertex 9999999\n")
    until(lambda: len(told) == 2)
    assert "broken.ply" in told[1]
    assert len(page.context.subjects) == 1
    dropped(tab, "other.ply", (tmp_path / "other.ply").read_bytes())
    until(lambda: len(page.context.subjects) == 2)
    assert page.context.subjects[1].title == "other.ply"
    tab.get_by_text("50 Gaussians").first.wait_for()
    tab.get_by_role("tab", name="Scene").click()
    tab.get_by_text("Opened here").wait_for()
    tab.close()
