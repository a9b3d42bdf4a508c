"""`Page`: inputs on a stage, the panel that steers them, and what the panel's parts share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import viser

from ..scene.cameras import Cameras
from ..scene.capture import Capture
from ..scene.gaussians import Gaussians
from . import markup
from .drive import STAGE as DRIVE_STAGE
from .item import Item
from .pilot import Pilot, Viewpoint
from .server import ViewerServer
from .shown import Shown
from .stage import FOCUS_DISTANCE, Stage, vertical_fov
from .worker import Worker

ACCENT = (36, 99, 235)
BARE_FOV_RAD = 1.0  # of the first view of a splat without cameras


class Page:
    """One or more inputs on one server; every browser that connects sees the same layers from a viewpoint of its own.

    The parts of the panel (`viewer/panels/`) are given the page. What they may use: `server`, `items`, `active`,
    `stage`, `pilot`, `worker`, and the methods below.
    """

    def __init__(self, server: ViewerServer, shown: Shown | Sequence[Shown]) -> None:
        inputs = [shown] if isinstance(shown, Shown) else list(shown)
        self.server = server
        self.stage = _stage_of(inputs)
        self.worker = Worker(lambda error: self.tell("That did not work", str(error)))
        self.pilot = Pilot(server, self.stage.up.numpy().astype(float))
        self._on_splat: list[Callable[[Item], None]] = []
        self._on_view: list[Callable[[Item, int], None]] = []
        self._panels: dict[str, Any] = {}
        self._start_view()
        self.items = [
            Item(server, s, self.stage, f"/{i}", self.worker, self._camera_clicked) for i, s in enumerate(inputs)
        ]
        self.active = next((item for item in self.items if item.shown.gaussians is not None), self.items[0])
        self._match_background()
        self._set_first_view()
        server.flush()  # the picture is on its way while the panel is made
        self._build_panel()
        if self.active.cameras is not None:
            self.active.look_through(self._middle_view(self.active.cameras))

    def close(self) -> None:
        """Ends the page's own work; the server is the caller's."""
        self.pilot.close()
        self.worker.close()

    # -- for the parts of the panel ---------------------------------------------------------------------------------

    def set_splat(self, gaussians: Gaussians, item: Item | None = None, tint: torch.Tensor | None = None) -> None:
        """Show other Gaussians in place of an input's present ones; from any thread."""
        item = item or self.active
        first = item.gaussians is None
        with self.server.atomic():
            item.set_splat(gaussians, tint)
            if first and "points" in item.layers:
                item.layers["points"].wanted = False  # they would sit on the first splat like dust
        self._set_header()
        for listener in self._on_splat:
            listener(item)

    def on_splat(self, listener: Callable[[Item], None]) -> None:
        """Be told when an input's Gaussians have changed."""
        self._on_splat.append(listener)

    def on_view(self, listener: Callable[[Item, int], None]) -> None:
        """Be told when somebody looks through the camera of a photograph of an input."""
        self._on_view.append(listener)

    def visit(self, item: Item, index: int, client: viser.ClientHandle | None) -> None:
        """Fly to the camera of a photograph."""
        if item.drive is not None and item.drive.frame.capture.cameras is not None:
            item.drive.look_through(index)
            self.pilot.fly(client, self.view_of(item.drive.frame.capture.cameras[index]))
            return
        if item.cameras is None or client is None:
            return
        item.look_through(index)
        for listener in self._on_view:
            listener(item, index)
        self.pilot.fly(client, self.view_of(item.cameras[index]))

    def view_of(self, camera: Cameras) -> Viewpoint:
        """Where a camera [] in the world stands on the page, and what lies before it."""
        position = self.stage.place(camera.centers).astype(float)
        forward = camera.world_from_cam[:3, 2].numpy().astype(float)
        ahead = max(float(-position @ forward), 0.3 * FOCUS_DISTANCE)  # the focus is the page's origin
        return Viewpoint(position, position + ahead * forward, vertical_fov(camera))

    def first_view(self) -> Viewpoint:
        """The photograph nearest to the middle of all: the first one is often at the edge of what was photographed."""
        cameras = self.active.cameras
        if self.active.drive is not None:
            return self.active.drive.first_view()
        if cameras is not None and len(cameras):
            view = self.view_of(cameras[self._middle_view(cameras)])
            # In front of that camera's own photograph.
            return Viewpoint(view.position + 0.15 * (view.look_at - view.position), view.look_at, view.fov_rad)
        up = self.pilot.up
        level = np.cross(up, (1.0, 0, 0) if abs(up[0]) < 0.9 else (0, 0, 1.0))
        level /= np.linalg.norm(level)
        sign = 1.0 if level[2] < 0 or abs(level[2]) < 0.5 else -1.0  # from -z where the up axis leaves a choice
        return Viewpoint(FOCUS_DISTANCE * (sign * level + 0.15 * up), np.zeros(3), BARE_FOV_RAD)

    def camera_of(self, client: viser.ClientHandle, height_px: int | None = None) -> Cameras:
        """The camera [] in the world through which a browser looks, at its own size or another height."""
        c = client.camera
        height = height_px or max(int(c.image_height), 1)
        return self.stage.camera(c.wxyz, c.position, c.fov, max(1, round(height * c.aspect)), height)

    def panel(self, title: str) -> Any:
        """The part of the panel whose tab has this title."""
        return self._panels[title]

    def tell(self, title: str, body: str = "", client: viser.ClientHandle | None = None) -> None:
        """A short notice in one browser, or in all."""
        for who in [client] if client is not None else list(self.server.get_clients().values()):
            who.add_notification(title, body, auto_close_seconds=8.0)

    # -- inside -----------------------------------------------------------------------------------------------------

    def _start_view(self) -> None:
        self.server.scene.set_up_direction(self.pilot.up)
        # No lights or pictures from elsewhere: the page must work without a network.
        self.server.scene.configure_environment_map(None)
        self.server.gui.configure_theme(
            control_width="large", show_logo=False, show_share_button=False, brand_color=ACCENT
        )

    def _set_first_view(self) -> None:
        view, start = self.first_view(), self.server.initial_camera
        start.position, start.look_at, start.up, start.fov = view.position, view.look_at, self.pilot.up, view.fov_rad
        for client in self.server.get_clients().values():  # a browser that was here before the scene
            self.pilot.place(client, view)

    def _middle_view(self, cameras: Cameras) -> int:
        return int((cameras.centers - cameras.centers.mean(dim=0)).norm(dim=-1).argmin())

    def _camera_clicked(self, item: Item, index: int, client: viser.ClientHandle) -> None:
        self.visit(item, index, client)

    def _match_background(self) -> None:
        """What the splat was trained over shines through where it is thin; any other colour would look like holes."""
        color = np.rint(255 * np.array(self.active.shown.background)).astype(np.uint8)
        self.server.scene.set_background_image(np.broadcast_to(color, (2, 2, 3)).copy(), format="png")

    def _build_panel(self) -> None:
        from .panels import PANELS  # what it imports takes time that nobody waits for once the picture is there

        gui = self.server.gui
        self._header = gui.add_html("")
        self._set_header()
        tabs = gui.add_tab_group()
        for title, panel in PANELS:
            if panel.wanted(self):
                with tabs.add_tab(title):
                    self._panels[title] = panel(self)
        for note in dict.fromkeys(note for item in self.items for note in item.shown.notes):
            gui.add_html(markup.small(note))

    def _set_header(self) -> None:
        first = self.items[0]
        title = first.shown.title if len(self.items) == 1 else f"{first.shown.title} and {len(self.items) - 1} more"
        self._header.content = markup.header(title, _facts(self.items))


