"""Browsers without a graphics card see pictures of a splat that is large enough and seen alone; others, the splat."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fewview.render import render
from fewview.scene.splat import StaticSplat
from fewview.viewer import served_pictures
from fewview.viewer.app import serve
from fewview.viewer.pictures import render_rgb8
from fewview.viewer.server import ViewerServer
from fewview.viewer.stage import vertical_fov
from fewview.viewer.subjects.splat_subject import SplatSubject
from support.browser import until
from support.small_run import small_cameras, small_capture, small_gaussians

WIDTH, HEIGHT = 96, 64


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small splat counts as one that browsers draw slowly."""
    monkeypatch.setattr(served_pictures, "PICTURES_FROM", 100)


@pytest.fixture
def page_of(many: None):
    def make(*subjects: SplatSubject):
        opened.append(serve(list(subjects), port=0))
        return opened[-1]

    opened: list = []
    yield make
    for server, page in opened:
        page.close()
        server.stop()


def a_subject(title: str = "scene") -> SplatSubject:
    return SplatSubject(title, StaticSplat(small_gaussians(), background=(0.2, 0.4, 0.6)), small_capture())


class Onlooker(SimpleNamespace):
    """A browser at the first camera, as far as it is asked for here: it keeps the pictures that it is sent."""

    def __init__(self, page, monkeypatch: pytest.MonkeyPatch) -> None:
        wxyz, position = page.context.stage.pose(small_cameras(3)[0])
        fov = vertical_fov(small_cameras(3)[0])
        self.client_id, self.pictures = 7, []
        self.camera = SimpleNamespace(
            wxyz=wxyz, position=position, fov=fov, image_height=HEIGHT, aspect=WIDTH / HEIGHT, on_update=lambda _: None
        )
        self.scene = SimpleNamespace(set_background_image=lambda image, **how: self.pictures.append((image, how)))
        monkeypatch.setattr(ViewerServer, "get_clients", lambda _: {self.client_id: self})


def handles(subject: SplatSubject) -> list:
    return subject.layers["splat"].handles


def test_a_splat_that_is_seen_alone_is_not_drawn_by_browsers(page_of) -> None:
    subject = a_subject()
    _, page = page_of(subject)
    assert page._pictures.in_place
    assert subject.drawn.held
    assert handles(subject) == []  # nothing of it is sent


def test_few_gaussians_are_drawn_by_browsers(page_of, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served_pictures, "PICTURES_FROM", 1000)
    subject = a_subject()
    _, page = page_of(subject)
    assert not page._pictures.in_place
    assert len(handles(subject)[0].buffer) == 400


def test_two_splats_are_drawn_by_browsers_until_one_is_hidden(page_of) -> None:
    one, two = a_subject("one"), a_subject("two")
    _, page = page_of(one, two)
    assert not page._pictures.in_place
    assert len(handles(one)[0].buffer) == len(handles(two)[0].buffer) == 400
    two.layers["splat"].wanted = False
    # What is sent follows `held` by a moment, in the page's worker.
    until(lambda: one.drawn.held and len(handles(one)[0].buffer) == 1)  # one Gaussian that cannot be seen
    two.layers["splat"].wanted = True
    until(lambda: not one.drawn.held and len(handles(one)[0].buffer) == 400)


def test_a_graphics_card_draws_the_splat(page_of) -> None:
    subject = a_subject()
    server, page = page_of(subject)
    server.renderers.answer(SimpleNamespace(path="/renderer?software=0"))
    until(lambda: bool(handles(subject)))
    assert not page._pictures.in_place
    assert len(handles(subject)[0].buffer) == 400


def test_the_pictures_are_our_renderings(page_of, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = a_subject()
    _, page = page_of(subject)
    browser = Onlooker(page, monkeypatch)
    page._movement.moved(browser)
    until(lambda: any("depth" in how for _, how in browser.pictures))  # it has come to rest
    (first, _), (last, how) = browser.pictures[0], browser.pictures[-1]
    camera = page.context.camera_of(browser)
    assert np.array_equal(first, last)  # the page is smaller than either may be
    assert np.array_equal(last, render_rgb8(subject.splat, camera, 1000))
    with torch.no_grad():
        drawn = render(subject.splat.gaussians, camera)
    solid, depth = drawn.alpha >= 0.5, torch.from_numpy(how["depth"])
    assert bool(solid.any())
    assert bool((~solid).any())
    assert bool((depth[~solid] == served_pictures.FAR).all())
    expected = drawn.expected_depth[solid] * page.context.stage.scale
    torch.testing.assert_close(depth[solid], expected, atol=0.51 * served_pictures.DEPTH_STEP, rtol=0)


def test_a_tint_and_another_splat_are_seen_at_once(page_of, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = a_subject()
    _, page = page_of(subject)
    browser = Onlooker(page, monkeypatch)
    green = torch.tensor([0.0, 1.0, 0.0]).expand(400, 3)
    subject.show_splat(subject.splat, green)

    def is_green() -> bool:
        painted = browser.pictures[-1][0][HEIGHT // 2, WIDTH // 2].astype(int)
        return bool(painted[1] > painted[0] + 50)

    until(lambda: bool(browser.pictures) and is_green())
    subject.show_splat(subject.splat.rows(torch.arange(200)))
    expected = render_rgb8(subject.splat, page.context.camera_of(browser), 1000)
    until(lambda: np.array_equal(browser.pictures[-1][0], expected))


def test_hiding_the_splat_shows_the_background(page_of, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = a_subject()
    _, page = page_of(subject)
    browser = Onlooker(page, monkeypatch)
    subject.layers["splat"].wanted = False
    until(lambda: bool(browser.pictures))
    until(lambda: len(np.unique(browser.pictures[-1][0].reshape(-1, 3), axis=0)) == 1)
    assert browser.pictures[-1][0][0, 0].tolist() == [51, 102, 153]
    assert not page._pictures.in_place


def test_stripes_mark_what_is_empty_and_overlays_lie_over_all(page_of, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = a_subject()
    _, page = page_of(subject)
    browser = Onlooker(page, monkeypatch)
    plain = render_rgb8(subject.splat, page.context.camera_of(browser), 1000).astype(int)
    page.panel("Scene")._mark_unseen(True)
    with torch.no_grad():
        alpha = render(subject.splat.gaussians, page.context.camera_of(browser)).alpha.numpy()

    def changed() -> np.ndarray:
        return np.abs(browser.pictures[-1][0] - plain).max(-1) > 2

    # Pictures of before may be on their way still.
    until(lambda: bool(browser.pictures) and changed()[alpha < 0.01].mean() > 0.2)
    assert not changed()[alpha > 0.99].any()
    left = np.zeros((HEIGHT, WIDTH), bool)
    left[:, :10] = True
    red = np.broadcast_to(np.array([255, 0, 0], np.uint8), (HEIGHT, WIDTH, 3))
    page.context.overlays.shown.append(SimpleNamespace(over=lambda view: (red, left)))
    assert page.context.overlays.sent_within(browser)
    until(lambda: "depth" in browser.pictures[-1][1] and bool((browser.pictures[-1][0][:, :10] == red[:, :10]).all()))
    picture, how = browser.pictures[-1]
    assert (how["depth"][:, :10] == np.float32(served_pictures.NEAR)).all()
    assert not (picture[:, 10:] == red[:, 10:]).all(-1).any()
