"""Editing on the page in a real browser: select, delete, undo, pick points, and save; skips where there is none."""

import numpy as np
import pytest
import torch
from fewview.scene.edit import in_box, in_lasso, in_rectangle
from fewview.scene.formats import load_splat
from fewview.viewer.app import serve
from fewview.viewer.subjects.loader import load_subject
from support.browser import browser as browser
from support.browser import open_viewer, until
from support.small_run import small_run


@pytest.fixture
def served(browser, tmp_path):
    """(tab with the Edit part open, page, its Edit panel)"""
    server, page = serve(load_subject(small_run(tmp_path / "my_run").path), port=0)
    tab = open_viewer(browser, server)
    tab.get_by_role("tab", name="Edit").click()
    tab.get_by_text("400 Gaussians · 0 selected").wait_for()
    yield tab, page, page.panel("Edit")
    tab.close()
    page.close()
    server.stop()


def camera_of(page):
    return page.context.camera_of(next(iter(page.context.server.get_clients().values())))


def test_crop_undo_redo_and_save(served):
    tab, page, panel = served
    tab.get_by_role("button", name="Box").click()
    tab.get_by_text("Size x").wait_for()
    panel.select_tools._gizmo.position = page.context.stage.place(torch.tensor([0.5, 0.0, 0.0]))  # as if dragged there
    tab.get_by_role("button", name="Select what is inside").click()
    sides = torch.tensor([side.value for side in panel.select_tools._sides]) / page.context.stage.scale
    pose = torch.eye(4)
    pose[0, 3] = 0.5
    expected = in_box(panel.bench.session.means, pose, sides / 2)
    until(lambda: panel.bench.session.selected_count > 0)
    assert torch.equal(panel.bench.session.selected, expected)
    count = int(expected.sum())
    assert 5 < count < 395
    tab.get_by_text(f"400 Gaussians · {count} selected").wait_for()
    tab.get_by_role("button", name="Keep only").click()
    tab.get_by_text(f"{count} of 400 Gaussians left").wait_for()
    assert len(page.context.active.splat) == count  # what the page draws, and compares with photographs
    tab.get_by_role("button", name=f"Undo: Keep {count}").click()
    tab.get_by_text("400 Gaussians · ").first.wait_for()
    until(lambda: len(page.context.active.splat) == 400)
    tab.get_by_role("button", name=f"Redo: Keep {count}").click()
    until(lambda: len(page.context.active.splat) == count)
    tab.get_by_role("button", name="Save beside the old one").click()
    target = page.context.active.run.path / "edited.ply"
    until(target.is_file)
    assert torch.equal(load_splat(target).gaussians.means, panel.bench.session.left().means)
    assert len(load_splat(page.context.active.splat_path).gaussians) == 400


def test_rectangle_and_lasso_select_what_they_surround(served):
    tab, page, panel = served
    tab.get_by_role("button", name="Rectangle").click()
    tab.get_by_text("Drag a rectangle").wait_for()
    before = camera_of(page)
    tab.mouse.move(200, 300)
    tab.mouse.down()
    tab.mouse.move(300, 400, steps=3)
    tab.mouse.move(450, 450, steps=3)
    tab.mouse.up()
    until(lambda: panel.bench.session.selected_count > 0)
    assert torch.equal(camera_of(page).cam_from_world, before.cam_from_world)  # the drag did not turn the view
    expected = in_rectangle(panel.bench.session.means, before, (200, 300), (450, 450))
    # The canvas may be a pixel larger or smaller than the window.
    assert int((panel.bench.session.selected != expected).sum()) <= 4
    assert panel.bench.pointer.tool is None

    tab.get_by_role("button", name="Lasso", exact=True).click()
    tab.get_by_text("Click the corners").wait_for()
    corners = [(150, 200), (480, 220), (330, 600)]
    for i, corner in enumerate(corners, 1):
        tab.mouse.click(*corner)
        # Without a GPU the page may be busy for long, and viser keeps only the last of the clicks that it has not sent.
        until(lambda i=i: len(panel.select_tools._corners) == i)
    tab.get_by_role("button", name="Close lasso").click()
    expected = in_lasso(panel.bench.session.means, before, torch.tensor(corners).float())
    until(lambda: panel.bench.pointer.tool is None and int((panel.bench.session.selected != expected).sum()) <= 4)
    assert int(expected.sum()) > 20


def test_the_scale_is_set_by_two_clicks(served):
    tab, page, panel = served
    tab.get_by_text("Frame", exact=True).click()
    panel.frame_tools._metres.value = 5.0
    tab.get_by_role("button", name="Set the scale by 2 points").click()
    tab.get_by_text("Click 2 points").wait_for()
    picked = []
    pick = panel.bench.session.pick
    panel.bench.session.pick = lambda *ray: picked.append(pick(*ray)) or picked[-1]
    for i, place in enumerate([(250, 350), (380, 380)], 1):
        tab.mouse.click(*place)
        until(lambda i=i: len(picked) == i)
    tab.get_by_text("a unit is a metre").wait_for()
    new = panel.bench.session.editor.similarity
    assert float((new(picked[0]) - new(picked[1])).norm()) == pytest.approx(5)
    ray = camera_of(page)
    seen = ray.cam_from_world[:3, :3].double() @ picked[0] + ray.cam_from_world[:3, 3].double()
    # Where it was clicked, to a pixel of the canvas.
    np.testing.assert_allclose((ray.K.double() @ seen / seen[2])[:2], (250, 350), atol=1.5)
    tab.get_by_role("button", name="Undo: Scale").click()
    until(lambda: not panel.bench.session.editor.changed)
