"""Photographs: choose one, fly to its camera, and see what the splat makes of it."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
import viser

from ...render.metrics import psnr
from .. import markup
from ..canvas_wipe import CanvasWipe
from ..depth_colors import depth_picture, trust_picture
from ..layers.layer import Layer
from ..layers.points_layer import draw_tracks, tracks_of
from ..panel_context import Context
from ..pictures import error_map, render_rgb8, resize_to, side_by_side, thumbnail, wiped

COMPARE_PX = 560  # longer side of the photograph and of what stands beside it
RENDERING, ERROR, DEPTH, CONFIDENCE = "rendering", "error map", "depth", "confidence"


class PhotographsTab:
    """The photographs of the first subject that has some."""

    @staticmethod
    def wanted(context: Context) -> bool:
        return any(subject.photographs is not None for subject in context.subjects)

    def __init__(self, context: Context) -> None:
        self._context = context
        active = context.active.photographs is not None
        self._subject = context.active if active else next(s for s in context.subjects if s.photographs is not None)
        assert self._subject.photographs is not None
        self._photographs = self._subject.photographs
        self._capture, self._cameras = self._photographs.capture, self._photographs.cameras
        self._path = f"/{context.subjects.index(self._subject)}/tracks"
        self._canvas = CanvasWipe(context)
        self._index = 0
        self._shown: tuple[np.ndarray, np.ndarray | None] = (np.full((2, 2, 3), 255, np.uint8), None)
        self._build()
        self._photographs.on_view(self._viewed)
        self._subject.on_change(self._splat_changed)

    @property
    def picture(self) -> np.ndarray:
        """The picture in the panel at present, uint8 [H, W, 3]."""
        return self._picture.image

    def _build(self) -> None:
        gui, names = self._context.server.gui, self._capture.names
        self._choice = gui.add_dropdown("Photograph", names, initial_value=names[0])
        self._choice.on_update(lambda event: self._choose(names.index(self._choice.value), event.client))
        step = gui.add_button_group("", ("Previous", "Next"))
        step.on_click(lambda event: self._step(-1 if step.value == "Previous" else 1, event.client))
        for label, key, by in (("Previous photograph", "arrowleft", -1), ("Next photograph", "arrowright", 1)):
            self._context.shortcuts.add(label, key, functools.partial(self._step, by))
        beside = [RENDERING, ERROR] if self._cameras is not None else []
        if self._photographs.stereo is not None:
            beside += [DEPTH, CONFIDENCE]
        self._beside = None
        if beside:
            self._beside = gui.add_dropdown("Beside it", beside, initial_value=beside[0])
            self._beside.on_update(lambda _: self._look())
        # All pictures but the photograph's own are of its size, so that one may be drawn over the other.
        self._wipe = gui.add_checkbox(
            "Wipe",
            False,
            visible=bool(beside),
            hint="One picture over the other, here and over the 3D view from there.",
        )
        self._wipe.on_update(lambda _: self._arrange())
        self._line = gui.add_slider("Photograph up to", 0.0, 1.0, 0.01, 0.5, visible=False)
        self._line.on_update(lambda _: self._arrange())
        points = self._capture.points
        self._tracks: viser.GuiCheckboxHandle | None = None
        if points is not None and points.seen_point is not None and self._cameras is not None:
            self._tracks = gui.add_checkbox("Lines to the sparse points that it sees", False)
            self._tracks.on_update(lambda _: self._draw_tracks())
        self._caption = gui.add_html(markup.small("Choose a photograph here, or click a camera in the 3D view."))
        self._picture = gui.add_image(self._shown[0], visible=False)

    def _step(self, by: int, client: viser.ClientHandle | None) -> None:
        self._choose((self._index + by) % len(self._capture), client)

    def _choose(self, index: int, client: viser.ClientHandle | None) -> None:
        if client is None:  # the dropdown was set from here
            return
        if self._cameras is None:
            self._viewed(index)
        else:
            self._context.visit(self._subject, index, client)

    def _viewed(self, index: int) -> None:
        self._index = index
        name = self._capture.names[index]
        if self._choice.value != name:
            self._choice.value = name  # type: ignore[misc]  # viser's setter is overloaded
        self._draw_tracks()
        self._look()

    def _splat_changed(self) -> None:
        if self._picture.visible:
            self._look()

    # -- pictures ---------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        self._context.worker.submit(self._compare, replaces="photograph")

    def _compare(self) -> None:
        index = self._index
        name, kind = self._capture.names[index], "held out from training" if self._is_held_out(index) else ""
        try:
            photo = thumbnail(self._capture, index, COMPARE_PX, self._photographs.background)
            self._shown = photo, None
            self._arrange()
            self._picture.visible = True
            self._caption.content = markup.caption(name, kind, "" if self._beside is None else "looking ...")
            picture, facts = self._counterpart(index, photo)
            if picture is not None:
                self._shown = resize_to(photo, picture.shape[1], picture.shape[0]), picture
                self._arrange()
            self._caption.content = markup.caption(name, kind, *facts)
        except Exception as error:  # a photograph that has gone is told here, where people look for it
            self._caption.content = markup.caption(name, str(error))

    def _arrange(self) -> None:
        """Put the photograph and what belongs to it together, beside each other or with a line between them."""
        photo, picture = self._shown
        self._line.visible = self._wipe.value
        if self._cameras is not None:
            if self._wipe.value and self._picture.visible:
                camera = self._cameras[self._index].resized(photo.shape[1], photo.shape[0])
                self._canvas.show(photo, camera, self._line.value)
            else:
                self._canvas.hide()
        if picture is not None:
            wipe = self._wipe.value
            photo = wiped(photo, picture, self._line.value) if wipe else side_by_side(photo, picture)
        self._picture.image = photo

    def _counterpart(self, index: int, photo: np.ndarray) -> tuple[np.ndarray | None, list[str]]:
        """(the picture beside the photograph, facts for its caption)."""
        splat, beside = self._subject.splat, None if self._beside is None else self._beside.value
        if beside in (DEPTH, CONFIDENCE):
            return self._stereo_picture(index, beside)
        if beside is None or splat is None or self._cameras is None:
            return None, []
        moment = self._photographs.time_of(index)
        rendering = render_rgb8(splat, self._cameras[index], COMPARE_PX, moment)
        photo = resize_to(photo, rendering.shape[1], rendering.shape[0])
        figure = psnr(*(torch.from_numpy(p).float() / 255 for p in (rendering, photo)))
        facts = [f"photograph, then {beside}", f"PSNR {figure:.1f} dB at this size"]
        if splat.time_range_s is not None and moment is not None:
            facts.append(f"at {moment:.4g} s")
        return (error_map(rendering, photo) if beside == ERROR else rendering), facts

    def _stereo_picture(self, index: int, beside: str) -> tuple[np.ndarray | None, list[str]]:
        assert self._photographs.stereo is not None
        views = self._photographs.stereo_views()
        if index not in views:
            return None, ["no depth: it was held out"]
        found = self._photographs.stereo().maps[views.index(index)]
        if beside == DEPTH:
            return depth_picture(found.depth.numpy()), ["photograph, then depth: red is near"]
        sure = float((found.confidence > 1).float().mean())
        return trust_picture(found.confidence.numpy()), [f"depth is measured for {sure:.0%}, guessed where it is dark"]

    def _is_held_out(self, index: int) -> bool:
        return index in (self._capture.test or ())

    def _draw_tracks(self) -> None:
        if self._tracks is None or self._cameras is None:
            return
        layer = self._subject.layers.setdefault("tracks", Layer("Tracks", []))
        handles: list[Any] = []
        points = tracks_of(self._capture, self._index)
        if self._tracks.value and len(points):
            center = self._cameras.centers[self._index]
            handles.append(draw_tracks(self._context.server, self._path, center, points, self._context.stage))
        else:
            for old in layer.handles:
                old.remove()
        layer.replace(handles)
