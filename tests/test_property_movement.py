"""A page without a graphics card draws less while its camera moves, and all again when it rests."""

from __future__ import annotations

from pathlib import Path

import pytest
from fewview.scene.formats import save_splat
from fewview.scene.splat import StaticSplat
from fewview.viewer.app import serve
from fewview.viewer.movement import Movement
from fewview.viewer.server import ViewerServer
from fewview.viewer.subjects import drawn_splat
from fewview.viewer.subjects.loader import load_subject
from support.browser import until
from support.small_run import small_gaussians


def test_it_tells_of_the_first_movement_and_of_the_rest() -> None:
    server = ViewerServer("127.0.0.1", 0, "test")
    told: list[bool] = []
    try:
        movement = Movement(server, told.append, still_s=0.2)
        for _ in range(3):
            movement.moved()
        assert told == [True]
        until(lambda: told == [True, False])
        movement.moved()
        movement.close()
        assert told == [True, False, True, False]
        movement.moved()
        assert told == [True, False, True, False]
    finally:
        server.stop()


def test_a_graphics_card_ends_it() -> None:
    server = ViewerServer("127.0.0.1", 0, "test")
    told: list[bool] = []
    try:
        movement = Movement(server, told.append, still_s=60)
        movement.moved()
        for then in server.renderers._waiting:
            then()
        movement.moved()
        assert told == [True, False]
    finally:
        server.stop()


def test_the_page_draws_less_while_it_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawn_splat, "MOVING_GAUSSIANS", 100)
    counts: list[int] = []
    draw = drawn_splat.draw_splat
    monkeypatch.setattr(drawn_splat, "draw_splat", lambda *a: counts.append(len(a[2].centers)) or draw(*a))  # type: ignore[func-returns-value]
    save_splat(tmp_path / "a.ply", StaticSplat(small_gaussians()))
    server, page = serve(load_subject(tmp_path / "a.ply"), port=0)
    try:
        page._set_moving(True)
        until(lambda: len(counts) == 2)
        page._set_moving(False)
        until(lambda: len(counts) == 3)
        assert counts[0] == counts[2] > 300
        assert counts[1] == 100
        subject = page.context.subjects[0]
        assert len(subject.drawn.gaussians) == 400  # what is measured and edited stays whole
    finally:
        page.close()
        server.stop()
