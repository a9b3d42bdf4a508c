"""The tools that make a film of a dragged splat: its handles kept at several times, played and saved."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import viser

from ...scene.errors import BadInputError, FewviewError
from ...scene.splat import MovingSplat
from .. import markup
from ..drag_session import DragSession, Kept
from .edit_workbench import Workbench

FRAME_SECONDS = 1 / 10  # between two moments while it plays
HINT = "Lead the handles on and keep them again at a later second; the scene moves from each key frame to the next."


class DragFilm:
    """Keeps the handles of a drag as key frames, plays what moves between them, and saves it as a run."""

    def __init__(self, bench: Workbench, session: Callable[[], DragSession | None], show: Callable[[], None]) -> None:
        """`session` gives the present drag, `show` brings the page up to date with it."""
        self._bench, self._context, self._session, self._show = bench, bench.context, session, show
        self._playing = threading.Event()
        self._film: tuple[tuple[Kept, ...], str, MovingSplat] | None = None  # the last one, and what it was made of
        gui = bench.context.server.gui
        self._second = gui.add_number("At second", 0.0, min=0.0, step=0.1, visible=False)
        self._keep = gui.add_button("Keep as a key frame", hint=HINT, visible=False)
        self._keep.on_click(lambda _: bench.attempt(self._keep_key))
        self._told = gui.add_html("", visible=False)
        self._play = gui.add_button("Play the film", visible=False)
        self._play.on_click(lambda _: self._toggle())
        self._name = gui.add_text("Name of the film", "film", visible=False)
        self._save = gui.add_button("Save the film", hint="As a run beside this one; it moves.", visible=False)
        self._save.on_click(lambda event: bench.attempt(lambda: self._save_film(event.client)))

    def show_controls(self) -> None:
        """Show what the present drag allows."""
        session = self._session()
        keys = () if session is None else session.keys
        self._second.visible = self._keep.visible = session is not None
        self._told.visible = self._play.visible = len(keys) > 0
        self._play.disabled = self._save.disabled = len(keys) < 2
        self._name.visible = self._save.visible = len(keys) > 0 and self._bench.session.can_save
        times = ", ".join(f"{key.time_s:g}" for key in keys)
        more = "; a second one makes a film" if len(keys) == 1 else ""
        self._told.content = markup.small(f"Key frames at {times} s{more}")

    def stop(self) -> None:
        """End the film that plays."""
        self._playing.clear()

    def _keep_key(self) -> None:
        session = self._session()
        if session is None:
            return
        time_s = float(self._second.value)
        session.keep(time_s)
        self._second.value = time_s + 1  # type: ignore[misc]  # viser's setter is overloaded
        self._show()

    def _made(self) -> MovingSplat | None:
        session = self._session()
        if session is None:
            return None
        if self._film is None or self._film[0] is not session.keys or self._film[1] != session.mode:
            self._film = session.keys, session.mode, session.film()[0]
        return self._film[2]

    # -- playing ----------------------------------------------------------------------------------------------------

    def _toggle(self) -> None:
        """Play the film once, or stop it. The button's own thread keeps the time, the worker draws."""
        if self._playing.is_set():
            self.stop()
            return
        self._playing.set()
        self._play.label = "Stop the film"
        try:
            film = self._made()
            if film is not None:
                self._play_through(film)
        except FewviewError as error:
            self._context.notify("Not done", str(error))
        finally:
            self.stop()
            self._play.label = "Play the film"
            self._context.worker.submit(self._show)

    def _play_through(self, film: MovingSplat) -> None:
        first, last = film.motion.time_range_s
        begin = time.monotonic()
        while self._playing.is_set() and not self._context.worker.closed:
            now = first + time.monotonic() - begin
            self._context.worker.submit(partial(self._draw, film, min(now, last)), replaces="drag/film")
            if now >= last:
                return
            time.sleep(FRAME_SECONDS)

    def _draw(self, film: MovingSplat, time_s: float) -> None:
        drawn = self._bench.subject.drawn
        if drawn is not None and self._session() is not None:
            drawn.show(film.still(time_s))

    # -- saving -----------------------------------------------------------------------------------------------------

    def _save_film(self, client: viser.ClientHandle | None) -> None:
        film, name = self._made(), self._name.value.strip()
        if film is None:
            return
        if Path(name).suffix:
            raise BadInputError(f"{name} has an ending; a film is saved as a run, a folder with a plain name.")
        path, _ = self._bench.session.of(film).save(name)
        self._context.notify("Saved", f"{path}.", client)
