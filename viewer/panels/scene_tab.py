"""Layers on and off, views, and the up axis."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import viser

from ...render.paths import orbit
from ...scene.errors import FewviewError
from ...scene.formats import file_for_viewers, format_name
from ...scene.one_moment import one_moment
from .. import markup
from ..layers.depth_layer import DEPTH_POINT_SIZE, depth_cloud, draw_depth
from ..layers.ground_layer import draw_ground
from ..layers.layer import Layer
from ..panel_context import Context
from ..pilot import FRAMES_PER_SECOND
from ..share import write_share
from ..stage import vertical_fov
from ..subjects.drawn_splat import FEW_GAUSSIANS, MANY_GAUSSIANS, DrawnSplat
from ..subjects.photographs import Photographs
from ..subjects.splat_subject import SplatSubject
from ..subjects.subject import Subject, bounds
from ..viewpoint import Viewpoint
from .open_file import OpenFile

FEW_NOTE = (
    "Without a graphics card, and with other splats beside it, "
    f"the {FEW_GAUSSIANS:,} that cover most are drawn of more than {MANY_GAUSSIANS:,} Gaussians: all take seconds."
)
EMPTY_NOTE = "Stripes where the splat lets its background through: it holds nothing there, or little."
ORBIT_SECONDS = 14.0
UP_AXES = {"+x": (1, 0, 0), "-x": (-1, 0, 0), "+y": (0, 1, 0), "-y": (0, -1, 0), "+z": (0, 0, 1), "-z": (0, 0, -1)}
COLOR_NOTE = (
    "A browser with a graphics card draws each Gaussian in one colour for all directions while its camera moves, and "
    "a moment after it has come to rest in the colours that are seen from there. One without gets pictures of both."
)


class SceneTab:
    """Toggles for every subject and layer, sizes, the up axis, the grid, and the download."""

    @staticmethod
    def wanted(context: Context) -> bool:
        return True

    def __init__(self, context: Context) -> None:
        self._context = context
        self._boxes: list[tuple[Layer, viser.GuiCheckboxHandle]] = []
        photographs = context.active.photographs
        self._cameras = None if photographs is None else photographs.cameras
        gui = context.server.gui
        for i, subject in enumerate(context.subjects):
            with gui.add_folder(subject.title if len(context.subjects) > 1 else "Show"):
                self._build_subject(subject, f"/{i}/depth")
        with gui.add_folder("View"):
            self._build_view()
        self._opened = gui.add_folder("Opened here", visible=False)
        OpenFile(context, self._show_opened)
        self._build_download()
        self._build_share()
        if any(subject.splat is not None or subject.photographs is not None for subject in context.subjects):
            gui.add_html(markup.small(COLOR_NOTE))
        for subject in context.subjects:
            subject.on_change(self._match_boxes)

    # -- layers -----------------------------------------------------------------------------------------------------

    def _build_subject(self, subject: Subject, depth_path: str) -> None:
        gui, photographs = self._context.server.gui, subject.photographs
        if len(self._context.subjects) > 1:
            whole = gui.add_checkbox("Visible", True)
            whole.on_update(lambda _: setattr(subject, "visible", whole.value))
        for layer in list(subject.layers.values()):
            box = gui.add_checkbox(layer.name, layer.wanted)
            box.on_update(functools.partial(_follow, layer, box))
            self._boxes.append((layer, box))
            if len(self._boxes) < 10:
                number = len(self._boxes)
                self._context.shortcuts.add(f"{layer.name} on and off", str(number), functools.partial(_switch, box))
        drawn = subject.drawn if isinstance(subject, SplatSubject) else None
        if drawn is not None and (drawn.splat is None or drawn.is_large):
            self._build_detail(subject, drawn)
        if photographs is not None and photographs.stereo is not None:
            self._build_depth(subject, photographs, depth_path)
        if "points" in subject.layers:
            points = subject.layers["points"].handles[0]
            dot = gui.add_slider("Point size", 0.002, 0.1, 0.002, points.point_size)
            dot.on_update(lambda _: setattr(subject.layers["points"].handles[0], "point_size", dot.value))
        if photographs is not None and photographs.frusta:
            size = gui.add_slider("Camera size", 0.02, 2.0, 0.02, round(photographs.frustum_size, 2))
            size.on_update(lambda _: photographs.set_frustum_size(size.value))

    def _build_detail(self, subject: Subject, drawn: DrawnSplat) -> None:
        server, worker = self._context.server, self._context.worker
        every = server.gui.add_checkbox("All Gaussians", drawn.draws_all, hint=FEW_NOTE)

        def draw() -> None:
            drawn.draws_all = every.value
            subject.changed()

        every.on_update(lambda _: worker.submit(draw))

        def tick() -> None:
            every.value = True  # type: ignore[misc]  # viser's setter is overloaded

        server.renderers.when_card(lambda: worker.submit(tick))

    def _show_opened(self, subject: Subject) -> None:
        """Toggles of a subject that came later."""
        self._opened.visible = True
        with self._opened, self._context.server.gui.add_folder(subject.title):
            self._build_subject(subject, f"/{self._context.subjects.index(subject)}/depth")
        subject.on_change(self._match_boxes)

    def _match_boxes(self) -> None:
        for layer, box in self._boxes:
            if box.value != layer.wanted:
                box.value = layer.wanted  # type: ignore[misc]  # viser's setter is overloaded

    def _build_depth(self, subject: Subject, photographs: Photographs, path: str) -> None:
        """Depth is read and unprojected when it is first asked for."""
        context = self._context
        choice = context.server.gui.add_dropdown("Depth", ("off", "photograph's colours", "confidence"))
        colors: list[np.ndarray] = []

        def show() -> None:
            if "depth" not in subject.layers:
                assert photographs.stereo is not None
                xyz, *found = depth_cloud(photographs.stereo(), photographs.capture, photographs.stereo_views())
                cloud = draw_depth(context.server, path, xyz, found[0], context.stage)
                subject.layers["depth"] = Layer("Depth", [cloud], wanted=False)
                colors[:] = found
            cloud = subject.layers["depth"].handles[0]
            if choice.value != "off":
                cloud.colors = colors[choice.value == "confidence"]
                cloud.point_size = DEPTH_POINT_SIZE
            subject.layers["depth"].wanted = choice.value != "off"

        choice.on_update(lambda _: context.worker.submit(show, replaces=path))

    # -- view -------------------------------------------------------------------------------------------------------

    def _build_view(self) -> None:
        gui = self._context.server.gui
        buttons = ("First view", "Orbit") if self._cameras is not None else ("First view",)
        move = gui.add_button_group("", buttons)
        move.on_click(lambda event: self._move(move.value, event.client))
        axes = ["as photographed" if self._cameras is not None else "as is", *UP_AXES]
        keys = self._context.shortcuts
        keys.add("First view", "F", lambda client: self._move("First view", client))
        if self._cameras is not None:
            keys.add("Orbit, and stop", "O", lambda client: self._move("Orbit", client))
        up = gui.add_dropdown("Up axis", axes, initial_value=axes[0])
        up.on_update(lambda _: self._set_up(UP_AXES.get(up.value)))
        unseen = gui.add_checkbox("Mark empty areas", False, hint=EMPTY_NOTE)
        unseen.on_update(lambda _: self._mark_unseen(unseen.value))
        self._ground: Layer | None = None
        self._grid = gui.add_checkbox("Grid and scale bar", False)
        self._grid.on_update(lambda _: self._show_ground())

    def _move(self, where: str, client: viser.ClientHandle | None) -> None:
        context = self._context
        if client is None:
            return
        if where == "Orbit":
            if not context.pilot.stop(client):
                self._orbit(client)
            return
        view = context.first_view()
        context.active.look_from(view, context.stage)
        context.pilot.fly(client, view)

    def _orbit(self, client: viser.ClientHandle) -> None:
        context, cameras = self._context, self._cameras
        assert cameras is not None
        context.active.look_through(None)
        path = orbit(cameras, int(ORBIT_SECONDS * FRAMES_PER_SECOND))
        centers = context.stage.place(path.centers).astype(float)
        start = int(np.linalg.norm(centers - client.camera.position, axis=1).argmin())
        fov = vertical_fov(path[0])
        context.pilot.ride(client, lambda i: Viewpoint(centers[(start + i) % len(centers)], np.zeros(3), fov))

    def _mark_unseen(self, wanted: bool) -> None:
        context = self._context
        context.look.marks_unseen = wanted
        context.show_background()
        for client in list(context.server.get_clients().values()):
            context.overlays.sent_within(client)

    def _set_up(self, axis: tuple[int, int, int] | None) -> None:
        context = self._context
        context.pilot.up = context.stage.up.numpy().astype(float) if axis is None else np.array(axis, float)
        if self._ground is not None:
            self._ground = None
            self._show_ground()

    def _show_ground(self) -> None:
        if self._ground is None:
            self._ground = Layer("Ground", self._draw_ground(), wanted=False)
        self._ground.wanted = self._grid.value

    def _draw_ground(self) -> list[Any]:
        context, up = self._context, self._context.pilot.up
        low, high = bounds(context.subjects, context.stage)
        height = float(min((np.where(up > 0, low, high) * up).sum(), 0.0))
        return draw_ground(context.server, context.stage, up, height, "m" if context.active.metric else "")

    def _build_download(self) -> None:
        subject = self._context.active
        path = subject.splat_path if isinstance(subject, SplatSubject) else None
        if path is None:
            return
        button = self._context.server.gui.add_button(f"Download the splat ({format_name(path)})")

        def send(event: Any) -> None:
            if event.client is None:
                return
            event.client.send_file_download(*file_for_viewers(path), save_immediately=True)
            if subject.splat is not None and (lost := one_moment(subject.splat)[1]):
                self._context.notify("One moment of it", lost[0], event.client)

        button.on_click(send)

    def _build_share(self) -> None:
        """A button for the page of `fewview share`, made from what is shown: one file that opens anywhere."""
        context, subject = self._context, self._context.active
        if not isinstance(subject, SplatSubject):
            return
        button = context.server.gui.add_button(
            "Download as one page", hint="The splat and its viewer in one HTML file, to send to others."
        )

        def make(client: Any) -> None:
            if subject.splat is None or subject.drawn is None:
                context.notify("Nothing to share", "There is no splat yet.", client)
                return
            try:
                with tempfile.TemporaryDirectory(prefix="fewview_") as folder:
                    path = Path(folder) / "scene.html"
                    shared = write_share(subject.splat, path, subject.title, subject.cameras)
                    client.send_file_download(path.name, path.read_bytes(), save_immediately=True)
            except FewviewError as error:
                context.notify("Not done", str(error), client)
                return
            if shared.notes:
                context.notify("One page", " ".join(shared.notes), client)

        def pressed(event: Any) -> None:
            if event.client is not None:
                context.worker.submit(lambda: make(event.client))

        button.on_click(pressed)


def _switch(box: viser.GuiCheckboxHandle, _client: viser.ClientHandle | None) -> None:
    box.value = not box.value  # type: ignore[misc]  # viser's setter is overloaded


def _follow(layer: Layer, box: viser.GuiCheckboxHandle, _event: Any) -> None:
    layer.wanted = box.value
