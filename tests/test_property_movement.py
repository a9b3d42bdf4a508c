"""A browser without a graphics card is sent less while its camera moves; one whose camera rests, what it sees there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fewview.scene.formats import save_splat
from fewview.scene.splat import StaticSplat
from fewview.viewer.app import serve
from fewview.viewer.layers.splat_layer import colors_from, splat_arrays
from fewview.viewer.movement import STILL_SECONDS, Movement, _Watched
from fewview.viewer.server import ViewerServer
from fewview.viewer.stage import Stage
from fewview.viewer.subjects import splat_views
from fewview.viewer.subjects.loader import load_subject
from support.browser import until
from support.small_run import glossy_gaussians, small_gaussians


def a_browser(number: int = 1, position=(0.0, 0.0, -5.0)) -> SimpleNamespace:
    """A client of viser, as far as it is asked for here."""
    camera = SimpleNamespace(position=np.array(position), on_update=lambda callback: None)
    return SimpleNamespace(client_id=number, camera=camera)


@pytest.fixture
def server():
    server = ViewerServer("127.0.0.1", 0, "test")
    yield server
    server.stop()


def test_it_tells_of_the_first_movement_and_of_the_rest_of_each_browser(server) -> None:
    told: list[tuple[int, bool]] = []
    movement = Movement(server, lambda client, moving: told.append((client.client_id, moving)), still_s=0.2)
    one, two = a_browser(1), a_browser(2)
    for _ in range(3):
        movement.moved(one)
    assert told == [(1, True)]
    until(lambda: told == [(1, True), (1, False)])
    movement.moved(two)
    movement.close()
    assert told[2:] == [(2, True), (2, False)]
    movement.moved(one)
    assert len(told) == 4


@pytest.mark.parametrize("frame_s", [0.2, 2.0, 3.1, 7.0])
def test_a_browser_that_seems_to_rest_between_its_frames_is_given_more_time(frame_s: float) -> None:
    """A frame that takes longer than the wait brings all back, and with it the frame that takes as long."""
    watched, now, draws_all, rests = _Watched(a_browser(), None), 0.0, True, 0
    for _ in range(50):  # a browser tells of its camera once a frame, and few Gaussians take a fifth of the time
        now += frame_s if draws_all else frame_s / 5
        # What it is told during a frame counts from the next but one.
        draws_all, told = watched.rests_at is None or watched.rests_at <= now, watched.rests_at
        if told is not None and told <= now:
            watched.rests(told)
            rests += 1
        watched.moves(now, STILL_SECONDS)
    assert rests <= 2
    assert not draws_all


def test_browsers_that_rest_are_told_of_again_when_the_scene_has_changed(server) -> None:
    told: list[tuple[int, bool]] = []
    movement = Movement(server, lambda client, moving: told.append((client.client_id, moving)), still_s=0.1)
    movement.moved(a_browser())
    until(lambda: told == [(1, True), (1, False)])
    movement.again()
    until(lambda: told == [(1, True), (1, False), (1, False)])
    movement.close()
    assert len(told) == 3


@pytest.fixture
def sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A page with a splat, and the buffers that are sent to single browsers: [(browser, uint32 [n, 8])]."""
    found: list[tuple[int, np.ndarray]] = []
    monkeypatch.setattr(
        ViewerServer, "update_for", lambda _, client, node, buffer: found.append((client.client_id, buffer))
    )

    def page_of(gaussians):
        save_splat(tmp_path / "a.ply", StaticSplat(gaussians))
        pages.append(serve(load_subject(tmp_path / "a.ply"), port=0))
        return pages[-1][1], found

    pages: list = []
    yield page_of
    for server, page in pages:
        page.close()
        server.stop()


