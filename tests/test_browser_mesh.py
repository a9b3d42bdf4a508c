"""Meshes in a real browser: colours, shape and wires, one that moves, and that of a run; skips where there is none."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from fewview.scene.mesh_formats import save_mesh
from fewview.viewer.app import serve
from fewview.viewer.subjects.loader import load_subject
from PIL import Image
from support.browser import browser as browser
from support.browser import open_viewer, screenshot, until
from support.meshes import ball, painted_cube
from support.small_run import small_run

SCENE = {"x": 0, "y": 200, "width": 550, "height": 480}  # of the page, left of the panel and below the browser's notice


def seen(tab, name: str) -> np.ndarray:
    """The scene float [H, W, 3], and the whole picture kept where FEWVIEW_PICTURES asks for it."""
    if (folder := os.environ.get("FEWVIEW_PICTURES")) is not None:
        Image.fromarray(screenshot(tab)).save(Path(folder) / f"{name}.png")
    return screenshot(tab, clip=SCENE).astype(float)


def until_changed(tab, before: np.ndarray, name: str) -> np.ndarray:
    """The scene once at least one pixel in a thousand has changed."""
    pictures = [before]

    def changed() -> bool:
        tab.wait_for_timeout(300)
        pictures.append(seen(tab, name))
        return bool((np.abs(pictures[-1] - before).max(-1) > 20).mean() > 0.001)

    until(changed)
    return pictures[-1]


def test_a_moving_mesh_has_colours_shape_and_wires(browser, tmp_path: Path) -> None:
    red = replace(
        ball(times=2), colors=torch.tensor([[220, 20, 20]], dtype=torch.uint8).expand(66, 3), up=(0.0, 1.0, 0.0)
    )
    moving = replace(red, positions=torch.stack([red.vertices, red.vertices * 0.4]), times_s=torch.tensor([0.0, 2.0]))
    save_mesh(tmp_path / "ball.glb", moving)
    server, page = serve(load_subject(tmp_path / "ball.glb"), port=0)
    tab = open_viewer(browser, server)
    try:
        tab.get_by_text("128 faces").wait_for()
        tab.get_by_text("moves from 0 s to 2 s").wait_for()
        subject = page.context.active

        def is_red() -> bool:
            picture = seen(tab, "mesh")
            return bool(((picture[..., 0] > 150) & (picture[..., 1] < 90)).mean() > 0.05)

        until(is_red)
        first = seen(tab, "mesh")
        large = ((first[..., 0] > 150) & (first[..., 1] < 90)).sum()
        page.context.clock.go_to(2.0)

        def is_small() -> bool:
            tab.wait_for_timeout(200)
            picture = seen(tab, "mesh_later")
            count = ((picture[..., 0] > 150) & (picture[..., 1] < 90)).sum()
            return bool(0 < count < 0.5 * large)

        until(is_small)
        assert subject.layers["mesh wires"].handles == []
        tab.get_by_label("Mesh", exact=True).click()
        tab.get_by_label("Mesh shape").click()
        until(lambda: bool(subject.layers["mesh shape"].handles))
        until(lambda: not is_small())  # it is grey now
        before = seen(tab, "mesh_shape")
        tab.get_by_label("Mesh wires").click()
        until_changed(tab, before, "mesh_wires")
    finally:
        tab.close()
        page.close()
        server.stop()


def test_a_textured_mesh_and_that_of_a_run_are_shown(browser, tmp_path: Path) -> None:
    run = small_run(tmp_path / "run")
    save_mesh(run.mesh_path, painted_cube())
    server, page = serve(load_subject(run.path), port=0)
    tab = open_viewer(browser, server)
    try:
        layers = page.context.active.layers
        assert not layers["mesh"].wanted
        for name in ("splat", "cameras"):
            layers[name].wanted = False
        tab.wait_for_timeout(1000)
        before = seen(tab, "run")
        tab.get_by_label("Mesh", exact=True).click()
        picture = until_changed(tab, before, "run_mesh")
        changed = np.abs(picture - before).max(-1) > 20
        assert picture[changed].std(0).min() > 20, "the noise of the texture, not one colour"
    finally:
        tab.close()
        page.close()
        server.stop()
