"""Edit: select Gaussians, delete them, drag them by control points, set the frame, undo, and save as new."""

from __future__ import annotations

from typing import Any

import torch

from .. import markup
from ..kept_edits import forget_edits, kept_edits
from ..panel_context import Context
from ..subjects.splat_subject import SplatSubject
from .edit_drag_tools import DragTools
from .edit_frame_tools import FrameTools
from .edit_select_tools import SelectTools
from .edit_workbench import Workbench

HELP = "Deleting changes only what is shown here. The file stays as it is; save the result as a new one."


class EditTab:
    """Edits the splat of one subject: the active one, else the first that has some."""

    @staticmethod
    def wanted(context: Context) -> bool:
        return any(subject.splat is not None for subject in context.of_kind(SplatSubject))

    def __init__(self, context: Context) -> None:
        self.subject = next(s for s in context.of_kind(SplatSubject) if s.splat is not None)
        self._context = context
        self.bench = Workbench(context, self.subject, self._show)
        self._begin()
        gui = context.server.gui
        self._status = gui.add_html("")
        self._build_earlier()
        self.select_tools = SelectTools(self.bench)
        self._build_actions()
        self.drag_tools = DragTools(self.bench)
        self.frame_tools = FrameTools(self.bench)
        self._build_saving()
        gui.add_html(markup.small(HELP))
        self._tell_state()
        self.subject.on_change(self._splat_changed)

    # -- what is shown ----------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        session = self.bench.session
        assert self.subject.splat is not None
        self._drawn = self.subject.splat
        self._drawn_alive, self._drawn_selected = session.editor.alive, session.selected

    def _splat_changed(self) -> None:
        """A splat that came from elsewhere, such as a training run, ends the edits of the one before."""
        if self.subject.splat is not self._drawn:
            self.drag_tools.release()
            self.bench.begin()
            self._begin()
            self._tell_state()

    def _show(self) -> None:
        """Brings the page up to date; only what has changed is sent to the browsers."""
        session = self.bench.session
        alive, selected = session.editor.alive, session.selected
        if not torch.equal(alive, self._drawn_alive):
            self.drag_tools.release()  # it holds Gaussians that are no longer there
            self._drawn = session.splat_left()
            self.subject.show_splat(self._drawn, session.tint())
        elif not torch.equal(selected, self._drawn_selected) and self.subject.drawn is not None:
            self.subject.drawn.show(self.drag_tools.dragged() or self._drawn, session.tint())
        self._drawn_alive, self._drawn_selected = alive, selected
        self.frame_tools.show()
        self._tell_state()

    def _tell_state(self) -> None:
        self._status.content = markup.caption("Edit", self.bench.session.facts())
        editor = self.bench.session.editor
        if self._earlier is not None:
            self._earlier.visible = not editor.changed
        for button, what, name in ((self._undo, "Undo", editor.undo_name), (self._redo, "Redo", editor.redo_name)):
            button.disabled = name is None
            button.label = what if name is None else f"{what}: {name}"

    # -- controls ---------------------------------------------------------------------------------------------------

    def _build_earlier(self) -> None:
        """A button for the edits that an earlier viewer kept of the same file and nobody saved."""
        path, splat = self.subject.splat_path, self.subject.splat
        kept = None if path is None or splat is None else kept_edits(path, len(splat))
        self._earlier = None
        if kept is None:
            return
        self._earlier = self._context.server.gui.add_button(
            f"Bring back earlier edits ({kept.facts()})", hint="They were not saved when the viewer ended."
        )
        self._earlier.on_click(lambda _: self.bench.do(lambda: kept.apply(self.bench.session.editor)))

    def _build_actions(self) -> None:
        gui = self._context.server.gui
        buttons = gui.add_button_group("", ("Delete", "Keep only", "Invert", "Clear"))
        buttons.on_click(lambda _: self._act(buttons.value))
        self._undo = gui.add_button("Undo", disabled=True)
        self._undo.on_click(lambda _: self.bench.do(self.bench.session.undo))
        self._redo = gui.add_button("Redo", disabled=True)
        self._redo.on_click(lambda _: self.bench.do(self.bench.session.redo))
        keys = self._context.shortcuts
        keys.add("Undo", "Z", lambda _: self.bench.do(self.bench.session.undo), modifier="cmd/ctrl")
        keys.add("Redo", "Z", lambda _: self.bench.do(self.bench.session.redo), modifier="cmd/ctrl+shift")
        keys.add("Delete what is selected", "delete", lambda _: self._act("Delete"))
        keys.add("Invert the selection", "I", lambda _: self._act("Invert"))

    def _act(self, what: str) -> None:
        if what == "Delete":
            self.bench.do(self.bench.session.delete)
        elif what == "Keep only":
            self.bench.do(self.bench.session.keep)
        elif what == "Invert":
            self.bench.do(self.bench.session.invert)
        else:
            self.bench.do(lambda: self.bench.session.select(torch.zeros_like(self.bench.session.selected)))

    def _build_saving(self) -> None:
        gui = self._context.server.gui
        with gui.add_folder("Save as new"):
            self._name = gui.add_text("Name", self.bench.session.new_name())
            if self.bench.session.can_save:
                gui.add_button("Save beside the old one").on_click(lambda event: self._save(event.client))
                if self.subject.run is not None:
                    gui.add_html(markup.small("A name without an ending saves a new run, whose cameras come along."))
            gui.add_button("Download").on_click(lambda event: self._download(event.client))

    def _save(self, client: Any) -> None:
        def save() -> None:
            path, lost = self.bench.session.save(self._name.value.strip())
            assert self.subject.splat_path is not None
            forget_edits(self.subject.splat_path)
            self._context.notify("Saved", " ".join((f"{path}.", *lost)), client)
            self._name.value = self.bench.session.new_name()  # type: ignore[misc]  # viser's setter is overloaded

        self.bench.do(save)

    def _download(self, client: Any) -> None:
        def send() -> None:
            name = self._name.value.strip()
            if client is not None:
                session = self.bench.session
                client.send_file_download(name, session.to_bytes(name), save_immediately=True)
                if lost := session.lost_in_a_file():
                    self._context.notify("One moment of it", lost[0], client)

        self.bench.do(send)
