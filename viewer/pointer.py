"""`Pointer`: what the next clicks or the next rectangle on the canvas mean, and the marks that they leave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import viser

MARK_COLOR = (255, 115, 0)


class Pointer:
    """One tool at a time has the canvas; taking it for another drops the first one and its marks."""

    def __init__(self, server: viser.ViserServer) -> None:
        self._scene = server.scene
        self._remove: Callable[[], None] | None = None
        self._marks: list[Any] = []
        self.tool: str | None = None  # name of the tool that has the canvas

    def rectangle(self, tool: str, done: Callable[[viser.SceneRectSelectEvent], None]) -> None:
        """The next drag draws a rectangle instead of turning the view."""
        self.release()

        def once(event: viser.SceneRectSelectEvent) -> None:
            self.release()
            done(event)

        self._scene.on_rect_select()(once)
        self.tool, self._remove = tool, lambda: self._scene.remove_rect_select_callback(once)

    def clicks(self, tool: str, clicked: Callable[[viser.SceneClickEvent], None]) -> None:
        """Every click goes to `clicked` until somebody calls `release`."""
        self.release()
        self._scene.on_click()(clicked)
        self.tool, self._remove = tool, lambda: self._scene.remove_click_callback(clicked)

    def release(self) -> None:
        """The canvas turns the view again."""
        if self._remove is not None:
            self._remove()
        self.tool = self._remove = None
        self.clear_marks()

    def mark(self, points_page: np.ndarray, size: float, closed: bool = False) -> None:
        """Show points [M, 3] of a size in page units, and lines from each to the next, in place of the marks before."""
        self.clear_marks()
        points_page = points_page.astype(np.float32)
        self._marks.append(
            self._scene.add_point_cloud(
                "/edit/marks", points_page, MARK_COLOR, point_size=size, point_shape="circle", precision="float32"
            )
        )
        lines = np.stack([points_page, np.roll(points_page, -1, axis=0)], axis=1)
        lines = lines if closed else lines[:-1]
        if len(lines):
            self._marks.append(draw_lines(self._scene, "/edit/lines", lines))

    def clear_marks(self) -> None:
        for mark in self._marks:
            mark.remove()
        self._marks = []


def draw_lines(scene: viser.SceneApi, path: str, lines_page: np.ndarray, visible: bool = True) -> Any:
    """Segments [M, 2, 3] in the colour of marks, as wide on the screen wherever they are."""
    color = np.array(MARK_COLOR, np.uint8)
    return scene.add_line_segments(path, lines_page, color, thickness=2.5, thickness_units="screen", visible=visible)
