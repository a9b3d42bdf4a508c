"""The wipe of the Photographs tab: one picture over the other, with a line between them that can be moved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from fewview.viewer.app import serve
from fewview.viewer.subjects.loader import load_subject
from support.browser import until
from support.small_run import small_run


def test_a_line_divides_the_photograph_from_its_rendering(tmp_path: Path) -> None:
    server, page = serve(load_subject(small_run(tmp_path / "run").path), port=0)
    try:
        panel = page.panel("Photographs")
        panel._viewed(1)
        until(lambda: panel._shown[1] is not None)
        photo, rendering = panel._shown
        assert photo.shape == rendering.shape
        height, width = photo.shape[:2]
        until(lambda: panel.picture.shape[0] > 2 * height)  # wide ones above each other
        assert not panel._line.visible
        panel._wipe.value = True
        until(lambda: panel.picture.shape == photo.shape)
        assert panel._line.visible
        middle = width // 2
        np.testing.assert_array_equal(panel.picture[:, : middle - 1], photo[:, : middle - 1])
        np.testing.assert_array_equal(panel.picture[:, middle + 1 :], rendering[:, middle + 1 :])
        panel._line.value = 1.0
        until(lambda: np.array_equal(panel.picture, photo))
        panel._line.value = 0.0
        until(lambda: np.array_equal(panel.picture, rendering))
        panel._wipe.value = False
        until(lambda: panel.picture.shape[0] > 2 * height)
    finally:
        page.close()
        server.stop()
