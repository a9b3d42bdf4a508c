"""A GLB that moves as three.js plays it, in a real browser; skips where there is none."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from fewview.scene.mesh_formats import save_mesh
from fewview.scene.triangle_mesh import Mesh
from fewview.viewer.server import ViewerServer
from fewview.viewer.stage import Stage
from PIL import Image
from support.bending_bar import bending_bar
from support.browser import browser as browser
from support.browser import open_viewer, screenshot, until

MOMENTS = 60  # at which the outline is worked out; between two of them it moves less than a pixel
FREE_ROWS, FREE_COLUMNS = slice(180, 600), slice(0, 660)  # of a page of 1000 x 700, without notice, axes and panel
OFF_PX = 3.0  # of an outline: what is between two pixels, smoothed edges, and half of a moment


def boxes(moving: Mesh, client, height: int) -> np.ndarray:
    """[MOMENTS, 4] left, right, top and bottom of the mesh as a browser's camera sees it, in pixels."""
    camera = client.camera
    view = Stage(torch.zeros(3), 1.0, torch.tensor([0.0, 1.0, 0.0])).camera(
        camera.wxyz, camera.position, camera.fov, round(height * camera.aspect), height
    )
    found = []
    for time_s in np.linspace(0, float(moving.times_s[-1]), MOMENTS):
        seen = moving.at(time_s).vertices @ view.cam_from_world[:3, :3].T + view.cam_from_world[:3, 3]
        x, y = (seen[:, :2] / seen[:, 2:] * float(view.K[0, 0]) + view.K[:2, 2]).unbind(-1)
        found.append([float(v) for v in (x.min(), x.max(), y.min(), y.max())])
    return np.array(found)


def box_seen(tab) -> np.ndarray | None:
    """[4] left, right, top and bottom of what is red; None for nothing."""
    picture = screenshot(tab).astype(float)
    if (folder := os.environ.get("FEWVIEW_PICTURES")) is not None:
        Image.fromarray(picture.astype(np.uint8)).save(Path(folder) / "glb.png")
    red = picture[FREE_ROWS, FREE_COLUMNS, 0] - picture[FREE_ROWS, FREE_COLUMNS, 1:].max(-1) > 60
    rows, columns = np.nonzero(red)
    rows, columns = rows + FREE_ROWS.start, columns + FREE_COLUMNS.start
    return None if len(rows) < 50 else np.array([columns.min(), columns.max() + 1, rows.min(), rows.max() + 1])


def test_three_js_plays_the_motion(browser, tmp_path: Path) -> None:
    bar = bending_bar(moments=7)
    red = torch.tensor([[230, 20, 20]], dtype=torch.uint8).expand(len(bar.vertices), 3)
    moving = replace(bar, colors=red, up=(0.0, 1.0, 0.0), times_s=torch.linspace(0, 4.0, 7))
    save_mesh(tmp_path / "bar.glb", moving)
    server = ViewerServer("127.0.0.1", 0, "bar", None)
    server.gui.main_panel.dock_right()
    server.initial_camera.position, server.initial_camera.look_at = (0.3, 0.4, 6.0), (0.0, 0.0, 0.0)
    server.initial_camera.up = (0.0, 1.0, 0.0)
    server.scene.add_glb("/bar", (tmp_path / "bar.glb").read_bytes())
    tab = open_viewer(browser, server)
    try:
        (client,) = server.get_clients().values()
        until(lambda: box_seen(tab) is not None)
        tab.wait_for_timeout(1000)
        expected, moments = boxes(moving, client, 700), set[int]()

        def has_been_at_enough_moments() -> bool:
            found = box_seen(tab)
            assert found is not None
            off = np.abs(expected - found).max(1)
            assert off.min() <= OFF_PX, (found, expected[off.argmin()])
            moments.add(int(off.argmin()))
            return max(moments) - min(moments) > 0.7 * MOMENTS and len(moments) > 4

        until(has_been_at_enough_moments)
    finally:
        tab.close()
        server.stop()
