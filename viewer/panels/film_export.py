"""The film panel's export: a camera path's pictures to an MP4, on a thread of its own."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import viser

from ...render.camera_path import CameraPath
from .. import markup, path_edit
from ..worker import Worker

if TYPE_CHECKING:
    from ..page import Page


class FilmExport:
    """The export: a button, a bar, a way to stop, and a thread of its own, as films take minutes."""

    def __init__(self, page: Page, path: Callable[[], CameraPath | None]) -> None:
        self._page, self._path = page, path
        self._busy = threading.Lock()
        self._stop = threading.Event()

    def build(self) -> None:
        gui = self._page.server.gui
        self._button = gui.add_button("Export film", color="green", hint="MP4, drawn exactly by fewview's renderer.")
        self._button.on_click(lambda event: self._start(event.client))
        self._bar = gui.add_progress_bar(0.0, visible=False)
        self._cancel = gui.add_button("Cancel", visible=False)
        self._cancel.on_click(lambda _: self._stop.set())
        self._told = gui.add_html("")

    def _start(self, client: viser.ClientHandle | None) -> None:
        path, gaussians = self._path(), self._page.active.gaussians
        if client is None:
            return
        if path is None or gaussians is None:
            missing = "Add a key frame first." if path is None else "There is no splat to film yet."
            self._page.tell("Nothing to film", missing, client)
            return
        if not self._busy.acquire(blocking=False):
            return
        self._stop.clear()
        worker = Worker(lambda error: self._told_of(f"The film could not be made: {error}"))

        def job() -> None:
            try:
                self._make(path, client)
            finally:
                self._set_running(False)
                self._busy.release()
                worker.close()

        self._set_running(True)
        worker.submit(job)

    def _make(self, path: CameraPath, client: viser.ClientHandle) -> None:
        item = self._page.active
        gaussians, shown = item.gaussians, item.shown
        assert gaussians is not None
        with tempfile.TemporaryDirectory(prefix="fewview-film-") as spare:
            folder = Path(spare) if shown.run is None else shown.run.path / "renders"
            file = path_edit.film_file(folder)
            try:
                path_edit.export_film(
                    file, gaussians.detach(), path, shown.background, shown.antialiased, self._progress, self._ended
                )
            except path_edit.Cancelled:
                self._told_of("Cancelled; nothing was written.")
                return
            self._told_of(f"The film is ready{'' if shown.run is None else f': {file}'}")
            client.send_file_download(file.name, file.read_bytes(), save_immediately=True)

    def _ended(self) -> bool:
        return self._stop.is_set() or self._page.worker.closed

    def _progress(self, done: int, total: int) -> None:
        self._bar.value = 100 * done / total  # type: ignore[misc]  # viser's setter is overloaded
        self._told_of(f"picture {done + 1:,} of {total:,}")

    def _set_running(self, running: bool) -> None:
        self._button.disabled = running
        self._bar.visible = self._cancel.visible = running

    def _told_of(self, text: str) -> None:
        self._told.content = markup.small(text)
