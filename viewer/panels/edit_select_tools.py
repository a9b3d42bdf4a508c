"""The tools that select Gaussians: a box, a sphere, a rectangle, a lasso, and the limits of floaters."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import torch
import viser

from ...scene.cameras import Cameras
from ...scene.edit import FloaterLimits, in_box, in_lasso, in_rectangle, in_sphere
from ...scene.edit.selection import MODES
from ...scene.geometry import rotation_from_quat, se3_from
from .. import markup
from ..pointer import draw_lines
from ..subjects.subject import bounds
from .edit_workbench import Workbench

MODE_NAMES = dict(zip(("replace it", "add to it", "remove from it", "intersect with it"), MODES, strict=True))
LASSO_DEPTH = 1.0  # page units before the camera, where the lasso is drawn: nearer than anything that is looked at
LASSO_MARK = 0.012  # page units, at that distance
HANDLES = 1.3  # length of the gizmo's arms in half sizes of the shape: inside of it the splat would hide them
MAX_SIZE, MAX_ISOLATION, MAX_NEEDLE = 2.0, 50.0, 100.0  # of the sliders, where they stop to count


class SelectTools:
    """Controls that make a mask of Gaussians, and take it into the session's selection."""

    def __init__(self, bench: Workbench) -> None:
        self._bench, self._context = bench, bench.context
        gui = bench.context.server.gui
        with gui.add_folder("Select"):
            self._mode = gui.add_dropdown("The selection", tuple(MODE_NAMES), hint="What a new selection does to it.")
            shape = gui.add_button_group("In space", ("Box", "Sphere"))
            shape.on_click(lambda _: self._show_shape(shape.value))
            self._build_shapes()
            screen = gui.add_button_group("On screen", ("Rectangle", "Lasso"))
            screen.on_click(lambda event: self._take_screen(screen.value, event.client))
            self._depth = gui.add_slider(
                "Depth limit", 0.0, 4.0, 0.05, 0.0,
                hint="How deep a rectangle or lasso reaches, in distances to the point that the view turns around; "
                "0 is no limit.",
            )  # fmt: skip
            self._told = gui.add_html("", visible=False)
            self._close = gui.add_button("Close lasso", visible=False)
            self._close.on_click(lambda _: self._close_lasso())
        with gui.add_folder("Floaters", expand_by_default=False):
            self._build_floaters()

    def _select(self, mask_of: Any) -> None:
        """Compute a mask [N] on the worker, and take it into the selection."""
        session = self._bench.session
        self._bench.do(lambda: session.select(mask_of(session.means), MODE_NAMES[self._mode.value]))

    # -- box and sphere ---------------------------------------------------------------------------------------------

    def _build_shapes(self) -> None:
        context, gui = self._context, self._context.server.gui
        low, high = bounds([self._bench.subject], context.stage)
        center, half = (low + high) / 2, np.maximum((high - low) / 4, 0.05)
        longest = 2 * float((high - low).max()) + 0.1
        scene = context.server.scene
        self._gizmo = scene.add_transform_controls("/edit/shape", position=center, line_width=4.0, visible=False)
        self._outline = draw_lines(scene, "/edit/shape/outline", _box_edges(half), visible=False)
        self._sides = [
            gui.add_slider(f"Size {axis}", 0.02, longest, 0.01, round(2 * float(half[i]), 2), visible=False)
            for i, axis in enumerate("xyz")
        ]
        self._radius = gui.add_slider("Radius", 0.02, longest / 2, 0.01, round(float(half.mean()), 2), visible=False)
        for slider in (*self._sides, self._radius):
            slider.on_update(lambda _: self._draw_shape())
        self._here = gui.add_button("Move it to a click", visible=False)
        self._here.on_click(lambda event: self._bench.collect(1, event.client, self._say, self._move_shape))
        self._inside = gui.add_button("Select what is inside", visible=False)
        self._inside.on_click(lambda _: self._select_inside())
        self._shape: str | None = None

    def _show_shape(self, shape: str) -> None:
        """The shape's handles and sliders; the same button once more puts them away."""
        self._shape = None if shape == self._shape else shape
        self._gizmo.visible = self._outline.visible = self._shape is not None
        self._inside.visible = self._here.visible = self._shape is not None
        self._radius.visible = self._shape == "Sphere"
        for side in self._sides:
            side.visible = self._shape == "Box"
        self._draw_shape()

    def _move_shape(self, points_world: torch.Tensor, _: torch.Tensor) -> None:
        self._gizmo.position = self._context.stage.place(points_world[0])

    def _half_sizes(self) -> np.ndarray:
        """[3] page units"""
        if self._shape == "Sphere":
            return np.full(3, self._radius.value)
        return np.array([side.value for side in self._sides]) / 2

    def _draw_shape(self) -> None:
        half = self._half_sizes()
        self._outline.points = _circles(half[0]) if self._shape == "Sphere" else _box_edges(half)
        self._gizmo.scale = HANDLES * float(half.max())
        self._gizmo.disable_rotations = self._shape == "Sphere"

    def _select_inside(self) -> None:
        stage = self._context.stage
        center = stage.world(np.asarray(self._gizmo.position))
        half = torch.from_numpy(self._half_sizes()) / stage.scale
        if self._shape == "Sphere":
            self._select(lambda means: in_sphere(means, center, float(half[0])))
            return
        world_from_box = se3_from(rotation_from_quat(torch.tensor(np.asarray(self._gizmo.wxyz)).float()), center)
        self._select(lambda means: in_box(means, world_from_box, half))

    # -- rectangle and lasso ----------------------------------------------------------------------------------------

    def _take_screen(self, tool: str, client: viser.ClientHandle | None) -> None:
        """Gives the canvas to the tool; the same button once more gives it back."""
        pointer = self._bench.pointer
        again = pointer.tool == tool
        pointer.release()
        self._corners: list[tuple[float, float]] = []
        self._lasso_from: tuple[int, np.ndarray, Cameras] | None = None
        self._close.visible = False
        if again:
            self._say("")
        elif tool == "Rectangle":
            self._say("Drag a rectangle over the view. The button once more gives the view back.")
            pointer.rectangle(tool, self._rectangle_drawn)
        else:
            self._say("Click the corners around what you want, without turning the view, then close the lasso.")
            self._close.visible = True
            pointer.clicks(tool, self._corner_clicked)

    def _say(self, text: str) -> None:
        self._told.content = markup.small(text)
        self._told.visible = bool(text)

    def _max_depth(self, client: viser.ClientHandle) -> float:
        """World units; see the slider's hint."""
        distance = float(np.linalg.norm(client.camera.look_at - client.camera.position))
        return self._depth.value * distance / self._context.stage.scale if self._depth.value > 0 else math.inf

    def _rectangle_drawn(self, event: viser.SceneRectSelectEvent) -> None:
        self._say("")
        camera, depth = self._context.camera_of(event.client), self._max_depth(event.client)
        a, b = (_pixel(camera, corner) for corner in (event.screen_min, event.screen_max))
        self._select(lambda means: in_rectangle(means, camera, a, b, depth))

    def _corner_clicked(self, event: viser.SceneClickEvent) -> None:
        """A corner belongs to the view that it was clicked in: another view begins another lasso."""
        view = event.client.camera
        place = np.concatenate([view.position, view.wxyz, [view.fov]])
        before = self._lasso_from
        if before is None or before[0] != event.client_id or not np.allclose(before[1], place, atol=1e-4):
            if before is not None:
                self._say("The view has turned, so the lasso begins again with this corner.")
            self._corners = []
            self._lasso_from = event.client_id, place, self._context.camera_of(event.client)
            self._lasso_depth = self._max_depth(event.client)
            self._drawn_corners: list[np.ndarray] = []
        self._corners.append(event.screen_pos)
        self._drawn_corners.append(np.add(event.ray_origin, LASSO_DEPTH * np.array(event.ray_direction)))
        self._bench.pointer.mark(np.array(self._drawn_corners), LASSO_MARK, closed=len(self._corners) > 2)

    def _close_lasso(self) -> None:
        corners, start = self._corners, self._lasso_from
        if start is None or len(corners) < 3:
            self._say("A lasso needs at least three corners; click some more.")
            return
        camera, depth = start[2], self._lasso_depth
        polygon = torch.tensor([_pixel(camera, corner) for corner in corners])
        self._bench.pointer.release()
        self._close.visible = False
        self._say("")
        self._select(lambda means: in_lasso(means, camera, polygon, depth))

    # -- floaters ---------------------------------------------------------------------------------------------------

    def _build_floaters(self) -> None:
        gui, usual = self._context.server.gui, FloaterLimits()
        self._faint = gui.add_slider("Fainter than", 0.0, 0.5, 0.005, usual.min_opacity or 0.0, hint="Opacity.")
        self._huge = gui.add_slider(
            "Larger than", 0.05, MAX_SIZE, 0.05, usual.max_size or MAX_SIZE,
            hint="Longest standard deviation, in radii of the scene; the right end is no limit.",
        )  # fmt: skip
        self._alone = gui.add_slider(
            "Lonelier than", 1.0, MAX_ISOLATION, 0.5, usual.max_isolation or MAX_ISOLATION,
            hint="Distance to its neighbours, in usual ones of the scene; the right end is no limit.",
        )  # fmt: skip
        self._thin = gui.add_slider(
            "Longer than wide", 1.0, MAX_NEEDLE, 1.0, MAX_NEEDLE, hint="Needles; the right end is no limit."
        )
        self._matching = gui.add_html(markup.small("Move a slider to see how many there are."))
        for slider in (self._faint, self._huge, self._alone, self._thin):
            slider.on_update(lambda _: self._context.worker.submit(self._count_floaters, replaces="edit/floaters"))
        gui.add_button("Select them").on_click(lambda _: self._select(lambda _: self._floaters()))

    def _limits(self) -> FloaterLimits:
        return FloaterLimits(
            float(self._faint.value),
            _unless(self._huge.value, MAX_SIZE),
            _unless(self._alone.value, MAX_ISOLATION),
            _unless(self._thin.value, MAX_NEEDLE),
        )

    def _floaters(self) -> torch.Tensor:
        return self._bench.session.floaters(self._limits())

    def _count_floaters(self) -> None:
        found = int(self._floaters().sum())
        left = self._bench.session.editor.count
        self._matching.content = markup.small(f"{found:,} of {left:,} ({found / max(left, 1):.1%})")


