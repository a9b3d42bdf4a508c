"""Driving data: which key frame, what colours its points, which boxes, and the photographs with the boxes in them."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Callable

import cv2
import numpy as np
import viser

from ...render.draw_boxes import class_color, draw_boxes, draw_boxes_from_above, draw_from_above
from ...scene.boxes import Boxes
from ...scene.capture import fit_size
from ...scene.errors import FewviewError
from .. import markup
from ..layers.driving_layer import COLORINGS, lidar_colors
from ..panel_context import Context
from ..subjects.driving_subject import FIRST_SCORE, TRUE_COLOR, DrivingSubject

ALL, ABOVE = "all cameras", "from above"
PICTURE_PX = 1024  # longer side of what the panel shows
TILE_PX = 512  # width of one of all photographs
COLUMNS = 2
REACH_M = 50.0


class BoxesTab:
    """The first subject that is driving data."""

    @staticmethod
    def wanted(context: Context) -> bool:
        return bool(context.of_kind(DrivingSubject))

    def __init__(self, context: Context) -> None:
        self._context = context
        self._drive = context.of_kind(DrivingSubject)[0]
        self._build()
        self._refresh()
        self._drive.on_change(self._frame_changed)
        if context.clock.moves(self._drive.timeline):
            context.clock.on_change(self._follow_clock)

    @property
    def picture(self) -> np.ndarray:
        """The picture in the panel at present, uint8 [H, W, 3]."""
        return self._picture.image

    def _build(self) -> None:
        gui, drive = self._context.server.gui, self._drive
        self._title = gui.add_html("")
        if len(drive.log) > 1:
            self._slider = gui.add_slider("Key frame", 1, len(drive.log), 1, drive.index + 1)
            self._slider.on_update(lambda _: self._go_to(int(self._slider.value) - 1))
            step = gui.add_button_group("", ("Previous", "Next"))
            step.on_click(lambda _: self._step(-1 if step.value == "Previous" else 1))
        if drive.frame.detections is not None:
            score = gui.add_slider("Score at least", 0.0, 1.0, 0.01, FIRST_SCORE)
            score.on_update(lambda _: self._later("score", lambda: drive.set_min_score(float(score.value))))
        coloring = gui.add_dropdown("Colour of the points", COLORINGS, initial_value=drive.coloring)
        coloring.on_update(lambda _: self._later("colour", lambda: drive.color_points(coloring.value)))
        names = drive.frame.capture.names
        self._choice = gui.add_dropdown("Picture", (ALL, ABOVE, *names), initial_value=ALL if names else ABOVE)
        self._choice.on_update(lambda event: self._choose(event.client))
        self._labels = gui.add_checkbox("Names at the boxes", False)
        self._labels.on_update(lambda _: self._look())
        self._picture = gui.add_image(np.full((2, 2, 3), 255, np.uint8), visible=False)
        self._legend = gui.add_html("")

    # -- what the controls do ---------------------------------------------------------------------------------------

    def _step(self, by: int) -> None:
        # Comes back through `_go_to`.
        self._slider.value = (int(self._slider.value) - 1 + by) % len(self._drive.log) + 1  # type: ignore[misc]

    def _go_to(self, index: int) -> None:
        """By the page's clock, so that whatever else it moves comes along, where it counts key frames."""
        context, drive = self._context, self._drive
        if context.clock.moves(drive.timeline):
            context.clock.go_to(index + 1)
        else:
            context.worker.submit(lambda: drive.show_moment(index + 1), replaces="boxes/frame")

    def _frame_changed(self) -> None:
        if self._drive.problem is None:
            self._refresh()
            return
        index, why = self._drive.problem
        self._title.content = markup.caption(f"Key frame {index + 1}", why)  # the one before stays

    def _follow_clock(self, moment: float) -> None:
        if self._slider.value != moment:
            self._slider.value = int(moment)  # type: ignore[misc]  # viser's setter is overloaded

    def _later(self, what: str, work: Callable[[], None]) -> None:
        def run() -> None:
            work()
            self._refresh()

        self._context.worker.submit(run, replaces=f"boxes/{what}")

    def _choose(self, client: viser.ClientHandle | None) -> None:
        """A camera's name flies there, too."""
        capture = self._drive.frame.capture
        if self._choice.value in capture.names and capture.cameras is not None and client is not None:
            index = capture.names.index(self._choice.value)
            self._look()
            self._context.visit(self._drive, index, client)
            return
        self._look()

    # -- pictures and words -----------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        drive = self._drive
        facts = [f"{len(drive.frame.points):,} points"]
        truth, detections = drive.truth, drive.detections
        if truth is not None:
            facts.append(f"{len(truth):,} true boxes")
        if detections is not None:
            facts.append(f"{len(detections):,} of {len(drive.frame.detections or ()):,} detections")
        self._title.content = markup.caption(drive.frame.title, *facts)
        self._legend.content = legend(truth, detections)
        self._look()

    def _look(self) -> None:
        self._context.worker.submit(self._draw_picture, replaces="boxes/picture")

    def _draw_picture(self) -> None:
        names, chosen = self._drive.frame.capture.names, self._choice.value
        try:
            if chosen == ABOVE:
                picture = self._from_above()
            elif chosen in names:
                picture = self._photograph(names.index(chosen), PICTURE_PX)
            else:
                picture = self._mosaic()
        except FewviewError as error:
            self._title.content = markup.caption(self._drive.frame.title, str(error))
            return
        self._picture.image = picture
        self._picture.visible = True

    def _photograph(self, index: int, side_px: int) -> np.ndarray:
        """One photograph with the boxes that its camera sees."""
        drive, capture = self._drive, self._drive.frame.capture
        frame = capture.frames[index]
        picture = capture.image(index, *fit_size(frame.width, frame.height, side_px)).numpy()[..., :3]
        if capture.cameras is None:
            return picture
        thickness, labels = max(1, side_px // 500), self._labels.value
        for boxes, color in ((drive.truth, drive.true_color), (drive.detections, None)):
            if boxes is not None:
                picture = draw_boxes(
                    picture, capture.cameras[index], boxes, thickness_px=thickness, labels=labels, color=color
                )
        return picture

    def _mosaic(self) -> np.ndarray:
        """All photographs, in the order of the capture, row by row."""
        count = len(self._drive.frame.capture)
        if count == 0:
            return self._from_above()
        tiles = [self._photograph(i, TILE_PX) for i in range(count)]
        height, width = (max(tile.shape[axis] for tile in tiles) for axis in (0, 1))
        sheet = np.full((-(-count // COLUMNS) * height, min(COLUMNS, count) * width, 3), 255, np.uint8)
        for i, tile in enumerate(tiles):
            row, column = divmod(i, COLUMNS)
            cv2.putText(
                tile, self._drive.frame.capture.names[i], (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1
            )
            sheet[row * height : row * height + tile.shape[0], column * width : column * width + tile.shape[1]] = tile
        return sheet

    def _from_above(self) -> np.ndarray:
        drive, labels = self._drive, self._labels.value
        colors = lidar_colors(drive.frame, drive.coloring)
        picture = draw_from_above(drive.frame.points.xyz, reach_m=REACH_M, side_px=PICTURE_PX, colors=colors)
        for boxes, color in ((drive.truth, drive.true_color), (drive.detections, None)):
            if boxes is not None:
                picture = draw_boxes_from_above(picture, boxes, reach_m=REACH_M, labels=labels, color=color)
        return picture


def legend(truth: Boxes | None, detections: Boxes | None) -> str:
    """HTML: each class's colour and how many there are, true and detected."""
    counts = [_counts(boxes) for boxes in (truth, detections)]
    lines = []
    if detections is not None and truth is not None:
        lines.append(_line(TRUE_COLOR, "true boxes", ""))
    for name in sorted({name for count in counts for name in count}, key=lambda n: -sum(c[n] for c in counts)):
        told = [
            f"{count[name]} {what}" for count, what in zip(counts, ("true", "detected"), strict=True) if count[name]
        ]
        lines.append(_line(class_color(name), name.replace("_", " "), ", ".join(told)))
    return f'<div style="padding:0 0.75em;font-size:0.85em">{"".join(lines)}</div>'


def _counts(boxes: Boxes | None) -> Counter[str]:
    return Counter() if boxes is None else Counter(boxes.name(i) for i in range(len(boxes)))


def _line(color: tuple[int, int, int], name: str, told: str) -> str:
    swatch = f'<span style="color:rgb{color}">&#9632;</span>'
    return f'<div>{swatch} {html.escape(name)} <span style="opacity:0.65">{html.escape(told)}</span></div>'
