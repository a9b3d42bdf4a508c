"""`Workbench`: what the editing tools share: the splat under edits, the canvas, and clicks on the splat."""

from __future__ import annotations

from collections.abc import Callable

import torch
import viser
from torch import Tensor

from ...scene.errors import FewviewError
from ..edit_session import Session
from ..kept_edits import keep_edits
from ..layers.splat_layer import view_colors
from ..panel_context import Context
from ..pointer import Pointer
from ..subjects.splat_subject import SplatSubject

MARK_SIZE = 0.05  # of a picked point, page units


class Workbench:
    """One subject's splat and the session on it, which begins anew when the splat comes from elsewhere."""

    def __init__(self, context: Context, subject: SplatSubject, show: Callable[[], None]) -> None:
        """`show` brings the page up to date after a job."""
        self.context, self.subject = context, subject
        self.pointer = Pointer(context.server)
        self._show = show
        self.begin()

    def begin(self) -> None:
        """A new session on the splat as it is now."""
        splat, subject = self.subject.splat, self.subject
        assert splat is not None
        self._session = Session(
            splat, lambda g: view_colors(g, subject.cameras), splat_path=subject.splat_path, run=subject.run
        )

        self._kept_alive, self._kept_frame = self._session.editor.alive, self._session.editor.similarity

    def _keep(self) -> None:
        """Puts what was edited on disk, where it has changed: a page that closes must not lose it."""
        editor = self._session.editor
        if self.subject.splat_path is None:
            return
        if torch.equal(editor.alive, self._kept_alive) and editor.similarity is self._kept_frame:
            return
        self._kept_alive, self._kept_frame = editor.alive, editor.similarity
        keep_edits(self.subject.splat_path, editor)

    @property
    def session(self) -> Session:
        """The present session, at the moment that the page shows."""
        if self.subject.drawn is not None:
            self._session.look_at(self.subject.drawn.time_s)
        return self._session

    def do(self, job: Callable[[], object]) -> None:
        """Run a job on the session soon, then show what came of it."""

        def then_show() -> None:
            job()
            self._show()
            self._keep()

        self.attempt(then_show)

    def attempt(self, job: Callable[[], object], replaces: str | None = None) -> None:
        """Run a job soon; what cannot be done is told. One that waits under the same name `replaces` is dropped."""

        def run() -> None:
            try:
                job()
            except FewviewError as error:
                self.context.notify("Not done", str(error))

        self.context.worker.submit(run, replaces=replaces)

    def collect(
        self,
        count: int,
        client: viser.ClientHandle | None,
        say: Callable[[str], None],
        done: Callable[[Tensor, Tensor], object],  # of points [count, 3] and the viewer's place [3] in the world
    ) -> None:
        """The next clicks pick points on the splat, with `say` for what to do; the last one hands them over."""
        if client is None:
            return
        points: list[Tensor] = []
        context, stage = self.context, self.context.stage

        def clicked(event: viser.SceneClickEvent) -> None:
            origin, direction = stage.world(torch.tensor(event.ray_origin)), torch.tensor(event.ray_direction)
            context.worker.submit(lambda: take(origin, direction, event.client))

        def take(origin: Tensor, direction: Tensor, who: viser.ClientHandle) -> None:
            if len(points) == count:  # a click too many, made while the last one was worked on
                return
            point = self.session.pick(origin, direction)
            if point is None:
                context.notify("Nothing there", "The click met no Gaussian; click on the splat.", who)
                return
            points.append(point)
            self.pointer.mark(stage.place(torch.stack(points)), MARK_SIZE)
            say(f"{len(points)} of {count} points" if len(points) < count else "")
            if len(points) == count:
                self.pointer.release()
                self.do(lambda: done(torch.stack(points), origin))

        self.pointer.clicks("points", clicked)
        say("Click a point on the splat." if count == 1 else f"Click {count} points on the splat.")
