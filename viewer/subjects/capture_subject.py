"""`CaptureSubject`: photographs without a splat, with cameras or without."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from ...scene.capture import Capture
from ..stage import Stage
from .canvas import Canvas
from .photographs import Photographs
from .subject import Facts, Subject


class CaptureSubject(Subject):
    """A capture from any reader: a folder of photographs, a video, a data set."""

    photographs: Photographs

    def __init__(self, capture: Capture, notes: tuple[str, ...] = ()) -> None:
        super().__init__(Path(capture.source).name or capture.source, notes)
        self.photographs = Photographs(capture)

    def facts(self) -> Facts:
        return Facts(self.photographs.counts())

    def own_stage(self) -> tuple[int, Stage]:
        return 3 if self.cameras is None else 0, Stage.of(self.cameras, None, self.photographs.capture.points)

    def draw(self, canvas: Canvas) -> None:
        self.photographs.draw(canvas, self.layers)

    def points(self) -> Tensor:
        return self.photographs.points()
