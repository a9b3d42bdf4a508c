"""The tools that set a splat's frame: its origin, its up axis and its unit."""

from __future__ import annotations

from collections.abc import Callable

import torch
import viser
from torch import Tensor

from ...scene.edit import centered_at, ground_normal, median_point, turned_up
from ...scene.geometry import quat_from_rotation, rotation_from_quat
from .. import markup
from .edit_workbench import Workbench

AXES_LENGTH = 0.8  # page units


class FrameTools:
    """The page goes on showing the frame that the splat came in; three axes show where the new one is."""

    def __init__(self, bench: Workbench) -> None:
        self._bench, self._context = bench, bench.context
        self._first_up = bench.context.pilot.up
        self._axes: viser.FrameHandle | None = None
        self._shown = bench.session.editor.similarity
        gui = bench.context.server.gui
        with gui.add_folder("Frame", expand_by_default=False):
            origin = gui.add_button_group("Origin", ("Middle", "Click"))
            origin.on_click(lambda event: self._recentre(origin.value, event.client))
            up = gui.add_button_group("Up (+z)", ("This view", "3 ground points"))
            up.on_click(lambda event: self._set_up(up.value, event.client))
            self._metres = gui.add_number("Metres", 1.0, min=1e-6, step=0.001)
            scale = gui.add_button("Set the scale by 2 points", hint="Click two points that are so many metres apart.")
            scale.on_click(lambda event: self._collect(2, event.client, self._scale))
            self._told = gui.add_html("", visible=False)

    def show(self) -> None:
        """Draw the axes of the new frame, and let up be up on the page."""
        new = self._bench.session.editor.similarity
        if new is self._shown:
            return
        self._shown = new
        if self._axes is not None:
            self._axes.remove()
            self._axes = None
        identity = torch.eye(3, dtype=torch.float64)
        turned = not torch.equal(new.rotation, identity)
        if turned or bool((new.translation != 0).any()) or float(new.scale) != 1:
            old = new.inverse()
            self._axes = self._context.server.scene.add_frame(
                "/edit/frame", axes_length=AXES_LENGTH, axes_radius=0.012,
                wxyz=quat_from_rotation(old.rotation).numpy(), position=self._context.stage.place(old.translation),
            )  # fmt: skip
        up = new.rotation.T[:, 2].numpy() if turned else self._first_up
        if (up != self._context.pilot.up).any():
            self._context.pilot.up = up

    # -- origin -----------------------------------------------------------------------------------------------------

    def _recentre(self, how: str, client: viser.ClientHandle | None) -> None:
        if how == "Click":
            self._collect(1, client, lambda points, _: self._origin_at(points[0]))
        else:
            self._bench.do(lambda: self._origin_at(median_point(self._bench.session.left().means)))

    def _origin_at(self, point: Tensor) -> None:
        session = self._bench.session
        session.move(centered_at(session.editor.similarity(point)), "Origin")

    # -- up ---------------------------------------------------------------------------------------------------------

    def _set_up(self, how: str, client: viser.ClientHandle | None) -> None:
        if client is None:
            return
        if how == "This view":
            up = -rotation_from_quat(torch.tensor(client.camera.wxyz).double())[:, 1]
            self._bench.do(lambda: self._up_is(up))
        else:
            self._collect(3, client, lambda points, above: self._up_is(ground_normal(points, above)))

    def _up_is(self, up_world: Tensor) -> None:
        session = self._bench.session
        session.move(turned_up(session.editor.similarity.rotation @ up_world), "Up")

    # -- scale ------------------------------------------------------------------------------------------------------

    def _scale(self, points: Tensor, _: Tensor) -> None:
        self._bench.session.scale_to(points[0], points[1], float(self._metres.value))

    # -- clicks -----------------------------------------------------------------------------------------------------

    def _collect(self, count: int, client: viser.ClientHandle | None, done: Callable[[Tensor, Tensor], object]) -> None:
        self._bench.collect(count, client, self._say, done)

    def _say(self, text: str) -> None:
        self._told.content = markup.small(text)
        self._told.visible = bool(text)
