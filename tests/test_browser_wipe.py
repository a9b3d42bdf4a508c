"""The wipe in a real browser: the photograph lies over the 3D view of who looks from where it was taken."""

from __future__ import annotations

import numpy as np
import pytest
from fewview.viewer import served_pictures
from fewview.viewer.app import serve
from fewview.viewer.subjects.loader import load_subject
from support.browser import browser as browser
from support.browser import open_viewer, screenshot, until
from support.small_run import small_run

WIDTH, HEIGHT = 900, 500


@pytest.mark.parametrize("pictures_from", [100, 10_000], ids=["pictures", "drawn by the browser"])
def test_a_photograph_lies_over_the_view_from_its_camera(browser, tmp_path, monkeypatch, pictures_from):
    monkeypatch.setattr(served_pictures, "PICTURES_FROM", pictures_from)
    server, page = serve(load_subject(small_run(tmp_path / "run").path), port=0)
    try:
        tab = open_viewer(browser, server, WIDTH, HEIGHT)
        client = next(iter(server.get_clients().values()))
        panel = page.panel("Photographs")
        panel._choose(1, client)
        until(lambda: panel._shown[1] is not None)
        color = np.median(panel._shown[0].reshape(-1, 3), axis=0)  # the plain ground of that photograph

        def share(columns: slice) -> float:
            """The part of the view below the notice that shows that colour."""
            seen = screenshot(tab)[200:, columns].astype(float)
            return float((np.abs(seen - color).max(-1) < 12).mean())

        half = int(tab.locator("canvas[data-engine]").bounding_box()["width"]) // 2
        left, right = slice(0, half - 40), slice(half + 40, 2 * half)
        assert share(left) < 0.2
        panel._wipe.value = True
        until(lambda: share(left) > 0.5 and share(right) < 0.2)
        panel._line.value = 1.0
        until(lambda: share(right) > 0.5)
        panel._line.value = 0.5
        until(lambda: share(right) < 0.2)
        client.camera.position = client.camera.position + np.array([1.0, 0.0, 0.0])  # elsewhere, the scene alone
        until(lambda: share(left) < 0.2)
        panel._choose(1, client)
        until(lambda: share(left) > 0.5)
        panel._wipe.value = False
        until(lambda: share(left) < 0.2)
        tab.close()
    finally:
        page.close()
        server.stop()
