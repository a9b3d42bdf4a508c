"""The tools that drag a splat by its control points: a frozen moment, handles, a gizmo, and the file of the edit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import viser

from ...scene.edit import pick
from ...scene.edit.node_drag import MODES
from ...scene.errors import FewviewError
from ...scene.geometry import quat_from_rotation, rotation_from_quat, so3_exp, so3_log
from ...scene.splat import StaticSplat
from .. import markup
from ..drag_session import DragSession
from ..layers.control_point_layer import ANCHOR, CHOSEN, FREE, LED, PATH, draw_control_points
from .edit_drag_film import DragFilm
from .edit_workbench import Workbench

MODE_NAMES = dict(zip(("go on from here", "anew from rest"), MODES, strict=True))
TOOL = "handles"
GIZMO = 1.2  # length of its arms, page units: shorter ones would end inside of what they move, which hides them
MOST_RINGS = 8
NO_CLICKS = "Freeze the moment first; then click on what shall move, and on what shall stay."
HELP = "Click on what shall move, and on what shall stay: a handle that you do not move is an anchor."


class DragTools:
    """Freezes the moment that is shown, and lets handles on it be dragged and turned; the rest of the scene follows."""

    def __init__(self, bench: Workbench) -> None:
        self._bench, self._context = bench, bench.context
        self.session: DragSession | None = None
        self.chosen: int | None = None  # handle that has the gizmo
        self._drawn: list[Any] = []
        gui = bench.context.server.gui
        with gui.add_folder("Drag", expand_by_default=False):
            self._freeze = gui.add_button("Freeze this moment", hint="The file stays as it is.")
            self._freeze.on_click(lambda _: self._bench.attempt(self._begin if self.session is None else self.release))
            self._told = gui.add_html(markup.small(NO_CLICKS))
            self._clicks = gui.add_button("Add handles by clicks", visible=False)
            self._clicks.on_click(lambda _: self._toggle_clicks())
            self._rings = gui.add_slider(
                "Rings", 0, MOST_RINGS, 1, 2, visible=False,
                hint="How far around the click a new handle reaches, in steps from one control point to the next.",
            )  # fmt: skip
            self._mode = gui.add_dropdown(
                "Solve", tuple(MODE_NAMES), visible=False,
                hint="Going on finds large turns. Anew from rest the same places always give the same shape.",
            )  # fmt: skip
            self._mode.on_update(lambda _: self._bench.attempt(self._set_mode))
            self._remove = gui.add_button("Remove this handle", visible=False)
            self._remove.on_click(lambda _: self._bench.attempt(self._remove_chosen))
            self._undo = gui.add_button("Undo drag", visible=False)
            self._undo.on_click(lambda _: self._bench.attempt(lambda: self._step(DragSession.undo)))
            self._redo = gui.add_button("Redo drag", visible=False)
            self._redo.on_click(lambda _: self._bench.attempt(lambda: self._step(DragSession.redo)))
            self._shown = gui.add_checkbox("Show control points", True, visible=False)
            self._shown.on_update(lambda _: self._bench.attempt(self._draw_points))
            self._name = gui.add_text("Name", bench.session.new_name(), visible=False)
            self._save = gui.add_button("Save the dragged splat", visible=False)
            self._save.on_click(lambda event: self._bench.attempt(lambda: self._save_splat(event.client)))
            self._download = gui.add_button(
                "Download the drag file", visible=False, hint="`fewview edit --drag` does the same with it."
            )
            self._download.on_click(lambda event: self._bench.attempt(lambda: self._send_file(event.client)))
            self._film = DragFilm(bench, lambda: self.session, self._show)
        self._gizmo = bench.context.server.scene.add_transform_controls(
            f"{PATH}/gizmo", GIZMO, line_width=4.0, depth_test=False, visible=False
        )
        self._gizmo.on_update(self._gizmo_moved)

    def dragged(self) -> StaticSplat | None:
        """The splat as it is dragged, None while no moment is frozen."""
        return None if self.session is None else self.session.splat()

    # -- a frozen moment --------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        subject = self._bench.subject
        assert subject.splat is not None
        time_s = None if subject.drawn is None else subject.drawn.time_s
        moments = subject.splat.time_range_s
        if moments is not None and time_s is not None:
            time_s = min(max(time_s, moments[0]), moments[1])
        self.session = DragSession(subject.splat, time_s)
        self.session.mode = MODE_NAMES[self._mode.value]
        self.chosen = None
        self._show()

    def release(self) -> None:
        """Show the splat as it was before its moment was frozen; what was dragged and not saved is gone."""
        if self.session is None:
            return
        self.session, self.chosen = None, None
        self._film.stop()
        if self._bench.pointer.tool == TOOL:
            self._bench.pointer.release()
        subject = self._bench.subject
        if subject.drawn is not None and subject.splat is not None:
            subject.drawn.show(subject.splat)
        self._show_controls()
        self._draw_points()
        self._place_gizmo()

    # -- handles ----------------------------------------------------------------------------------------------------

    def _toggle_clicks(self) -> None:
        pointer = self._bench.pointer
        again = pointer.tool == TOOL
        pointer.release()
        if not again:
            pointer.clicks(TOOL, self._clicked)
        self._tell()

    def _clicked(self, event: viser.SceneClickEvent) -> None:
        origin = self._context.stage.world(torch.tensor(event.ray_origin))
        direction = torch.tensor(event.ray_direction)
        self._bench.attempt(lambda: self._take(origin, direction, event.client))

    def _take(self, origin: torch.Tensor, direction: torch.Tensor, client: viser.ClientHandle) -> None:
        """The surface under the click becomes a handle, or the handle that is there already is chosen."""
        session = self.session
        if session is None:
            return
        found = pick(session.splat().gaussians, origin, direction)
        if found is None:
            self._context.notify("Nothing there", "The click met no Gaussian; click on the splat.", client)
            return
        point = session.nearest(found.point)
        owner = session.owner(point)
        self.chosen = session.add(point, int(self._rings.value)) if owner is None else owner
        self._refresh()

    def _remove_chosen(self) -> None:
        if self.session is not None and self.chosen is not None:
            self.session.remove(self.chosen)
            self.chosen = None
            self._show()

    def _set_mode(self) -> None:
        if self.session is not None:
            self.session.mode = MODE_NAMES[self._mode.value]

    # -- dragging ---------------------------------------------------------------------------------------------------

    def _gizmo_moved(self, event: Any) -> None:
        self._bench.attempt(self._follow_gizmo, replaces="drag/lead")
        if getattr(event, "phase", None) == "end":  # older releases do not tell: all that one handle is led is one step
            self._bench.attempt(self._let_go)

    def _follow_gizmo(self) -> None:
        """Lead the chosen handle to where the gizmo is; the page sends many places, of which only the last counts."""
        session, stage = self.session, self._context.stage
        if session is None or self.chosen is None:
            return
        handle = session.grips[self.chosen].handle
        centre = session.frozen.points[handle.points].mean(0)
        move = stage.world(np.asarray(self._gizmo.position)).double() - centre
        turn = so3_log(rotation_from_quat(torch.tensor(np.asarray(self._gizmo.wxyz)).double()))
        try:
            session.lead(self.chosen, move, turn)
        except FewviewError:
            self._place_gizmo()
            raise
        self._show(gizmo=False)

    def _let_go(self) -> None:
        if self.session is not None:
            self.session.let_go()

    def _step(self, step: Callable[[DragSession], None]) -> None:
        session = self.session
        if session is None:
            return
        step(session)
        if self.chosen is not None and self.chosen >= len(session.grips):
            self.chosen = None
        self._show()

    # -- what is shown ----------------------------------------------------------------------------------------------

    def _show(self, gizmo: bool = True) -> None:
        """The splat as it is dragged, and all that goes with it."""
        splat, subject = self.dragged(), self._bench.subject
        if splat is not None and subject.drawn is not None:
            subject.drawn.show(splat)
        self._refresh(gizmo)

    def _refresh(self, gizmo: bool = True) -> None:
        self._show_controls()
        self._draw_points()
        if gizmo:
            self._place_gizmo()

    def _show_controls(self) -> None:
        session = self.session
        self._freeze.label = "Freeze this moment" if session is None else "Let go of this moment"
        for control in (self._clicks, self._rings, self._mode, self._undo, self._redo, self._shown, self._download):
            control.visible = session is not None
        self._remove.visible = session is not None and self.chosen is not None
        can_save = session is not None and self._bench.session.can_save
        self._name.visible = self._save.visible = can_save
        self._film.show_controls()
        if session is not None:
            self._undo.disabled, self._redo.disabled = session.undo_name is None, session.redo_name is None
            self._undo.label = "Undo drag" if session.undo_name is None else f"Undo: {session.undo_name}"
            self._redo.label = "Redo drag" if session.redo_name is None else f"Redo: {session.redo_name}"
        self._tell()

    def _tell(self) -> None:
        session = self.session
        clicking = self._bench.pointer.tool == TOOL
        self._clicks.label = "Stop adding handles" if clicking else "Add handles by clicks"
        if session is None:
            self._told.content = markup.small(NO_CLICKS)
            return
        led = sum(not grip.handle.is_anchor for grip in session.grips)
        when = "" if session.frozen.time_s is None else f"{session.frozen.time_s:.4g} s · "
        counts = _counted(led, "handle"), _counted(len(session.grips) - led, "anchor")
        told = f"{when}{_counted(len(session.points), 'control point')} · {counts[0]} moved · {counts[1]}"
        if (facts := session.facts()) is not None:
            told += f" · edges stretch by {100 * facts.mean_stretch:.1f} %, {facts.moved:,} Gaussians moved"
        self._told.content = markup.small(told if session.grips else f"{told}. {HELP}")

    def _draw_points(self) -> None:
        for drawn in self._drawn:
            drawn.remove()
        self._drawn = []
        session = self.session
        if session is None or not self._shown.value:
            return
        colors = np.tile(np.array(FREE, np.uint8), (len(session.points), 1))
        for i, grip in enumerate(session.grips):
            colors[grip.handle.points.numpy()] = ANCHOR if grip.handle.is_anchor else LED
            if i == self.chosen:
                colors[grip.handle.points.numpy()] = CHOSEN
        self._drawn = draw_control_points(
            self._context.server.scene, self._context.stage, session.points, colors, session.pairs
        )

    def _place_gizmo(self) -> None:
        """The gizmo at the chosen handle, turned as it is; without one it is put away."""
        session = self.session
        if session is None or self.chosen is None:
            self._gizmo.visible = False
            return
        handle = session.grips[self.chosen].handle
        centre = session.frozen.points[handle.points].mean(0) + handle.move
        self._gizmo.position = self._context.stage.place(centre)
        self._gizmo.wxyz = quat_from_rotation(so3_exp(handle.turn)).numpy()
        self._gizmo.visible = True

    # -- saving -----------------------------------------------------------------------------------------------------

    def _save_splat(self, client: Any) -> None:
        session, bench = self.session, self._bench
        if session is None:
            return
        path, lost = bench.session.of(session.splat()).save(self._name.value.strip())
        self._context.notify("Saved", " ".join((f"{path}.", *lost)), client)
        self._name.value = bench.session.new_name()  # type: ignore[misc]  # viser's setter is overloaded

    def _send_file(self, client: Any) -> None:
        if client is not None and self.session is not None:
            client.send_file_download("drag.json", self.session.drag_file(), save_immediately=True)


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
