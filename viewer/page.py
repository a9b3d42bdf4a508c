"""The 3D page: layers, and the panel that steers them."""

from __future__ import annotations

import atexit
import html
import math
import queue
import threading
import time
from typing import Any

import numpy as np
import torch
import viser

from ..render.metrics import psnr
from ..render.paths import orbit
from ..scene.errors import FewviewError
from ..scene.gaussians import Gaussians
from . import layers
from .pictures import render_rgb8, side_by_side
from .server import ViewerServer
from .target import Shown

COMPARE_PX = 560  # longer side of the photograph and of its rendering in the panel
FLIGHT_SECONDS, ORBIT_SECONDS, FRAMES_PER_SECOND = 0.7, 14.0, 30
ACCENT = (36, 99, 235)
COLOR_NOTE = (
    "The 3D view draws each Gaussian in one colour for all directions (spherical harmonics of degree 0), as this "
    "page's renderer knows no more. The rendering beside a photograph is exact."
)
UP_AXES = {"+x": (1, 0, 0), "-x": (-1, 0, 0), "+y": (0, 1, 0), "-y": (0, -1, 0), "+z": (0, 0, 1), "-z": (0, 0, -1)}


class Page:
    """One scene on one server; every browser that connects sees the same layers from a viewpoint of its own."""

    def __init__(self, server: ViewerServer, shown: Shown) -> None:
        self.server = server
        self.shown = shown
        self.cameras = None if shown.capture is None else shown.capture.cameras
        self.stage = layers.Stage.of(self.cameras, shown.gaussians)
        self._up = self.stage.up.numpy().astype(float)
        self._gaussians = shown.gaussians
        self._splat: Any = None
        self._background: np.ndarray | None = None
        self._closed = threading.Event()
        self._wanted: queue.SimpleQueue[int | None] = queue.SimpleQueue()  # photographs to compare; None ends it
        self._orbiting: dict[int, threading.Event] = {}
        self._start_view()
        self._draw()
        self._build_panel()
        self._set_current(0)
        self._worker = threading.Thread(target=self._work, daemon=True)
        self._worker.start()
        atexit.register(self.close)

    def close(self) -> None:
        """Ends the page's own work. A thread that is inside native code at the interpreter's end would abort it."""
        atexit.unregister(self.close)
        self._closed.set()
        self._wanted.put(None)
        self._worker.join()

    def set_splat(self, gaussians: Gaussians) -> None:
        """Show another splat in place of the present one; from any thread."""
        arrays = layers.splat_arrays(gaussians, self.stage)
        if self._gaussians is None and self._points is not None:
            self._points.visible = False  # they would sit on the first splat like dust
            self._show_points.value = False  # type: ignore[misc]
        with self.server.atomic():
            self._splat = layers.draw_splat(self.server, arrays, visible=self._show_splat.value)
            self._match_background()
        self._gaussians = gaussians
        self._set_header()

    # -- the scene ------------------------------------------------------------------------------------------------

    def _start_view(self) -> None:
        scene, view = self.server.scene, self.server.initial_camera
        scene.set_up_direction(self._up)
        # No lights or pictures from elsewhere: the page must work without a network.
        scene.configure_environment_map(None)
        self.server.gui.configure_theme(
            control_width="large", show_logo=False, show_share_button=False, brand_color=ACCENT
        )
        position, target, fov = self._first_view()
        view.position, view.look_at, view.up, view.fov = position, target, self._up, fov

    def _first_view(self) -> tuple[np.ndarray, np.ndarray, float]:
        """(position, look-at, vertical field of view) to begin with: the photograph nearest to the middle of all.

        The first one is often at the edge of what was photographed. Without cameras a guess in front of the splat.
        """
        if self.cameras is not None and len(self.cameras):
            centers = self.cameras.centers
            position, target, fov = self._view_of(int((centers - centers.mean(dim=0)).norm(dim=-1).argmin()))
            return position + 0.15 * (target - position), target, fov  # in front of that camera's own thumbnail
        return np.array([0.0, 0.0, -layers.FOCUS_DISTANCE]), np.zeros(3), math.radians(60)

    def _view_of(self, index: int) -> tuple[np.ndarray, np.ndarray, float]:
        assert self.cameras is not None
        position = self.stage.place(self.cameras.centers[index]).astype(float)
        forward = self.cameras.world_from_cam[index, :3, 2].numpy().astype(float)
        ahead = max(float(-position @ forward), 0.3 * layers.FOCUS_DISTANCE)  # the focus is the page's origin
        return position, position + ahead * forward, layers.vertical_fov(self.cameras[index])

    def _draw(self) -> None:
        capture, self._frusta = self.shown.capture, []
        self._points: Any = None
        if self._gaussians is not None:
            self._splat = layers.draw_splat(self.server, layers.splat_arrays(self._gaussians, self.stage))
            self._match_background()
        if capture is None or self.cameras is None:
            return
        if capture.points is not None and len(capture.points):
            self._points = layers.draw_points(self.server, capture.points, self.stage)
            self._points.visible = self._gaussians is None
        self._size = layers.frustum_size(self.cameras, self.stage)
        self._frusta = layers.draw_cameras(self.server, capture, self.stage, self._size, self._go_to)

    def _match_background(self) -> None:
        """What the splat was trained over shines through where it is thin; any other colour would look like holes."""
        color = np.rint(255 * np.array(self.shown.background)).astype(np.uint8)
        if self._background is None or (color != self._background).any():
            self.server.scene.set_background_image(np.broadcast_to(color, (2, 2, 3)).copy(), format="png")
            self._background = color

    def _work(self) -> None:
        """Thumbnails first, then comparisons as they are asked for, all on one thread."""
        if self._frusta:
            self._fill_thumbnails()
        while not self._closed.is_set():
            index = self._wanted.get()
            if index is None:
                return
            if self._wanted.empty():  # else another photograph was chosen meanwhile
                self._try_compare(index)

    def _fill_thumbnails(self) -> None:
        assert self.shown.capture is not None
        for i, frustum in enumerate(self._frusta):
            if self._closed.is_set():
                return
            try:
                frustum.image = layers.thumbnail(self.shown.capture, i)
            except (FewviewError, OSError):  # a photograph that has gone leaves its frustum empty
                continue
            while not self._wanted.empty():  # somebody waits for a comparison: that goes first
                wanted = self._wanted.get()
                if wanted is None:
                    return
                self._try_compare(wanted)

    # -- the panel ------------------------------------------------------------------------------------------------

    def _build_panel(self) -> None:
        gui = self.server.gui
        self._header = gui.add_html("")
        self._build_layer_controls()
        if self._frusta:
            self._build_photograph_controls()
        with gui.add_folder("View"):
            move = gui.add_button_group("", ("First view", "Orbit") if self.cameras is not None else ("First view",))
            move.on_click(lambda event: self._move(move.value, event.client))
            axes = ["as photographed" if self.cameras is not None else "as is", *UP_AXES]
            up = gui.add_dropdown("Up axis", axes, initial_value=axes[0])
            up.on_update(lambda _: self._set_up(UP_AXES.get(up.value)))
        if self.shown.splat_path is not None:
            download = gui.add_button("Download the splat (PLY)")
            download.on_click(lambda event: self._send_splat(event.client))
        if self._gaussians is not None or self.shown.capture is not None:
            gui.add_html(_small(COLOR_NOTE))
        for note in self.shown.notes:
            gui.add_html(_small(note))
        self._set_header()

    def _build_layer_controls(self) -> None:
        gui = self.server.gui
        with gui.add_folder("Show"):
            self._show_splat = gui.add_checkbox("Splat", True)
            self._show_splat.on_update(lambda _: _set_visible(self._splat, self._show_splat.value))
            if self._points is not None:
                self._show_points = gui.add_checkbox("Sparse points", self._points.visible)
                self._show_points.on_update(lambda _: _set_visible(self._points, self._show_points.value))
                dot = gui.add_slider("Point size", 0.002, 0.1, 0.002, 0.02)
                dot.on_update(lambda _: setattr(self._points, "point_size", dot.value))
            if self._frusta:
                self._show_cameras = gui.add_checkbox("Cameras", True)
                self._show_cameras.on_update(lambda _: self._set_current(self._current))
                size = gui.add_slider("Camera size", 0.02, 2.0, 0.02, round(self._size, 2))
                size.on_update(lambda _: self._set_size(size.value))

    def _build_photograph_controls(self) -> None:
        assert self.shown.capture is not None
        gui, names = self.server.gui, self.shown.capture.names
        with gui.add_folder("Photographs"):
            self._choice = gui.add_dropdown("Photograph", names, initial_value=names[0])
            self._choice.on_update(lambda event: self._go_to(names.index(self._choice.value), event.client))
            step = gui.add_button_group("", ("Previous", "Next"))
            step.on_click(lambda event: self._step(-1 if step.value == "Previous" else 1, event.client))
            self._caption = gui.add_html(_small("Choose a photograph here, or click a camera in the 3D view."))
            self._comparison = gui.add_image(np.full((2, 2, 3), 255, np.uint8), visible=False)

    def _set_header(self) -> None:
        facts = []
        if self.shown.capture is not None:
            facts.append(f"{len(self.shown.capture):,} photographs")
            if self.shown.capture.points is not None:
                facts.append(f"{len(self.shown.capture.points):,} sparse points")
        if self._gaussians is not None:
            facts.append(f"{len(self._gaussians):,} Gaussians")
        title = html.escape(self.shown.title)
        self._header.content = (
            f'<div style="padding:0 0.75em"><div style="font-size:1.15em;font-weight:600">{title}</div>'
            f'<div style="opacity:0.65;font-size:0.85em">{" · ".join(facts)}</div></div>'
        )

    # -- what the controls do -------------------------------------------------------------------------------------

    def _step(self, by: int, client: viser.ClientHandle | None) -> None:
        assert self.shown.capture is not None
        names = self.shown.capture.names
        self._go_to((names.index(self._choice.value) + by) % len(names), client)

    def _go_to(self, index: int, client: viser.ClientHandle | None) -> None:
        """Fly to a photograph's camera and put its rendering beside it."""
        assert self.shown.capture is not None
        if self._choice.value != self.shown.capture.names[index]:
            # Comes back here without a client.
            self._choice.value = self.shown.capture.names[index]  # type: ignore[misc]  # viser's setter is overloaded
        if client is not None:
            self._set_current(index)
            self._wanted.put(index)
            self._fly(client, *self._view_of(index))

    def _set_current(self, index: int) -> None:
        """The camera that is looked through is not drawn: its photograph would cover everything."""
        self._current = index
        blocking = self._blocking(index)
        for i, frustum in enumerate(self._frusta):
            frustum.visible = self._show_cameras.value and i not in blocking

    def _set_size(self, size: float) -> None:
        self._size = max(size, 1e-3)
        for frustum in self._frusta:
            frustum.scale = self._size

    def _blocking(self, index: int) -> set[int]:
        """The camera itself and those that stand between it and the subject."""
        if self.cameras is None or index < 0:
            return set()
        pose, K = self.cameras.cam_from_world[index], self.cameras.K[index]
        x, y, z = (self.cameras.centers @ pose[:3, :3].T + pose[:3, 3]).unbind(-1)
        z = z + self._size / self.stage.scale  # where a frustum's picture is
        inside = (x.abs() * K[0, 0] < 0.8 * self.cameras.width[index] * z) & (
            y.abs() * K[1, 1] < 0.8 * self.cameras.height[index] * z
        )
        near = z < 0.6 * layers.FOCUS_DISTANCE / self.stage.scale
        return {index, *torch.nonzero(inside & near & (z > 0)).flatten().tolist()}

    def _try_compare(self, index: int) -> None:
        assert self.shown.capture is not None
        try:
            self._compare(index)
        except Exception as error:  # one picture that fails must not end the page
            self._caption.content = _caption(self.shown.capture.names[index], str(error))

    def _compare(self, index: int) -> None:
        capture, gaussians, cameras = self.shown.capture, self._gaussians, self.cameras
        assert capture is not None
        assert cameras is not None
        name, kind = capture.names[index], "held out from training" if index in (capture.test or ()) else ""
        photo = layers.thumbnail(capture, index, COMPARE_PX, self.shown.background)
        self._comparison.image = photo
        self._comparison.visible = True
        self._caption.content = _caption(name, kind, "" if gaussians is None else "rendering ...")
        if gaussians is None:
            return
        rendering = render_rgb8(gaussians, cameras[index], COMPARE_PX, self.shown.antialiased, self.shown.background)
        photo = layers.resize_to(photo, rendering.shape[1], rendering.shape[0])
        figure = psnr(*(torch.from_numpy(p).float() / 255 for p in (rendering, photo)))
        self._comparison.image = side_by_side(photo, rendering)
        self._caption.content = _caption(name, kind, "photograph, then rendering", f"PSNR {figure:.1f} dB at this size")

    def _move(self, where: str, client: viser.ClientHandle | None) -> None:
        if where == "Orbit":
            self._toggle_orbit(client)
        else:
            self._set_current(0)
            self._fly(client, *self._first_view())

    def _fly(
        self, client: viser.ClientHandle | None, position: np.ndarray, look_at: np.ndarray, fov_rad: float
    ) -> None:
        if client is None:
            return
        self._stop_orbit(client)
        camera = client.camera
        start = camera.position, camera.look_at, camera.fov
        frames = max(int(FLIGHT_SECONDS * FRAMES_PER_SECOND), 1)
        for i in range(1, frames + 1):
            t = i / frames
            s = t * t * (3 - 2 * t)  # starts and ends at rest
            self._set_view(
                client,
                start[0] + s * (position - start[0]),
                start[1] + s * (look_at - start[1]),
                start[2] + s * (fov_rad - start[2]),
            )
            time.sleep(1 / FRAMES_PER_SECOND)

    def _set_view(self, client: viser.ClientHandle, position: np.ndarray, look_at: np.ndarray, fov: float) -> None:
        with client.atomic():
            client.camera.up_direction = self._up
            client.camera.position, client.camera.look_at, client.camera.fov = position, look_at, fov

    def _toggle_orbit(self, client: viser.ClientHandle | None) -> None:
        if client is None or self.cameras is None or self._stop_orbit(client):
            return
        self._set_current(-1)
        stop = self._orbiting[client.client_id] = threading.Event()
        path = orbit(self.cameras, int(ORBIT_SECONDS * FRAMES_PER_SECOND))
        centers = self.stage.place(path.centers).astype(float)
        nearest = int(np.linalg.norm(centers - client.camera.position, axis=1).argmin())
        fov = layers.vertical_fov(path[0])
        while not stop.is_set() and not self._closed.is_set() and client.client_id in self.server.get_clients():
            nearest = (nearest + 1) % len(centers)
            self._set_view(client, centers[nearest], np.zeros(3), fov)
            time.sleep(1 / FRAMES_PER_SECOND)
        self._orbiting.pop(client.client_id, None)

    def _stop_orbit(self, client: viser.ClientHandle) -> bool:
        stop = self._orbiting.get(client.client_id)
        if stop is not None:
            stop.set()
        return stop is not None

    def _set_up(self, axis: tuple[int, int, int] | None) -> None:
        up = self.stage.up.numpy() if axis is None else np.array(axis, float)
        self._up = up
        self.server.scene.set_up_direction(up)
        for client in self.server.get_clients().values():
            client.camera.up_direction = up

    def _send_splat(self, client: viser.ClientHandle | None) -> None:
        if client is not None and self.shown.splat_path is not None:
            client.send_file_download(self.shown.splat_path.name, self.shown.splat_path.read_bytes())


def _set_visible(handle: Any, visible: bool) -> None:
    if handle is not None:
        handle.visible = visible


def _small(text: str) -> str:
    return f'<div style="padding:0 0.75em;font-size:0.8em;opacity:0.7">{html.escape(text)}</div>'


def _caption(name: str, *facts: str) -> str:
    told = html.escape(" · ".join(filter(None, facts)))
    return f'<div style="padding:0 0.75em;font-size:0.85em"><b>{html.escape(name)}</b><br>{told}</div>'
