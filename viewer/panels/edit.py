"""Edit: select Gaussians, delete them, set the frame, undo, and save as new."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import viser
from torch import Tensor

from ...scene.errors import FewviewError
from .. import markup
from ..editing import Session
from ..item import Item
from ..layers.splat import view_colors
from ..pointer import Pointer
from .edit_frame import FrameTools
from .edit_select import SelectTools

if TYPE_CHECKING:
    from ..page import Page

MARK_SIZE = 0.05  # of a picked point, page units
HELP = "Deleting changes only what is shown here. The file stays as it is; save the result as a new one."


class EditPanel:
    """Edits the splat of one input: the active one, else the first that has some."""

    @staticmethod
    def wanted(page: Page) -> bool:
        return any(item.gaussians is not None for item in page.items)

    def __init__(self, page: Page) -> None:
        self.page = page
        active = page.active.gaussians is not None
        self.item = page.active if active else next(i for i in page.items if i.gaussians is not None)
        self.pointer = Pointer(page.server)
        self._begin()
        gui = page.server.gui
        self._status = gui.add_html("")
        self.select_tools = SelectTools(self)
        self._build_actions()
        self.frame_tools = FrameTools(self)
        self._build_saving()
        gui.add_html(markup.small(HELP))
        self._tell_state()
        page.on_splat(self._splat_changed)

    def do(self, job: Callable[[], object]) -> None:
        """Run a job on the session soon, then show what came of it."""

        def run() -> None:
            try:
                job()
            except FewviewError as error:
                self.page.tell("Not done", str(error))
                return
            self._show()

        self.page.worker.submit(run)

    def collect(
        self,
        count: int,
        client: viser.ClientHandle | None,
        tell: Callable[[str], None],
        done: Callable[[Tensor, Tensor], object],  # of points [count, 3] and the viewer's place [3] in the world
    ) -> None:
        """The next clicks pick points on the splat, with `tell` for what to do; the last one hands them over."""
        if client is None:
            return
        points: list[Tensor] = []
        stage = self.page.stage

        def clicked(event: viser.SceneClickEvent) -> None:
            origin, direction = stage.world(torch.tensor(event.ray_origin)), torch.tensor(event.ray_direction)
            self.page.worker.submit(lambda: take(origin, direction, event.client))

        def take(origin: Tensor, direction: Tensor, who: viser.ClientHandle) -> None:
            if len(points) == count:  # a click too many, made while the last one was worked on
                return
            point = self.session.pick(origin, direction)
            if point is None:
                self.page.tell("Nothing there", "The click met no Gaussian; click on the splat.", who)
                return
            points.append(point)
            self.pointer.mark(stage.place(torch.stack(points)), MARK_SIZE)
            tell(f"{len(points)} of {count} points" if len(points) < count else "")
            if len(points) == count:
                self.pointer.release()
                self.do(lambda: done(torch.stack(points), origin))

        self.pointer.clicks("points", clicked)
        tell("Click a point on the splat." if count == 1 else f"Click {count} points on the splat.")

    # -- what is shown ----------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        gaussians = self.item.gaussians
        assert gaussians is not None
        self.session = Session(self.item.shown, gaussians, lambda g: view_colors(g, self.item.cameras))
        self._drawn = gaussians
        self._drawn_alive, self._drawn_selected = self.session.editor.alive, self.session.selected

    def _splat_changed(self, item: Item) -> None:
        """A splat that came from elsewhere, such as a training run, ends the edits of the one before."""
        if item is self.item and item.gaussians is not self._drawn:
            self._begin()
            self._tell_state()

    def _show(self) -> None:
        """Brings the page up to date; only what has changed is sent to the browsers."""
        session = self.session
        alive, selected = session.editor.alive, session.selected
        if not torch.equal(alive, self._drawn_alive):
            self._drawn = session.left()
            self.page.set_splat(self._drawn, self.item, session.tint())
        elif not torch.equal(selected, self._drawn_selected):
            self.item.set_splat(self._drawn, session.tint())
        self._drawn_alive, self._drawn_selected = alive, selected
        self.frame_tools.show()
        self._tell_state()

    def _tell_state(self) -> None:
        self._status.content = markup.caption("Edit", self.session.facts())
        editor = self.session.editor
        for button, what, name in ((self._undo, "Undo", editor.undo_name), (self._redo, "Redo", editor.redo_name)):
            button.disabled = name is None
            button.label = what if name is None else f"{what}: {name}"

    # -- controls ---------------------------------------------------------------------------------------------------

    def _build_actions(self) -> None:
        gui = self.page.server.gui
        buttons = gui.add_button_group("", ("Delete", "Keep only", "Invert", "Clear"))
        buttons.on_click(lambda _: self._act(buttons.value))
        self._undo = gui.add_button("Undo", disabled=True)
        self._undo.on_click(lambda _: self.do(self.session.undo))
        self._redo = gui.add_button("Redo", disabled=True)
        self._redo.on_click(lambda _: self.do(self.session.redo))

    def _act(self, what: str) -> None:
        if what == "Delete":
            self.do(self.session.delete)
        elif what == "Keep only":
            self.do(self.session.keep)
        elif what == "Invert":
            self.do(self.session.invert)
        else:
            self.do(lambda: self.session.select(torch.zeros_like(self.session.selected)))

    def _build_saving(self) -> None:
        gui = self.page.server.gui
        with gui.add_folder("Save as new"):
            self._name = gui.add_text("Name", self.session.new_name())
            if self.session.can_save:
                gui.add_button("Save beside the old one").on_click(lambda event: self._save(event.client))
                if self.item.shown.run is not None:
                    gui.add_html(markup.small("A name without an ending saves a new run, whose cameras come along."))
            gui.add_button("Download").on_click(lambda event: self._download(event.client))

    def _save(self, client: Any) -> None:
        def save() -> None:
            path, lost = self.session.save(self._name.value.strip())
            self.page.tell("Saved", " ".join((f"{path}.", *lost)), client)
            self._name.value = self.session.new_name()  # type: ignore[misc]  # viser's setter is overloaded

        self.do(save)

    def _download(self, client: Any) -> None:
        def send() -> None:
            name = self._name.value.strip()
            if client is not None:
                client.send_file_download(name, self.session.to_bytes(name))

        self.do(send)