def _stage_of(inputs: list[Shown]) -> Stage:
    """One stage for all inputs: that of the first with cameras, else with a splat, else with points."""

    def fitness(shown: Shown) -> int:
        capture = shown.capture
        if capture is not None and capture.cameras is not None:
            return 0
        if shown.drive is not None:
            return 1
        return 2 if shown.gaussians is not None else 3

    best = min(inputs, key=fitness)
    if best.drive is not None:
        return DRIVE_STAGE
    capture: Capture | None = best.capture
    up = None if best.up is None else torch.tensor(best.up)
    if capture is None:
        return Stage.of(None, best.gaussians, up=up)
    return Stage.of(capture.cameras, best.gaussians, capture.points, up)


def _facts(items: list[Item]) -> list[str]:
    photographs = sum(len(i.shown.capture) for i in items if i.shown.capture is not None)
    points = sum(len(i.shown.capture.points) for i in items if i.shown.capture is not None and i.shown.capture.points)
    gaussians = sum(len(i.gaussians) for i in items if i.gaussians is not None)
    key_frames = sum(len(i.drive.log) for i in items if i.drive is not None)
    counts = (
        (photographs, "photographs"),
        (points, "sparse points"),
        (gaussians, "Gaussians"),
        (key_frames, "key frames"),
    )
    return [f"{count:,} {what if count > 1 else what.removesuffix('s')}" for count, what in counts if count]
