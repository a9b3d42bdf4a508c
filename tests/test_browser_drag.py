"""Dragging on the page in a real browser: freeze, click handles, pull at the gizmo, undo, save; skips without one."""

import numpy as np
import pytest
import torch
from fewview.scene.formats import load_splat
from fewview.scene.run import Run
from fewview.scene.run_splat import load_run_splat, save_run_splat
from fewview.scene.splat import StaticSplat
from fewview.viewer.app import serve
from fewview.viewer.panels.edit_drag_tools import GIZMO
from fewview.viewer.subjects.loader import load_subject
from support.browser import browser as browser
from support.browser import open_viewer, until
from support.dragged_scenes import limb

COUNT = 400


@pytest.fixture
def served(browser, tmp_path):
    """(tab with the Drag folder open, page, its tools)"""
    run = Run.create(tmp_path / "limb", {})
    save_run_splat(run, limb(COUNT))
    server, page = serve(load_subject(run.path), port=0)
    tab = open_viewer(browser, server)
    tab.get_by_role("tab", name="Edit").click()
    tab.get_by_text("Drag", exact=True).click()
    yield tab, page, page.panel("Edit").drag_tools
    tab.close()
    page.close()
    server.stop()


def pixel(tab, page, place) -> tuple[float, float]:
    """Pixel of the tab at which a place [3] of the world is seen."""
    client = next(iter(page.context.server.get_clients().values()))
    height = tab.viewport_size["height"]
    camera = page.context.camera_of(client, height)
    seen = camera.cam_from_world[:3, :3] @ torch.as_tensor(place).float() + camera.cam_from_world[:3, 3]
    x, y, _ = camera.K @ seen / seen[2]
    return float(x), float(y)


def pulled(tab, page, tools) -> bool:
    """Pull once at the arrow of the gizmo that is most level in the picture; True when the handle came along."""
    stage, centre = page.context.stage, np.asarray(tools._gizmo.position)
    middle = np.array(pixel(tab, page, stage.world(centre)))
    tips = [np.array(pixel(tab, page, stage.world(centre + 0.9 * GIZMO * axis))) for axis in np.eye(3)]
    tip = max(tips, key=lambda t: abs(t[0] - middle[0]))  # an upright one may end below the notice about WebGL
    tab.mouse.move(*tip)
    tab.wait_for_timeout(500)  # the browser sees what is under the mouse when it draws; a slow one is asked again
    tab.mouse.down()
    for share in (0.3, 0.6, 0.9):
        tab.mouse.move(*(tip + share * (tip - middle)), steps=2)
    tab.wait_for_timeout(500)
    tab.mouse.up()
    tab.wait_for_timeout(1000)
    return tools.session.is_dragged


def clicked(tab, page, tools, place, count):
    """Click on a place of the world until there are so many handles: a slow browser loses clicks."""
    if len(tools.session.grips) < count:
        tab.mouse.click(*pixel(tab, page, place))
        tab.wait_for_timeout(3000)
    return len(tools.session.grips) == count


def test_freeze_click_pull_undo_and_save(served):
    tab, page, tools = served
    tab.get_by_role("button", name="Freeze this moment").click()
    tab.get_by_text("192 control points").wait_for()
    subject = page.context.active
    assert isinstance(subject.drawn.splat, StaticSplat)
    tab.get_by_role("button", name="Add handles by clicks").click()
    tab.get_by_role("button", name="Stop adding handles").wait_for()
    for i, z in enumerate((0.1, 1.2), 1):  # below the notice about WebGL
        until(lambda i=i, z=z: clicked(tab, page, tools, (0.0, 0.0, z), i))
    tab.get_by_text("0 handles moved · 2 anchors").wait_for()
    assert tools.chosen == 1
    foot, end = (grip.handle.points for grip in tools.session.grips)
    rest = tools.session.frozen.points
    assert float(rest[foot, 2].mean()) < 0.5 < 0.9 < float(rest[end, 2].mean())
    tab.get_by_role("button", name="Stop adding handles").click()

    until(lambda: pulled(tab, page, tools))
    tab.get_by_text("1 handle moved · 1 anchor").wait_for()
    tab.get_by_role("button", name="Undo: Lead handle 2").wait_for()
    moved = tools.session.grips[1].handle.move
    assert float(moved.norm()) > 0.05
    assert torch.equal(tools.session.points[foot], rest[foot])
    until(lambda: torch.equal(subject.drawn.splat.gaussians.means, tools.session.splat().gaussians.means))
    tab.get_by_role("button", name="Save the dragged splat").click()
    target = subject.run.path / "edited.ply"
    until(target.is_file)
    until(lambda: tools._name.value == "edited_2.ply")
    torch.testing.assert_close(load_splat(target).gaussians.means, tools.session.splat().gaussians.means)

    tab.get_by_role("button", name="Keep as a key frame").click()
    tab.get_by_text("Key frames at 0 s; a second one").wait_for()
    tab.get_by_role("button", name="Undo: Key frame at 0 s").wait_for()
    tools.session.lead(1, 0.5 * moved, torch.zeros(3))
    tab.get_by_role("button", name="Keep as a key frame").click()
    tab.get_by_text("Key frames at 0, 1 s").wait_for()
    tab.get_by_role("button", name="Play the film").click()
    until(lambda: not torch.equal(subject.drawn.splat.gaussians.means, tools.session.splat().gaussians.means))
    until(lambda: torch.equal(subject.drawn.splat.gaussians.means, tools.session.splat().gaussians.means))
    tab.get_by_role("button", name="Save the film").click()
    film = subject.run.path.parent / "film"
    until((film / "splat.ply").is_file)
    until(lambda: Run.open(film).metrics() != {})
    assert load_run_splat(Run.open(film)).time_range_s == (0.0, 1.0)
    for step in ("Key frame at 1 s", "Lead handle 2", "Key frame at 0 s"):
        tab.get_by_role("button", name=f"Undo: {step}").click()

    tab.get_by_role("button", name="Undo: Lead handle 2").click()
    until(lambda: not tools.session.is_dragged)
    torch.testing.assert_close(tools.session.points, rest)
    tab.get_by_role("button", name="Let go of this moment").click()
    until(lambda: tools.session is None and subject.drawn.splat is subject.splat)
    assert subject.splat.time_range_s is not None
