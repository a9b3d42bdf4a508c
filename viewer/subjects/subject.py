"""`Subject`: one input of the viewer. A kind of input is a file beside this one and a row in `loader.py`."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ...scene.cameras import Cameras
from ...scene.splat import Splat
from ..clock import Timeline
from ..layers.layer import Layer
from ..stage import FOCUS_DISTANCE, Stage
from ..viewpoint import Viewpoint
from .canvas import Canvas
from .photographs import Photographs

BARE_FOV_RAD = 1.0  # of the first view of what comes without cameras


@dataclass(frozen=True)
class Facts:
    """Parts of the page's header: counts add up over its subjects, words stand side by side."""

    counts: Mapping[str, int] = field(default_factory=dict)  # by a plural, such as "photographs"
    words: tuple[str, ...] = ()


class Subject(abc.ABC):
    """An input as the viewer sees it: first without a page, then on one.

    A subject is read before there is a page (sharing and filming need none). `draw` puts it on one and fills `layers`;
    all below it may be called only then, from any thread, one at a time.
    """

    photographs: Photographs | None = None  # of a kind that has some: the cameras, pictures and times of a capture

    def __init__(self, title: str, notes: tuple[str, ...] = ()) -> None:
        self.title, self.notes = title, notes
        self.layers: dict[str, Layer] = {}
        self._visible = True
        self._listeners: list[Callable[[], None]] = []

    # -- what it is -------------------------------------------------------------------------------------------------

    @property
    def splat(self) -> Splat | None:
        """The Gaussians that it holds, edits included."""
        return None

    @property
    def cameras(self) -> Cameras | None:
        """Cameras [n] in the world of the photographs that it shows."""
        return None if self.photographs is None else self.photographs.cameras

    @property
    def timeline(self) -> Timeline | None:
        """From when to when it changes; None for what stands still."""
        return None if self.photographs is None else self.photographs.timeline

    @property
    def metric(self) -> bool:
        """True when a unit of its world is a metre."""
        return self.photographs is not None and self.photographs.metric

    @abc.abstractmethod
    def facts(self) -> Facts: ...

    @abc.abstractmethod
    def own_stage(self) -> tuple[int, Stage]:
        """(rank, the stage that suits it): the page takes that of the lowest rank among its subjects."""

    # -- on a page --------------------------------------------------------------------------------------------------

    @abc.abstractmethod
    def draw(self, canvas: Canvas) -> None:
        """Make its layers."""

    @abc.abstractmethod
    def points(self) -> Tensor:
        """Positions [n, 3] in the world that stand for where it is; none where nobody knows."""

    def first_view(self, stage: Stage, up: np.ndarray) -> Viewpoint:
        """The viewpoint of a browser to begin with, from the front unless cameras know; `up` [3] is the page's."""
        view = None if self.photographs is None else self.photographs.first_view(stage)
        return level_view(up) if view is None else view

    def look_through(self, index: int | None) -> None:
        """A browser stands in the camera of a photograph, in none when None: what covers the view is hidden."""
        if self.photographs is not None:
            self.photographs.look_through(index)

    def look_from(self, view: Viewpoint, stage: Stage) -> None:
        """A browser stands somewhere among the cameras: what covers the middle of the picture is hidden."""
        if self.photographs is not None and self.photographs.cameras is not None:
            self.photographs.look_from(view, stage)

    def visited(self, index: int) -> None:
        """Somebody has chosen a photograph and is flown to its camera."""
        if self.photographs is not None:
            self.photographs.looked_through(index)
        else:
            self.look_through(index)

    def show_moment(self, moment: float) -> None:
        """Show a moment of the timeline."""
        if self.photographs is not None:
            self.photographs.show_moment(moment)

    # -- for all of them --------------------------------------------------------------------------------------------

    @property
    def visible(self) -> bool:
        return self._visible

    @visible.setter
    def visible(self, value: bool) -> None:
        self._visible = value
        for layer in self.layers.values():
            layer.allow(value)

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` when it holds something else, such as another splat or key frame."""
        self._listeners.append(listener)

    def changed(self) -> None:
        for listener in self._listeners:
            listener()


def bounds(subjects: list[Subject], stage: Stage) -> np.ndarray:
    """The lowest and highest page coordinates [2, 3] of the bulk of what is shown: its 2nd and 98th percentiles."""
    usual = np.array([[-1.0, -1, -1], [1, 1, 1]])
    clouds = [subject.points() for subject in subjects]
    if sum(map(len, clouds)) == 0:
        return usual
    xyz = stage.place(torch.cat(clouds))
    xyz = xyz[np.isfinite(xyz).all(1)][:: max(1, len(xyz) // 50_000)]
    return np.percentile(xyz, (2, 98), axis=0) if len(xyz) else usual


def view_of_bounds(subject: Subject, stage: Stage, up: np.ndarray, above_deg: float | None = None) -> Viewpoint:
    """A view from the front of all that a subject shows, wherever it is on the page; `up` [3] is the page's.

    A little from above, or by `above_deg` over the horizon.
    """
    low, high = bounds([subject], stage)
    away = 1.2 * float(np.linalg.norm(high - low)) / 2 / np.tan(BARE_FOV_RAD / 2)
    front = level_view(up).position
    if above_deg is not None:
        level = front - (front @ up) * up
        front = level + np.linalg.norm(level) * np.tan(np.radians(above_deg)) * up
    center = (low + high) / 2
    return Viewpoint(center + max(away, 0.1) * front / np.linalg.norm(front), center, BARE_FOV_RAD)


def level_view(up: np.ndarray) -> Viewpoint:
    """A view of the page's origin from the front, a little above it; `up` [3] is the page's."""
    level = np.cross(up, (1.0, 0, 0) if abs(up[0]) < 0.9 else (0, 0, 1.0))
    level /= np.linalg.norm(level)
    sign = 1.0 if level[2] < 0 or abs(level[2]) < 0.5 else -1.0  # from -z where the up axis leaves a choice
    return Viewpoint(FOCUS_DISTANCE * (sign * level + 0.15 * up), np.zeros(3), BARE_FOV_RAD)
