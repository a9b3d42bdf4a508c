"""The live viewer as the trainer sees it, without a browser."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from fewview.scene.formats import load_splat, splat_ply
from fewview.scene.gaussians import Gaussians
from fewview.scene.splat import StaticSplat
from fewview.viewer.curves import MAX_POINTS, Curve
from fewview.viewer.live_viewer import LiveViewer
from fewview.viewer.panel_context import Context
from support.browser import until
from support.small_run import small_capture, small_gaussians
from support.small_splats import LAST_S, moving_splat, small_splat, timed_capture


def somebody_looks(live, monkeypatch):
    """As if a browser were connected, which notices are not sent to."""
    monkeypatch.setattr(live._server, "get_clients", lambda: {0: None})
    monkeypatch.setattr(Context, "notify", lambda *_: None)


def test_nothing_is_copied_while_nobody_looks():
    with LiveViewer(small_capture(), port=0, seconds_between=0.0) as live:
        asked = []
        assert not live.update(lambda: asked.append(1), 1, {"loss": 0.5})
        assert asked == []


def test_live_viewer_drops_what_comes_too_fast_and_copies_what_it_takes(monkeypatch):
    with LiveViewer(small_capture(), port=0, seconds_between=30.0) as live:
        somebody_looks(live, monkeypatch)
        gaussians = small_gaussians()
        gaussians = Gaussians(*(t.requires_grad_() for t in vars(gaussians).values()))
        taken = [live.update(lambda: StaticSplat(gaussians), step, {}) for step in range(20)]
        assert taken == [True] + [False] * 19
        with torch.no_grad():
            gaussians.means.fill_(float("nan"))
        until(lambda: live._subject.splat is not None)
        assert torch.isfinite(live._subject.splat.gaussians.means).all()


def test_live_viewer_failure_is_told_once_and_kept_away(capsys, monkeypatch):
    with LiveViewer(small_capture(), port=0, seconds_between=0.0) as live:
        somebody_looks(live, monkeypatch)

        def broken(_):
            raise RuntimeError("no more colours")

        monkeypatch.setattr(live._subject, "show_splat", broken)
        assert live.update(small_splat, 1, {})
        until(lambda: live._broken)
        assert not live.update(small_splat, 2, {})
    assert "Training goes on" in capsys.readouterr().err


def test_live_viewer_takes_another_port_when_its_own_is_taken():
    with LiveViewer(small_capture(), port=0) as first:
        port = first._server.get_port()
        with LiveViewer(small_capture(), port=port) as second:
            assert second._server.get_port() != port


def test_pause_and_stop_end_together():
    with LiveViewer(small_capture(), port=0) as live:
        live.wait_while_paused()  # not paused: returns
        live._toggle_pause()
        waiting = threading.Thread(target=live.wait_while_paused)
        waiting.start()
        assert waiting.is_alive()
        live.close()
        waiting.join(timeout=10)
        assert not waiting.is_alive()


def test_save_while_training_writes_the_next_state(tmp_path, monkeypatch):
    with LiveViewer(small_capture(), port=0, seconds_between=60.0, save_to=tmp_path) as live:
        somebody_looks(live, monkeypatch)
        assert live.update(small_splat, 1, {})
        assert not live.update(small_splat, 2, {})  # too soon
        until(lambda: live._latest is not None)
        live._ask_for_save()
        assert live.update(lambda: StaticSplat(small_gaussians(seed=3)), 3, {})  # at once, as somebody waits for it
        until(lambda: (tmp_path / "splat_step_3.ply").is_file())
    saved = load_splat(tmp_path / "splat_step_3.ply")
    torch.testing.assert_close(saved.gaussians.means, small_gaussians(seed=3).means)
    # The trainer says what is up only at its end, so it is the cameras'; in the file it is -y, exactly.
    assert saved.up == pytest.approx((0.0, -1.0, 0.0), abs=0.02)
    assert splat_ply.read(tmp_path / "splat_step_3.ply").up == (0.0, -1.0, 0.0)


def test_save_while_paused_writes_what_is_shown(tmp_path, monkeypatch):
    with LiveViewer(small_capture(), port=0, seconds_between=0.0, save_to=tmp_path) as live:
        somebody_looks(live, monkeypatch)
        assert live.update(small_splat, 7, {})
        until(lambda: live._latest is not None)
        live._toggle_pause()
        live._ask_for_save()
        until(lambda: (tmp_path / "splat_step_7.ply").is_file())


def test_transparent_photographs_are_shown_and_measured_over_the_colour_that_is_trained_over(monkeypatch):
    white = (1.0, 1.0, 1.0)
    clear = replace(small_capture(), points=None, test=None)
    frames = tuple(replace(f, load=lambda: np.zeros((64, 96, 4), np.uint8)) for f in clear.frames)
    nothing = small_gaussians()
    nothing = replace(nothing, opacity_logits=torch.full_like(nothing.opacity_logits, -20.0))
    with LiveViewer(replace(clear, frames=frames), port=0, seconds_between=0.0) as live:
        somebody_looks(live, monkeypatch)
        shown = []
        scene = live._server.scene
        monkeypatch.setattr(scene, "set_background_image", lambda image, **_: shown.append(image[0, 0].tolist()))
        live.update(lambda: StaticSplat(nothing, antialiased=True, background=white), 1, {})
        until(lambda: "PSNR" in live._status.content)
        assert shown == [[255, 255, 255]]
        assert live._subject.splat.antialiased
        assert live._subject.photographs.background == white
        # An invisible splat over white is what the invisible photographs over white are: no error at all.
        assert "inf dB" in live._status.content
        live._subject.show_splat(StaticSplat(nothing, background=white))
        assert shown == [[255, 255, 255]]  # the same colour is not sent again


def test_a_splat_in_training_may_move(monkeypatch):
    with LiveViewer(timed_capture(), port=0, seconds_between=0.0) as live:
        somebody_looks(live, monkeypatch)
        splat = moving_splat()
        live.update(lambda: splat, 1, {})
        until(lambda: live._subject.splat is not None)
        splat.motion.means.fill_(float("nan"))  # the trainer goes on
        live._page.context.clock.go_to(LAST_S)
        until(lambda: live._subject.drawn.time_s == LAST_S)
        expected = moving_splat().at(LAST_S).means
        assert torch.equal(live._subject.drawn.gaussians.means, expected)


def test_a_curve_keeps_its_shape_and_its_size():
    curve = Curve()
    for step in range(100_000):
        curve.add(step, 2.0 * step + 1.0)
    steps, values = curve.points()
    assert MAX_POINTS <= len(steps) <= 2 * MAX_POINTS
    np.testing.assert_allclose(values, 2 * steps + 1)  # means of a straight line lie on it
    assert steps[0] < 1000
    assert steps[-1] > 99_000


def test_a_short_curve_is_exact():
    curve = Curve()
    for step, value in ((1, 0.5), (2, 0.25)):
        curve.add(step, value)
    assert [list(a) for a in curve.points()] == [[1.0, 2.0], [0.5, 0.25]]
