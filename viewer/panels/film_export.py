"""The film panel's export: a camera path's pictures to an MP4, on a thread of its own."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import viser

from ...render.camera_path import CameraPath
from ...scene.splat import Splat
from .. import markup, path_edit
from ..panel_context import Context
from ..subjects.splat_subject import SplatSubject
from ..worker import Worker


class FilmExport:
    """The export: a button, a bar, a way to stop, and a thread of its own, as films take minutes."""

    def __init__(self, context: Context, path: Callable[[], CameraPath | None]) -> None:
        self._context, self._path = context, path
        self._busy = threading.Lock()
        self._stop = threading.Event()

    def build(self) -> None:
        gui = self._context.server.gui
        self._button = gui.add_button("Export film", color="green", hint="MP4, drawn exactly by fewview's renderer.")
        self._button.on_click(lambda event: self._start(event.client))
        self._bar = gui.add_progress_bar(0.0, visible=False)
        self._cancel = gui.add_button("Cancel", visible=False)
        self._cancel.on_click(lambda _: self._stop.set())
        self._told = gui.add_html("")

    def _start(self, client: viser.ClientHandle | None) -> None:
        path, splat = self._path(), self._context.active.splat
        if client is None:
            return
        if path is None or splat is None:
            missing = "Add a key frame first." if path is None else "There is no splat to film yet."
            self._context.notify("Nothing to film", missing, client)
            return
        if not self._busy.acquire(blocking=False):
            return
        self._stop.clear()
        worker = Worker(lambda error: self._told_of(f"The film could not be made: {error}"))

        def job() -> None:
            try:
                self._make(path, splat, client)
            finally:
                self._set_running(False)
                self._busy.release()
                worker.close()

        self._set_running(True)
        worker.submit(job)

    def _make(self, path: CameraPath, splat: Splat, client: viser.ClientHandle) -> None:
        subject = self._context.active
        run = subject.run if isinstance(subject, SplatSubject) else None
        with tempfile.TemporaryDirectory(prefix="fewview-film-") as spare:
            file = path_edit.film_file(Path(spare) if run is None else run.path / "renders")
            try:
                path_edit.export_film(file, splat, path, self._progress, self._ended)
            except path_edit.Cancelled:
                self._told_of("Cancelled; nothing was written.")
                return
            self._told_of(f"The film is ready{'' if run is None else f': {file}'}")
            client.send_file_download(file.name, file.read_bytes(), save_immediately=True)

    def _ended(self) -> bool:
        return self._stop.is_set() or self._context.worker.closed

    def _progress(self, done: int, total: int) -> None:
        self._bar.value = 100 * done / total  # type: ignore[misc]  # viser's setter is overloaded
        self._told_of(f"picture {done + 1:,} of {total:,}")

    def _set_running(self, running: bool) -> None:
        self._button.disabled = running
        self._bar.visible = self._cancel.visible = running

    def _told_of(self, text: str) -> None:
        self._told.content = markup.small(text)
