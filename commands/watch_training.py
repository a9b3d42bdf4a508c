"""Training that can be watched, paused and stopped in the browser."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from ..recon.optimise.contract import Model
from ..recon.optimise.normalised_frame import world_from_normalised
from ..scene.readers import load_run_capture
from ..scene.run import Run
from ..viewer.app import DEFAULT_PORT
from ..viewer.live_viewer import LiveViewer


class Watcher:
    """A callback of the trainer that opens the page at the first step, when the cameras are known."""

    def __init__(self, folder: Path, port: int = DEFAULT_PORT) -> None:
        self._folder, self._port = folder, port
        self._page: LiveViewer | None = None

    def __call__(self, step: int, model: Model, figures: Mapping[str, float | int]) -> None:
        if self._page is None:
            capture = load_run_capture(Run.open(self._folder))
            assert capture.cameras is not None  # a run always has some
            held_out = set(capture.test or ())
            training_views = [i for i in range(len(capture)) if i not in held_out]
            self._world_from_normalised = world_from_normalised(capture.cameras[training_views])
            self._page = LiveViewer(capture, port=self._port, save_to=self._folder, title=self._folder.name)
        self._page.update(lambda: model.result().moved(self._world_from_normalised), step, figures)
        self._page.wait_while_paused()
        if self._page.stop_requested:
            signal.raise_signal(signal.SIGINT)  # the trainer's own way to stop: it ends after this step

    @property
    def stopped(self) -> bool:
        """True once "Stop and keep" was pressed."""
        return self._page is not None and self._page.stop_requested

    def __enter__(self) -> Watcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._page is not None:
            self._page.close()