def test_less_is_drawn_while_a_camera_moves(sent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splat_views, "MOVING_GAUSSIANS", 100)
    page, found = sent(small_gaussians())
    drawn, one, two = page.context.subjects[0].drawn, a_browser(), a_browser(2)
    drawn.rests(two)  # never had less
    for _ in range(2):
        drawn.moves(one)
        drawn.rests(one)
    assert [(browser, len(buffer)) for browser, buffer in found] == [(1, 100), (1, 400)] * 2
    drawn.moves(one)
    drawn.show(drawn.splat)  # while somebody moves, all have less
    drawn.moves(one)
    drawn.rests(one)
    drawn.moves(one)
    assert [len(buffer) for _, buffer in found[4:]] == [100, 400, 100]
    assert len(drawn.gaussians) == 400  # what is measured and edited stays whole


def test_all_is_drawn_at_all_times_where_there_is_a_graphics_card(sent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splat_views, "MOVING_GAUSSIANS", 100)
    page, found = sent(small_gaussians())
    monkeypatch.setattr(type(page.context.server.renderers), "has_card", True)
    drawn = page.context.subjects[0].drawn
    drawn.show(drawn.splat)
    page._follow(a_browser(), True)
    page._follow(a_browser(), False)
    page.context.worker.close()
    assert found == []


def test_a_resting_camera_gets_the_colours_that_it_sees(sent) -> None:
    gaussians = glossy_gaussians()
    page, found = sent(gaussians)
    drawn = page.context.subjects[0].drawn
    for browser in (a_browser(1, (0, 0, -5)), a_browser(2, (3, 1, 4)), a_browser(1, (0, 0, -5))):
        drawn.rests(browser)
    assert [browser for browser, _ in found] == [1, 2]  # nothing for a camera that has not moved
    for (_, buffer), position in zip(found, [(0, 0, -5), (3, 1, 4)], strict=True):
        expected = colors_from(drawn.gaussians, page.context.stage.world(np.array(position))).clamp(0, 1).numpy()
        colors = np.ascontiguousarray(buffer[:, 7:]).view(np.uint8)[:, :3]
        # Half a step of 8 bits, and a little for float32.
        np.testing.assert_allclose(colors / 255, expected, atol=0.51 / 255)
    drawn.show(replace(drawn.splat), torch.rand(len(gaussians), 3))  # colours of a selection, not the splat's
    drawn.rests(a_browser(1, (1, 1, 1)))
    assert len(found) == 2


def test_colours_of_another_place_are_dropped_on_the_way(sent) -> None:
    page, found = sent(glossy_gaussians())
    drawn = page.context.subjects[0].drawn
    browser = a_browser()
    page._follow_far(browser)  # it has no colours of its own yet
    drawn.rests(browser)
    browser.camera.position = np.array([0.4, 0.0, -5.0])  # near to where they were seen
    page._follow_far(browser)
    assert not drawn.is_astray(browser)
    browser.camera.position = np.array([3.0, 0.0, -4.0])
    assert drawn.is_astray(browser)
    for _ in range(3):
        page._follow_far(browser)
    page.context.worker.close()
    assert 1 <= len(found) <= 2  # one job may have been waiting when the worker was closed
    drawn.drop_colors(browser)
    assert len(found) == 2
    np.testing.assert_array_equal(found[1][1], drawn._views._drawing.arrays.packed())
    assert not drawn.is_astray(browser)


def test_nothing_is_sent_for_a_splat_of_one_colour_for_each_gaussian(sent) -> None:
    page, found = sent(small_gaussians())
    page.context.subjects[0].drawn.rests(a_browser())
    assert found == []


def test_packed_arrays_are_what_viser_makes_of_them(server) -> None:
    gaussians = small_gaussians()
    arrays = splat_arrays(gaussians, Stage.of(None, gaussians))
    node = server.scene.add_gaussian_splats("/splat", arrays.centers, arrays.covariances, arrays.rgbs, arrays.opacities)
    packed = arrays.packed()
    np.testing.assert_array_equal(packed[:, :7], node.buffer[:, :7])
    ours, theirs = (np.ascontiguousarray(buffer[:, 7:]).view(np.uint8).astype(int) for buffer in (packed, node.buffer))
    assert np.abs(ours - theirs).max() <= 1  # viser cuts off where we round
