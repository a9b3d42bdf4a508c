"""`LiveViewer`: looking at a splat while it is being trained, without slowing or endangering the training."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import viser.uplot
from torch import Tensor

from ..render.aim import world_up
from ..render.metrics import psnr
from ..scene.capture import Capture
from ..scene.errors import FewviewError
from ..scene.formats import save_splat
from ..scene.gaussians import Gaussians
from ..scene.one_moment import one_moment
from ..scene.splat import MovingSplat, Splat
from . import markup
from .app import DEFAULT_PORT, how_to_open, serve
from .curves import Curve
from .guard import chosen_token
from .pictures import render_rgb8, resize_to, thumbnail
from .server import port_problem
from .subjects.splat_subject import SplatSubject

SHARE_OF_TIME = 0.03  # of the wall clock that the page's updates may take
MEASURED_PX = 320  # longer side of the picture whose PSNR is followed
LINE = "rgb(36, 99, 235)"


@dataclass(frozen=True)
class _State:
    splat: Splat
    step: int
    figures: dict[str, float | int | str]


class LiveViewer:
    """A page that the trainer feeds.

    `update` costs a copy of the splat every few seconds while a browser is looking, and nothing otherwise; the
    page is brought up to date by a thread of its own. Whatever goes wrong there is printed once and never reaches the
    trainer.
    """

    def __init__(
        self,
        capture: Capture,
        *,
        host: str = "127.0.0.1",
        port: int = DEFAULT_PORT,
        token: str | None = None,
        seconds_between: float = 3.0,
        title: str = "Training",
        save_to: Path | None = None,
    ) -> None:
        # A port that is taken must not end a run that has begun: the address is printed, so any other will do.
        port = 0 if port_problem(host, port) else port
        self._capture, self._subject = capture, SplatSubject(title, None, capture)
        self._server, self._page = serve(self._subject, host=host, port=port, token=chosen_token(token))
        assert self._subject.drawn is not None
        self._subject.drawn.follows_cameras = False  # the training needs the processor
        self._seconds_between, self._save_to = seconds_between, save_to
        self._not_before = 0.0
        self._waiting: queue.Queue[_State | None] = queue.Queue(1)
        self._latest: _State | None = None
        self._running = threading.Event()
        self._running.set()
        self._stop, self._wants_save = threading.Event(), threading.Event()
        self._broken = False
        self._loss, self._psnr = Curve(), Curve()
        self._measured_view = _measured_view(capture)
        self._build_controls()
        self._worker = threading.Thread(target=self._work, daemon=True)
        self._worker.start()
        print(how_to_open(self._server), flush=True)

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def stop_requested(self) -> bool:
        """True once somebody has pressed "Stop and keep" on the page."""
        return self._stop.is_set()

    def wait_while_paused(self) -> None:
        """Blocks while the page says "Pause"; stop and close end the pause."""
        self._running.wait()

    def update(self, splat: Callable[[], Splat], step: int, figures: Mapping[str, float | int | str] = {}) -> bool:
        """Offer the state after `step`; False when it was not taken, as nobody looks or the page had enough.

        `splat` is called only when it is taken. It says how it is to be drawn: over which background, with which
        filter, and when.
        """
        if self._broken:
            return False
        if isinstance(loss := figures.get("loss"), float):
            self._loss.add(step, loss)
        if not self._wants_save.is_set():
            rests = time.monotonic() < self._not_before or self._waiting.full()
            if rests or not self._server.get_clients():
                return False
        self._not_before = time.monotonic() + self._seconds_between
        try:
            self._waiting.put_nowait(_State(_copy(splat()), step, dict(figures)))
        except queue.Full:
            return False
        return True

    def close(self) -> None:
        """Shut the page; open browsers say that the connection was lost."""
        self._broken = True  # no more updates
        self._running.set()
        if not self._worker.is_alive():
            return
        self._waiting.put(None)
        self._worker.join()
        self._page.close()
        self._server.stop()

    def __enter__(self) -> LiveViewer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- controls ---------------------------------------------------------------------------------------------------

    def _build_controls(self) -> None:
        gui = self._server.gui
        with gui.add_folder("Training", order=0.5):
            self._status = gui.add_html(markup.figures({"waiting for the first step": ""}))
            self._pause = gui.add_button("Pause")
            self._pause.on_click(lambda _: self._toggle_pause())
            if self._save_to is not None:
                save = gui.add_button("Save the splat as it is", hint="Write a copy into the run and train on.")
                save.on_click(lambda _: self._ask_for_save())
            self._stop_button = gui.add_button("Stop and keep", hint="End the training and keep the splat.")
            self._stop_button.on_click(lambda _: self._ask_for_stop())
            with gui.add_folder("Curves", expand_by_default=True):
                self._loss_chart = _chart(gui, "loss")
                self._psnr_chart = None if self._measured_view is None else _chart(gui, "PSNR, dB")

    def _toggle_pause(self) -> None:
        if self._running.is_set():
            self._running.clear()
            self._pause.label = "Continue"
        else:
            self._running.set()
            self._pause.label = "Pause"

    def _ask_for_stop(self) -> None:
        self._stop.set()
        self._running.set()
        self._stop_button.disabled = self._pause.disabled = True
        self._stop_button.label = "Stopping after this step"

    def _ask_for_save(self) -> None:
        if not self._running.is_set() and self._latest is not None:
            self._page.context.worker.submit(self._save_latest)  # paused: no step will bring a newer one
        else:
            self._wants_save.set()

    # -- the page's own thread --------------------------------------------------------------------------------------

    def _work(self) -> None:
        while (state := self._waiting.get()) is not None:
            started = time.monotonic()
            try:
                self._show(state)
            except Exception as error:  # a picture for people must never end a run of hours
                self._broken = True
                print(f"The live viewer stopped: {error}. Training goes on.", file=sys.stderr)
            took = time.monotonic() - started
            self._not_before = max(self._not_before, time.monotonic() + took * (1 / SHARE_OF_TIME - 1))

    def _show(self, state: _State) -> None:
        self._latest = state
        if self._wants_save.is_set():
            self._wants_save.clear()
            self._save_latest()
        self._subject.show_splat(state.splat)
        told: dict[str, float | int | str] = {"step": state.step, **state.figures}
        if self._measured_view is not None:
            index, what = self._measured_view
            figure = self._measure(state.splat, index)
            self._psnr.add(state.step, figure)
            told[f"PSNR of {what}"] = f"{figure:.2f} dB"
        self._status.content = markup.figures(told)
        for chart, curve in ((self._loss_chart, self._loss), (self._psnr_chart, self._psnr)):
            points = curve.points()
            if chart is not None and len(points[0]) >= 2:
                chart.data = points

    def _measure(self, splat: Splat, index: int) -> float:
        """PSNR in dB of a photograph, at its own moment, over the background that is trained over."""
        capture = self._capture
        assert capture.cameras is not None
        rendering = render_rgb8(splat, capture.cameras[index], MEASURED_PX, capture.frames[index].time_s)
        photo = thumbnail(capture, index, MEASURED_PX, splat.background)
        photo = resize_to(photo, rendering.shape[1], rendering.shape[0])
        return psnr(*(torch.from_numpy(p).float() / 255 for p in (rendering, photo)))

    def _save_latest(self) -> None:
        state = self._latest
        if state is None or self._save_to is None:
            return
        still, lost = one_moment(state.splat, None if self._subject.drawn is None else self._subject.drawn.time_s)
        if still.up is None and self._capture.cameras is not None:  # the trainer says it only at its end
            still = replace(still, up=world_up(self._capture.cameras))
        path = self._save_to / f"splat_step_{state.step}.ply"
        try:
            save_splat(path, still)
        except (FewviewError, OSError) as error:
            self._page.context.notify("The splat could not be saved", str(error))
        else:
            self._page.context.notify("Saved", " ".join((f"{path.name}.", *lost)))


def _copy(splat: Splat) -> Splat:
    """The splat in tensors of its own on the CPU: the trainer goes on changing its in place."""
    gaussians = Gaussians(*(_own(t) for t in vars(splat.gaussians).values()))
    if not isinstance(splat, MovingSplat):
        return replace(splat, gaussians=gaussians)
    motion = type(splat.motion).from_tensors({k: _own(t) for k, t in splat.motion.tensors().items()}, len(splat))
    return replace(splat, gaussians=gaussians, motion=motion)


def _own(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().clone()


def _measured_view(capture: Capture) -> tuple[int, str] | None:
    """(photograph whose PSNR is followed, what it is): the first that is held out, else the first."""
    if capture.cameras is None or len(capture) == 0:
        return None
    if capture.test:
        return capture.test[0], f"{capture.names[capture.test[0]]}, held out"
    return 0, capture.names[0]


def _chart(gui: viser.GuiApi, name: str) -> viser.GuiUplotHandle:
    return gui.add_uplot(
        (np.array([0.0, 1.0]), np.array([np.nan, np.nan])),
        (viser.uplot.Series(label="step"), viser.uplot.Series(label=name, stroke=LINE, width=2)),
        scales={"x": viser.uplot.Scale(time=False, auto=True), "y": viser.uplot.Scale(auto=True)},
        height=130,
    )
