"""What is shown, from where, and which way is up."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import viser

from ...render.paths import orbit
from .. import markup
from ..item import FEW_GAUSSIANS, MANY_GAUSSIANS, Item, bounds
from ..layers.depth import DEPTH_POINT_SIZE, depth_cloud, draw_depth
from ..layers.ground import draw_ground
from ..layers.layer import Layer
from ..pilot import FRAMES_PER_SECOND, Viewpoint
from ..stage import vertical_fov

if TYPE_CHECKING:
    from ..page import Page

FEW_NOTE = (
    f"Of more than {MANY_GAUSSIANS:,} Gaussians the {FEW_GAUSSIANS:,} that cover most are drawn, until a browser with "
    "a graphics card looks on: drawing all takes seconds without one."
)
ORBIT_SECONDS = 14.0
UP_AXES = {"+x": (1, 0, 0), "-x": (-1, 0, 0), "+y": (0, 1, 0), "-y": (0, -1, 0), "+z": (0, 0, 1), "-z": (0, 0, -1)}
COLOR_NOTE = (
    "The 3D view draws each Gaussian in one colour for all directions, the mean of what the photographs' cameras see, "
    "as this page's renderer knows no more. The rendering beside a photograph is exact."
)


class ScenePanel:
    """Toggles for every input and layer, sizes, the up axis, the grid, and the download."""

    @staticmethod
    def wanted(page: Page) -> bool:
        return True

    def __init__(self, page: Page) -> None:
        self._page = page
        self._boxes: list[tuple[Layer, viser.GuiCheckboxHandle]] = []
        gui = page.server.gui
        for item in page.items:
            with gui.add_folder(item.shown.title if len(page.items) > 1 else "Show"):
                self._build_item(item)
        with gui.add_folder("View"):
            self._build_view()
        self._build_download()
        if any(item.gaussians is not None or item.shown.capture is not None for item in page.items):
            gui.add_html(markup.small(COLOR_NOTE))
        page.on_splat(lambda _: self._match_boxes())

    # -- layers -----------------------------------------------------------------------------------------------------

    def _build_item(self, item: Item) -> None:
        gui = self._page.server.gui
        if len(self._page.items) > 1:
            whole = gui.add_checkbox("Visible", True)
            whole.on_update(lambda _: setattr(item, "visible", whole.value))
        self._ensure_splat(item)
        for layer in list(item.layers.values()):
            box = gui.add_checkbox(layer.name, layer.wanted)
            box.on_update(functools.partial(_follow, layer, box))
            self._boxes.append((layer, box))
        if "splat" in item.layers and (item.gaussians is None or item.is_large):
            self._build_detail(item)
        if item.shown.stereo is not None:
            self._build_depth(item)
        if "points" in item.layers:
            points = item.layers["points"].handles[0]
            dot = gui.add_slider("Point size", 0.002, 0.1, 0.002, points.point_size)
            dot.on_update(lambda _: setattr(item.layers["points"].handles[0], "point_size", dot.value))
        if item.frusta:
            size = gui.add_slider("Camera size", 0.02, 2.0, 0.02, round(item.frustum_size, 2))
            size.on_update(lambda _: item.set_frustum_size(size.value))

    def _build_detail(self, item: Item) -> None:
        page = self._page
        every = page.server.gui.add_checkbox("All Gaussians", item.draws_all, hint=FEW_NOTE)
        every.on_update(lambda _: page.worker.submit(lambda: setattr(item, "draws_all", every.value)))

        def tick() -> None:
            every.value = True  # type: ignore[misc]  # viser's setter is overloaded

        page.server.renderers.when_card(lambda: page.worker.submit(tick))

    def _ensure_splat(self, item: Item) -> None:
        """A layer for the splat that a training run is going to bring."""
        if "splat" not in item.layers and item.cameras is not None:
            item.layers["splat"] = Layer("Splat", [])

    def _match_boxes(self) -> None:
        for layer, box in self._boxes:
            if box.value != layer.wanted:
                box.value = layer.wanted  # type: ignore[misc]  # viser's setter is overloaded

    def _build_depth(self, item: Item) -> None:
        """Depth is read and unprojected when it is first asked for."""
        choice = self._page.server.gui.add_dropdown("Depth", ("off", "photograph's colours", "confidence"))

        def show() -> None:
            if "depth" not in item.layers:
                assert item.shown.stereo is not None
                assert item.shown.capture is not None
                xyz, rgb, trust = depth_cloud(item.shown.stereo(), item.shown.capture, item.shown.stereo_views())
                cloud = draw_depth(self._page.server, f"{item.path}/depth", xyz, rgb, item.stage)
                item.layers["depth"] = Layer("Depth", [cloud], wanted=False)
                self._depth_colors = rgb, trust
            cloud = item.layers["depth"].handles[0]
            if choice.value != "off":
                cloud.colors = self._depth_colors[choice.value == "confidence"]
                cloud.point_size = DEPTH_POINT_SIZE
            item.layers["depth"].wanted = choice.value != "off"

        choice.on_update(lambda _: self._page.worker.submit(show, replaces=f"{item.path}/depth"))

    # -- view -------------------------------------------------------------------------------------------------------

    def _build_view(self) -> None:
        page, gui = self._page, self._page.server.gui
        buttons = ("First view", "Orbit") if page.active.cameras is not None else ("First view",)
        move = gui.add_button_group("", buttons)
        move.on_click(lambda event: self._move(move.value, event.client))
        axes = ["as photographed" if page.active.cameras is not None else "as is", *UP_AXES]
        up = gui.add_dropdown("Up axis", axes, initial_value=axes[0])
        up.on_update(lambda _: self._set_up(UP_AXES.get(up.value)))
        self._ground: Layer | None = None
        self._grid = gui.add_checkbox("Grid and scale bar", False)
        self._grid.on_update(lambda _: self._show_ground())

    def _move(self, where: str, client: viser.ClientHandle | None) -> None:
        page = self._page
        if client is None:
            return
        if where == "Orbit":
            if not page.pilot.stop(client):
                self._orbit(client)
            return
        if page.active.cameras is not None:
            page.active.look_through(None)
        if page.active.drive is not None:
            page.active.drive.look_through(None)
        page.pilot.fly(client, page.first_view())

    def _orbit(self, client: viser.ClientHandle) -> None:
        page, cameras = self._page, self._page.active.cameras
        assert cameras is not None
        page.active.look_through(None)
        path = orbit(cameras, int(ORBIT_SECONDS * FRAMES_PER_SECOND))
        centers = page.stage.place(path.centers).astype(float)
        start = int(np.linalg.norm(centers - client.camera.position, axis=1).argmin())
        fov = vertical_fov(path[0])
        page.pilot.ride(client, lambda i: Viewpoint(centers[(start + i) % len(centers)], np.zeros(3), fov))

    def _set_up(self, axis: tuple[int, int, int] | None) -> None:
        self._page.pilot.up = self._page.stage.up.numpy().astype(float) if axis is None else np.array(axis, float)
        if self._ground is not None:
            self._ground = None
            self._show_ground()

    def _show_ground(self) -> None:
        if self._ground is None:
            self._ground = Layer("Ground", self._draw_ground(), wanted=False)
        self._ground.wanted = self._grid.value

    def _draw_ground(self) -> list[Any]:
        page = self._page
        up, capture = page.pilot.up, page.active.shown.capture
        low, high = bounds(page.items, page.stage)
        height = float(min((np.where(up > 0, low, high) * up).sum(), 0.0))
        metric = capture is not None and capture.points is not None and capture.points.metric
        metric = metric or page.active.drive is not None
        return draw_ground(page.server, page.stage, up, height, "m" if metric else "")

    def _build_download(self) -> None:
        page, path = self._page, self._page.active.shown.splat_path
        if path is None:
            return
        button = page.server.gui.add_button(f"Download the splat ({path.suffix.lstrip('.').upper()})")

        def send(event: Any) -> None:
            if event.client is not None:
                event.client.send_file_download(path.name, path.read_bytes(), save_immediately=True)

        button.on_click(send)


def _follow(layer: Layer, box: viser.GuiCheckboxHandle, _event: Any) -> None:
    layer.wanted = box.value
