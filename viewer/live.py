"""`LiveViewer`: looking at a splat while it is being trained, without slowing or endangering the training."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Mapping

from ..scene.capture import Capture
from ..scene.gaussians import Gaussians
from . import markup
from .app import DEFAULT_PORT, how_to_open, serve
from .server import port_problem
from .target import Shown

SHARE_OF_TIME = 0.1  # of the wall clock that the page's updates may take


class LiveViewer:
    """A page that the trainer feeds.

    `update` costs a copy of the Gaussians at most every few seconds and nothing in between; the page is brought up
    to date by a thread of its own. Whatever goes wrong there is printed once and never reaches the trainer.
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
    ) -> None:
        # A port that is taken must not end a run that has begun: the address is printed, so any other will do.
        port = 0 if port_problem(host, port) else port
        self._server, self._page = serve(Shown(title, capture=capture), host=host, port=port, token=token)
        self._seconds_between = seconds_between
        self._not_before = 0.0
        self._waiting: queue.Queue[tuple[Gaussians, int, dict[str, float | int | str]] | None] = queue.Queue(1)
        self._running = threading.Event()
        self._running.set()
        self._stop = threading.Event()
        self._broken = False
        self._build_controls()
        self._worker = threading.Thread(target=self._work, daemon=True)
        self._worker.start()
        print(how_to_open(self._server), flush=True)

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def stop_requested(self) -> bool:
        """Whether somebody pressed "Stop and keep" on the page."""
        return self._stop.is_set()

    def wait_while_paused(self) -> None:
        """Blocks while the page says "Pause"; stop and close end the pause."""
        self._running.wait()

    def update(self, gaussians: Gaussians, step: int, figures: Mapping[str, float | int | str] = {}) -> bool:
        """Offer the state after `step`; False when it was dropped because the page had enough or was still busy."""
        if self._broken or time.monotonic() < self._not_before or self._waiting.full():
            return False
        self._not_before = time.monotonic() + self._seconds_between
        snapshot = Gaussians(*(t.detach().cpu().clone() for t in vars(gaussians).values()))
        try:
            self._waiting.put_nowait((snapshot, step, dict(figures)))
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

    def _build_controls(self) -> None:
        gui = self._server.gui
        with gui.add_folder("Training", order=0.5):
            self._status = gui.add_html(markup.figures({"waiting for the first step": ""}))
            self._pause = gui.add_button("Pause")
            self._pause.on_click(lambda _: self._toggle_pause())
            stop = gui.add_button("Stop and keep", hint="End the training now and keep the splat as it is.")

            @stop.on_click
            def _(_: object) -> None:
                self._stop.set()
                self._running.set()
                stop.disabled = self._pause.disabled = True
                stop.label = "Stopping after this step"

    def _toggle_pause(self) -> None:
        if self._running.is_set():
            self._running.clear()
            self._pause.label = "Continue"
        else:
            self._running.set()
            self._pause.label = "Pause"

    def _work(self) -> None:
        while (item := self._waiting.get()) is not None:
            started = time.monotonic()
            try:
                gaussians, step, figures = item
                self._page.set_splat(gaussians)
                self._status.content = markup.figures({"step": step, **figures})
            except Exception as error:  # a picture for people must never end a run of hours
                self._broken = True
                print(f"The live viewer stopped: {error}. Training goes on.", file=sys.stderr)
            took = time.monotonic() - started
            self._not_before = max(self._not_before, time.monotonic() + took * (1 / SHARE_OF_TIME - 1))