def _pixel(camera: Cameras, place: tuple[float, float]) -> tuple[float, float]:
    """(x, y) in pixels of a camera [] of a place on the canvas, whose corners are (0, 0) and (1, 1)."""
    return place[0] * float(camera.width), place[1] * float(camera.height)


def _unless(value: float, end: float) -> float | None:
    return None if value >= end else float(value)


def _box_edges(half: np.ndarray) -> np.ndarray:
    """The twelve edges [12, 2, 3] float32 of a box around the origin."""
    corners = np.array(list(itertools.product((-1, 1), repeat=3)))
    pairs = [(a, b) for a, b in itertools.combinations(corners, 2) if (a != b).sum() == 1]
    return (np.array(pairs) * half).astype(np.float32)


def _circles(radius: float, steps: int = 48) -> np.ndarray:
    """Three great circles [3 * steps, 2, 3] float32 of a sphere around the origin."""
    angle = np.linspace(0, 2 * np.pi, steps + 1)
    flat = radius * np.stack([np.cos(angle), np.sin(angle), np.zeros_like(angle)], axis=-1)
    rings = [np.roll(flat, shift, axis=1) for shift in range(3)]
    return np.concatenate([np.stack([ring[:-1], ring[1:]], axis=1) for ring in rings]).astype(np.float32)
