"""`Context`: everything that the parts of the panel may use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import viser

from ..scene.cameras import Cameras
from ..scene.splat import BLACK
from .clock import Clock
from .overlays import Overlays
from .pictures import behind
from .pilot import Pilot
from .server import ViewerServer
from .shortcuts import Shortcuts
from .stage import Stage
from .subjects.subject import Subject
from .viewpoint import Viewpoint
from .worker import Worker

S = TypeVar("S", bound=Subject)


@dataclass
class Look:
    """Switches of how all is shown."""

    marks_unseen: bool = False  # stripes where the splat is empty, for its background's colour


@dataclass(frozen=True)
class Context:
    """The server, what is shown on it, and what moves it. Slow work goes to the worker."""

    server: ViewerServer
    subjects: list[Subject]
    active: Subject  # the first with a splat, else the first: what films, the first view and the background are of
    stage: Stage
    clock: Clock
    pilot: Pilot
    worker: Worker
    shortcuts: Shortcuts
    add: Callable[[Subject], None]  # show one more subject
    overlays: Overlays = field(default_factory=Overlays)
    look: Look = field(default_factory=Look)

    def of_kind(self, kind: type[S]) -> list[S]:
        """The subjects of a kind, the active one first."""
        order = sorted(self.subjects, key=lambda subject: subject is not self.active)
        return [subject for subject in order if isinstance(subject, kind)]

    def notify(self, title: str, body: str = "", client: viser.ClientHandle | None = None) -> None:
        """A short notice in one browser, or in all."""
        for who in [client] if client is not None else list(self.server.get_clients().values()):
            who.add_notification(title, body, auto_close_seconds=8.0)

    def first_view(self) -> Viewpoint:
        """The viewpoint of a browser to begin with."""
        return self.active.first_view(self.stage, self.pilot.up)

    def camera_of(self, client: viser.ClientHandle, height_px: int | None = None) -> Cameras:
        """The camera [] in the world through which a browser looks, at its own size or another height."""
        c = client.camera
        height = height_px or max(int(c.image_height), 1)
        return self.stage.camera(c.wxyz, c.position, c.fov, max(1, round(height * c.aspect)), height)

    def show_background(self, client: viser.ClientHandle | None = None) -> None:
        """The colour that the splat was trained over behind it, in one browser, or in all; stripes where it is asked.

        It shines through where the splat is thin: another looks like holes.
        """
        splat = self.active.splat
        color = BLACK if splat is None else splat.background
        scene = self.server.scene if client is None else client.scene
        scene.set_background_image(behind(color, self.look.marks_unseen), format="png")

    def visit(self, subject: Subject, index: int, client: viser.ClientHandle | None) -> None:
        """Fly to the camera of a photograph."""
        cameras = subject.cameras
        if cameras is None or client is None:
            return
        subject.visited(index)
        self.pilot.fly(client, self.stage.view_of(cameras[index]))
