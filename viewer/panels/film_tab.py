"""Camera paths with key frames: made, seen, kept and filmed in the browser."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import viser

from ...render.camera_path import MAX_FPS, MAX_SIDE_PX, CameraPath
from ...scene.errors import BadInputError, FewviewError
from .. import markup, path_edit
from ..layers.path_layer import draw_camera, draw_path
from ..panel_context import Context
from ..pilot import FRAMES_PER_SECOND
from ..viewpoint import Viewpoint
from .film_export import FilmExport

MAX_ON_TIMELINE = 16  # key frames whose times can be dragged; with more the handles could not be told apart
TIME_STEP_S = 0.05
TRANSITION_S, FPS = 2.0, 30.0


class FilmTab:
    """One camera path for the page: whoever looks at it sees and edits the same one."""

    @staticmethod
    def wanted(context: Context) -> bool:
        photographs = [s.photographs for s in context.subjects if s.photographs is not None]
        has_splat = any(subject.splat is not None for subject in context.subjects)
        return has_splat or any(p.cameras is not None for p in photographs)

    def __init__(self, context: Context) -> None:
        self._context = context
        self._path: CameraPath | None = None
        self._lock = threading.RLock()  # viser runs callbacks on several threads
        self._nodes: list[Any] = []
        self._now: Any = None
        self._timeline: Any = None
        self._timed: tuple[float, ...] = ()  # seconds that the timeline shows
        self._previewing: set[int] = set()
        self._film = FilmExport(context, lambda: self._path)
        self._build_first()
        self._film.build()
        self._build_key_frames()
        self._build_times()
        self._build_picture()
        self._build_files()
        self._show()

    # -- controls ---------------------------------------------------------------------------------------------------

    def _build_first(self) -> None:
        """Begin with what every film needs: a key frame, and the export, which is not to be searched for."""
        gui = self._context.server.gui
        self._facts = gui.add_html("")
        self._on_click(
            gui.add_button("Add key frame", hint="Where you look from now, after the chosen one."), self._add
        )

    def _build_key_frames(self) -> None:
        gui = self._context.server.gui
        self._chosen = gui.add_number("Key frame", 1, min=1, max=1, step=1)
        self._on_change(self._chosen, self._show)
        buttons = gui.add_button_group("", ("Fly to", "Replace", "Delete"))
        actions = {"Fly to": self._fly_to, "Replace": self._replace, "Delete": self._delete}
        buttons.on_click(lambda event: self._act(event, actions[buttons.value]))
        self._transition = gui.add_number("Seconds to it", TRANSITION_S, min=path_edit.MIN_TRANSITION_S, step=0.05)
        self._on_change(self._transition, self._set_transition)
        self._lens = gui.add_number("Field of view", 50.0, min=1.0, max=170.0, step=0.5, hint="Degrees, of the height.")
        self._on_change(self._lens, self._set_lens)
        self._timed_box: Any = None
        if (span := self._time_range()) is not None:
            self._timed_box = gui.add_checkbox(
                "Key frames hold the time",
                False,
                hint="Without, the motion plays once from the film's begin to its end.",
            )
            self._scene_time = gui.add_number("Scene time", span[0], min=span[0], max=span[1], step=1e-3)
            self._on_change(self._timed_box, self._switch_times)
            self._on_change(self._scene_time, self._set_scene_time)

    def _build_times(self) -> None:
        gui = self._context.server.gui
        with gui.add_folder("Times"):
            self._at = gui.add_slider("At", 0.0, 1.0, 0.01, 0.0, hint="Seconds from the beginning.")
            self._at.on_update(lambda event: self._scrub(event.client))
            self._follow = gui.add_checkbox("Look through it", False)
            play = gui.add_button("Preview")
            play.on_click(lambda event: self._preview(event.client))
            self._timeline_folder = gui.add_folder("Drag the key frames")
            self._default = gui.add_number(
                "Seconds for a new one", TRANSITION_S, min=path_edit.MIN_TRANSITION_S, step=0.05
            )
            self._loop = gui.add_checkbox("Loop", False)
            self._tension = gui.add_slider("Tension", 0.0, 1.0, 0.05, 0.0, hint="0 is smooth, 1 stops at key frames.")
        for control in (self._default, self._loop, self._tension):
            self._on_change(control, self._apply_settings)

    def _build_picture(self) -> None:
        gui = self._context.server.gui
        with gui.add_folder("Picture"):
            self._fps = gui.add_number("Pictures a second", FPS, min=1.0, max=MAX_FPS, step=0.1)
            size = path_edit.default_size(self._context.active.cameras)
            self._size = gui.add_vector2("Size", size, min=(2, 2), max=(MAX_SIDE_PX, MAX_SIDE_PX), step=2)
            self._drawn = gui.add_checkbox("Show the path", True)
        for control in (self._fps, self._size):
            self._on_change(control, self._apply_settings)
        self._on_change(self._drawn, self._show)

    def _build_files(self) -> None:
        gui = self._context.server.gui
        with gui.add_folder("File"):
            save = gui.add_button("Save path", hint="JSON, for fewview render --path and for nerfstudio.")
            save.on_click(lambda event: self._save(event.client))
            load = gui.add_upload_button("Load path", mime_type="application/json")
            load.on_upload(lambda event: self._load(load.value.name, load.value.content, event.client))

    def _on_click(self, button: viser.GuiButtonHandle, action: Callable[[viser.ClientHandle], None]) -> None:
        button.on_click(lambda event: self._act(event, action))

    def _on_change(self, control: Any, action: Callable[[], None]) -> None:
        """Only what a person changes: values that are set from here come back without a client."""
        control.on_update(lambda event: None if event.client is None else self._act(event, lambda _: action()))

    def _act(self, event: Any, action: Callable[[viser.ClientHandle], None]) -> None:
        if event.client is None:
            return
        try:
            action(event.client)
        except FewviewError as error:
            self._context.notify("That cannot be done", str(error), event.client)
            self._show()

    # -- edits ------------------------------------------------------------------------------------------------------

    @property
    def path(self) -> CameraPath | None:
        return self._path

    def _index(self) -> int:
        return int(self._chosen.value) - 1

    def _add(self, client: viser.ClientHandle) -> None:
        frame = replace(path_edit.key_frame_of(self._context.camera_of(client)), time_s=self._moment())
        with self._lock:
            if self._path is None:
                self.put(CameraPath((frame,), **self._settings()), 0)
            else:
                index = self._index() + 1
                self.put(path_edit.inserted(self._path, frame, index), index)

    def _replace(self, client: viser.ClientHandle) -> None:
        with self._lock:
            if self._path is not None:
                frame = path_edit.key_frame_of(self._context.camera_of(client))
                self.put(path_edit.replaced(self._path, self._index(), frame))

    def _delete(self, _: viser.ClientHandle) -> None:
        with self._lock:
            if self._path is not None:
                self.put(path_edit.removed(self._path, self._index()), max(self._index() - 1, 0))

    def _fly_to(self, client: viser.ClientHandle) -> None:
        path = self._path
        if path is not None:
            at = path.key_times_s[[self._index()]]
            if (moment := path.key_frames[self._index()].time_s) is not None:
                self._context.clock.go_to(moment)
            self._context.pilot.fly(client, path_edit.views(path, self._context.stage, at)[0])

    def _time_range(self) -> tuple[float, float] | None:
        splat = self._context.active.splat
        return None if splat is None else splat.time_range_s

    def _moment(self) -> float | None:
        """The moment that a new key frame holds: the one that is seen; None where key frames hold none."""
        span = self._time_range()
        if span is None or self._timed_box is None or not self._timed_box.value:
            return None
        now = self._context.clock.now
        return span[0] if now is None else min(max(now, span[0]), span[1])

    def _switch_times(self) -> None:
        """Key frames get the moments that the film shows at them, so that it stays the same until one is changed."""
        span = self._time_range()
        with self._lock:
            if self._path is not None and span is not None:
                timed = self._timed_box.value
                self.put(path_edit.with_times(self._path, span) if timed else path_edit.without_times(self._path))

    def _set_scene_time(self) -> None:
        with self._lock:
            if self._path is not None and path_edit.is_timed(self._path):
                self.put(path_edit.with_time(self._path, self._index(), float(self._scene_time.value)))

    def _set_transition(self) -> None:
        with self._lock:
            if self._path is not None:
                self.put(path_edit.with_transition(self._path, self._index(), float(self._transition.value)))

    def _set_lens(self) -> None:
        with self._lock:
            if self._path is not None:
                frame = self._path.key_frames[self._index()]
                frame = replace(frame, fov_rad=math.radians(float(self._lens.value)))
                self.put(path_edit.replaced(self._path, self._index(), frame))

    def _set_times(self) -> None:
        with self._lock:
            if self._path is not None and self._timeline is not None:
                path = path_edit.retimed(self._path, [0.0, *self._timeline.value[1:]])
                self._timed = _timing(path)  # by this very slider, which is being dragged and has to stay
                self.put(path)

    def _settings(self) -> dict[str, Any]:
        width, height = (int(x) for x in self._size.value)
        return {
            "width": width,
            "height": height,
            "fps": float(self._fps.value),
            "default_transition_s": float(self._default.value),
            "loop": bool(self._loop.value),
            "tension": float(self._tension.value),
        }

    def _apply_settings(self) -> None:
        with self._lock:
            if self._path is not None:
                self.put(replace(self._path, **self._settings()))

    def put(self, path: CameraPath | None, chosen: int | None = None) -> None:
        """Show and edit another path, None for an empty one; `chosen` is the index of the key frame to edit."""
        with self._lock:
            self._path = path
            if path is not None:
                self._chosen.max = len(path.key_frames)
            if chosen is not None:
                _set(self._chosen, chosen + 1)
            self._show()

    # -- what is seen -----------------------------------------------------------------------------------------------

    def _show(self) -> None:
        """Everything anew from the path: the controls' values, the timeline and the drawing."""
        with self._lock, self._context.server.atomic():
            path = self._path
            self._facts.content = markup.small(path_edit.summary(path))
            if path is not None:
                index = min(max(self._index(), 0), len(path.key_frames) - 1)
                frame = path.key_frames[index]
                _set(self._chosen, index + 1)
                self._transition.disabled = index == 0 and not path.loop
                seconds = path.default_transition_s if frame.transition_s is None else frame.transition_s
                _set(self._transition, round(seconds, 3))
                _set(self._lens, round(math.degrees(frame.fov_rad), 2))
                if self._timed_box is not None:
                    _set(self._timed_box, frame.time_s is not None)
                    if frame.time_s is not None:
                        _set(self._scene_time, round(frame.time_s, 3))
                self._at.max = max(round(path.duration_s, 3), 0.01)
                _set(self._at, min(float(self._at.value), self._at.max))
            self._show_timeline()
            self._draw()

    def _show_timeline(self) -> None:
        """The slider is made again where the times are others: viser's keeps its number of handles and its length."""
        path = self._path
        if path is not None and _timing(path) == self._timed:
            return
        if self._timeline is not None:
            self._timeline.remove()
            self._timeline = None
        self._timed = () if path is None else _timing(path)
        self._timeline_folder.visible = 2 <= len(self._timed) <= MAX_ON_TIMELINE
        if path is None or not self._timeline_folder.visible:
            return
        times = self._timed
        end = round(times[-1] + path.default_transition_s, 3)  # room to make the film longer
        with self._timeline_folder:
            self._timeline = self._context.server.gui.add_multi_slider(
                "Seconds", 0.0, end, TIME_STEP_S, times, min_range=path_edit.MIN_TRANSITION_S, marks=(0.0, end)
            )
        self._on_change(self._timeline, self._set_times)

    def _draw(self) -> None:
        for node in self._nodes:
            node.remove()
        self._nodes = []
        path = self._path
        if self._now is not None and (path is None or not self._drawn.value):
            self._now.remove()
            self._now = None
        if path is None or not self._drawn.value or self._previewing:
            return
        self._nodes = draw_path(self._context.server, path, self._context.stage, self._index(), self._frustum_clicked)

    def _frustum_clicked(self, index: int, client: viser.ClientHandle) -> None:
        with self._lock:
            if self._path is None or index >= len(self._path.key_frames):
                return
            _set(self._chosen, index + 1)
            self._show()
        self._fly_to(client)

    def _scrub(self, client: viser.ClientHandle | None) -> None:
        with self._lock:
            path, at = self._path, float(self._at.value)
            if path is None or client is None:
                return
            if (moments := self._moments(path, np.array([at]))) is not None:
                self._context.clock.go_to(moments[0])
            if self._follow.value:
                self._context.pilot.stop(client)
                self._context.pilot.place(client, path_edit.views(path, self._context.stage, np.array([at]))[0])
            elif self._drawn.value:
                self._now = draw_camera(self._context.server, "/film/now", path, at, self._context.stage)

    def _preview(self, client: viser.ClientHandle | None) -> None:
        """Flies a browser's camera along the path from where the slider is; once more ends it."""
        path, pilot = self._path, self._context.pilot
        if client is None or path is None or pilot.stop(client):
            return
        times = path_edit.ride_times(path, float(self._at.value), FRAMES_PER_SECOND)
        frames = path_edit.views(path, self._context.stage, times)
        count, moments = len(frames), self._moments(path, times)

        def view(i: int) -> Viewpoint | None:
            if not path.loop and i >= count:
                return None
            if moments is not None:
                self._context.clock.go_to(moments[i % count])
            return frames[i % count]

        self._hide_for(client, True)
        try:
            pilot.ride(client, view)
        finally:
            self._hide_for(client, False)
        last = client.camera  # upright again, or the mouse would turn about a tilted axis
        pilot.place(client, Viewpoint(last.position, last.look_at, last.fov))

    def _moments(self, path: CameraPath, times_s: np.ndarray) -> list[float] | None:
        """Moments of a moving splat at times [n] of the path, None where nothing moves."""
        splat = self._context.active.splat
        return None if splat is None else path_edit.moments(path, splat.time_range_s, times_s)

    def _hide_for(self, client: viser.ClientHandle, riding: bool) -> None:
        """Path and photographs are not drawn while somebody flies along: they would be in the way."""
        with self._lock:
            (self._previewing.add if riding else self._previewing.discard)(client.client_id)
            for subject in self._context.subjects:
                for name in subject.layers.keys() & {"cameras", "held_out"}:
                    subject.layers[name].allow(subject.visible and not self._previewing)
            if self._now is not None:
                self._now.remove()
                self._now = None
            self._draw()

    # -- files ------------------------------------------------------------------------------------------------------

    def _save(self, client: viser.ClientHandle | None) -> None:
        if client is None:
            return
        if self._path is None:
            self._context.notify("Nothing to save", "Add a key frame first.", client)
        else:
            client.send_file_download("camera_path.json", path_edit.path_bytes(self._path), save_immediately=True)

    def _load(self, name: str, content: bytes, client: viser.ClientHandle | None) -> None:
        try:
            path = path_edit.path_from_bytes(content, name[:80])
        except BadInputError as error:
            self._context.notify("The path could not be read", str(error), client)
            return
        with self._lock:
            _set(self._size, (path.width, path.height))
            _set(self._fps, path.fps)
            _set(self._default, path.default_transition_s)
            _set(self._loop, path.loop)
            _set(self._tension, path.tension)
            self.put(path, 0)


def _timing(path: CameraPath) -> tuple[float, ...]:
    return tuple(path.key_times_s[: len(path.key_frames)].round(3).tolist())


def _set(control: Any, value: Any) -> None:
    """viser's `value` has a setter of its own that type checkers do not see."""
    control.value = value
