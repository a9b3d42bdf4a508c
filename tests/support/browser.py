"""A headless Chromium for tests; they skip with a reason where there is none.

It is the program that FEWVIEW_CHROMIUM names, or one of CHROMIUM_NAMES on the PATH; playwright's own is not needed.

`from support.browser import browser as browser` gives a module its own.
"""

from __future__ import annotations

import io
import os
import shutil
import time
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
    "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
]  # fmt: skip
PATIENCE_MS = 120_000  # a limit for a busy machine without a GPU, not a measurement


def chromium() -> str | None:
    """Path of the Chromium, None where there is none. A wrong FEWVIEW_CHROMIUM is an error, not a reason to skip."""
    if named := os.environ.get("FEWVIEW_CHROMIUM"):
        found = shutil.which(named)
        assert found, f"FEWVIEW_CHROMIUM={named} is not a program; correct it or leave it out"
        return found
    return next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = chromium()
    if program is None:
        pytest.skip(f"none of {', '.join(CHROMIUM_NAMES)} is on the PATH, and FEWVIEW_CHROMIUM is not set")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS, timeout=PATIENCE_MS)
        yield browser
        browser.close()


def open_viewer(browser, server, width: int = 1000, height: int = 700):
    """A tab with the viewer's page, connected and drawn."""
    tab = browser.new_page(viewport={"width": width, "height": height})
    tab.set_default_timeout(PATIENCE_MS)
    before = len(server.get_clients())
    tab.goto(server.url)
    tab.wait_for_selector("canvas[data-engine]")
    until(lambda: len(server.get_clients()) > before)
    return tab


def camera_in_page(page, client, height: int):
    """The browser's camera in the pixels of a page so high: a slow one draws, and tells, fewer than it shows."""
    camera = page.context.camera_of(client)
    return camera.resized(round(int(camera.width) * height / int(camera.height)), height)


def screenshot(tab, **options) -> np.ndarray:
    """uint8 [H, W, 3]"""
    return np.array(Image.open(io.BytesIO(tab.screenshot(**options))).convert("RGB"))


def until(condition: Callable[[], bool], seconds: float = PATIENCE_MS / 1000) -> None:
    """Waits for a condition; the time is a limit for a slow machine, not a measurement."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
