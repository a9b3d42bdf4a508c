"""`Page`: subjects on a stage, the clock that moves them, and the panel that steers them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import viser

from ..scene.splat import BLACK, Color
from . import markup
from .clock import Clock, joined
from .movement import STILL_FLUENT_SECONDS, STILL_SECONDS, Movement
from .panel_context import Context
from .pilot import Pilot
from .served_pictures import ServedPictures
from .server import ViewerServer
from .shortcuts import Shortcuts
from .subjects.canvas import Canvas
from .subjects.splat_subject import SplatSubject
from .subjects.subject import Subject
from .worker import Worker

ACCENT = (36, 99, 235)
# In the order in which the header names them.
COUNTED = ("photographs", "sparse points", "Gaussians", "key frames", "faces", "vertices")


class Page:
    """One or more subjects on one server; every browser that connects sees the same layers from its own viewpoint."""

    def __init__(self, server: ViewerServer, subjects: Sequence[Subject]) -> None:
        stage = min((subject.own_stage() for subject in subjects), key=lambda found: found[0])[1]
        self.context = Context(
            server,
            list(subjects),
            next((subject for subject in subjects if subject.splat is not None), subjects[0]),
            stage,
            Clock(joined(subject.timeline for subject in subjects)),
            Pilot(server, stage.up.numpy().astype(float)),
            Worker(lambda error: self.context.notify("That did not work", str(error))),
            Shortcuts(server),
            self._add,
        )
        self._panels: dict[str, Any] = {}
        self._background: Color | None = None  # that browsers show
        self._movement = Movement(server, self._follow, on_step=self._follow_far)
        self._pictures = ServedPictures(self.context, self._set_pace)
        self._start_view()
        for i, subject in enumerate(subjects):
            self._put(subject, f"/{i}")
        self._pictures.decide()
        server.renderers.when_card(self._set_pace)
        self.context.pilot.on_move = self._movement.moved
        self._match_background()
        self._set_first_view()
        server.flush()  # the picture is on its way while the panel is made
        self._build_panel()

    def close(self) -> None:
        """Ends the page's own work; the server is the caller's."""
        self._movement.close()
        self.context.pilot.close()
        self.context.worker.close()

    def panel(self, title: str) -> Any:
        """The part of the panel whose tab has this title."""
        return self._panels[title]

    # -- inside -----------------------------------------------------------------------------------------------------

    def _put(self, subject: Subject, path: str) -> None:
        """Draw a subject, and let the clock move it: on the worker, where only the latest moment counts."""
        context = self.context

        def visit(index: int, client: viser.ClientHandle) -> None:
            context.visit(subject, index, client)

        def follow(moment: float) -> None:
            if context.clock.moves(subject.timeline):
                context.worker.submit(lambda: subject.show_moment(moment), replaces=f"{path}/moment")

        subject.draw(Canvas(context.server, context.stage, context.worker, path, self._redrawn, visit))
        context.clock.on_change(follow)

    def _add(self, subject: Subject) -> None:
        """Show one more subject, on the stage that there is."""
        subjects = self.context.subjects
        subjects.append(subject)
        self._put(subject, f"/{len(subjects) - 1}")
        self._pictures.decide()
        subject.on_change(self._set_header)
        self._set_header()

    def _redrawn(self) -> None:
        """Browsers see something else, other than by their cameras."""
        self._pictures.refresh()
        self._movement.again()

    def _set_pace(self) -> None:
        fluent = self._pictures.in_place or self.context.server.renderers.has_card
        self._movement.pace(STILL_FLUENT_SECONDS if fluent else STILL_SECONDS)

    def _follow(self, client: viser.ClientHandle, moving: bool) -> None:
        """A browser's camera begins to move or has come to rest."""
        if self._pictures.in_place:
            if not moving:
                self._pictures.rested(client)
            return

        def draw() -> None:
            for subject in self.context.of_kind(SplatSubject):
                if subject.drawn is None:
                    continue
                if moving:
                    subject.drawn.moves(client)
                else:
                    subject.drawn.rests(client)

        if not (moving and self.context.server.renderers.has_card):  # with one all is drawn at all times
            self.context.worker.submit(draw, replaces=f"/moving/{client.client_id}")

    def _follow_far(self, client: viser.ClientHandle) -> None:
        """A browser's camera is on its way: what it saw elsewhere may not do any more."""
        if self._pictures.in_place:
            self._pictures.moved(client)
            return
        for subject in self.context.of_kind(SplatSubject):
            if subject.drawn is not None and subject.drawn.is_astray(client):
                self.context.worker.submit(
                    functools.partial(subject.drawn.drop_colors, client), replaces=f"/astray/{client.client_id}"
                )

    def _start_view(self) -> None:
        server = self.context.server
        server.scene.set_up_direction(self.context.pilot.up)
        # No lights or pictures from elsewhere: the page must work without a network.
        server.scene.configure_environment_map(None)
        server.gui.configure_theme(control_width="large", show_logo=False, show_share_button=False, brand_color=ACCENT)
        if hasattr(server.gui, "main_panel"):  # older releases know floating only
            server.gui.main_panel.dock_right()  # beside the canvas: a panel over it would hide half of the scene

    def _set_first_view(self) -> None:
        context, start = self.context, self.context.server.initial_camera
        view = context.first_view()
        context.active.look_from(view, context.stage)
        start.position, start.look_at, start.up, start.fov = view.position, view.look_at, context.pilot.up, view.fov_rad
        for client in context.server.get_clients().values():  # a browser that was here before the scene
            context.pilot.place(client, view)

    def _match_background(self) -> None:
        """Show the background of the active splat, where it is another one."""
        splat = self.context.active.splat
        background = BLACK if splat is None else splat.background
        if background != self._background:
            self._background = background
            self.context.show_background()
            self._redrawn()

    def _build_panel(self) -> None:
        from .panels import PANELS  # what it imports takes time that nobody waits for once the picture is there

        context, gui = self.context, self.context.server.gui
        self._header = gui.add_html("")
        self._set_header()
        tabs = gui.add_tab_group()
        for title, panel in PANELS:
            if panel.wanted(context):
                with tabs.add_tab(title):
                    self._panels[title] = panel(context)
        keys = context.shortcuts
        keys.add("List the keys", "H", lambda client: context.notify("Keys", " · ".join(keys.told), client))
        for note in dict.fromkeys(note for subject in context.subjects for note in subject.notes):
            gui.add_html(markup.small(note))
        for subject in context.subjects:
            subject.on_change(self._set_header)
        context.active.on_change(self._match_background)

    def _set_header(self) -> None:
        subjects = self.context.subjects
        title = subjects[0].title if len(subjects) == 1 else f"{subjects[0].title} and {len(subjects) - 1} more"
        self._header.content = markup.header(title, _facts(subjects))


def _facts(subjects: list[Subject]) -> list[str]:
    facts = [subject.facts() for subject in subjects]
    counts = [(sum(found.counts.get(what, 0) for found in facts), what) for what in COUNTED]
    counted = [f"{count:,} {what if count > 1 else what.removesuffix('s')}" for count, what in counts if count]
    return [*counted, *(words for found in facts for words in found.words)]
