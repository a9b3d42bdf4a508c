"""The parts of the panel beside the 3D view, a file each, in the order of their tabs.

A part is a class. `wanted(context)` says whether the subjects have anything for it; `__init__(context)` builds its
controls in the tab that is open, and keeps what they need. Slow work goes to `context.worker`.
"""

from __future__ import annotations

from typing import Protocol

from ..panel_context import Context
from .boxes_tab import BoxesTab
from .edit_tab import EditTab
from .film_tab import FilmTab
from .photographs_tab import PhotographsTab
from .scene_tab import SceneTab
from .time_tab import TimeTab


class Panel(Protocol):
    def __init__(self, context: Context) -> None: ...

    @staticmethod
    def wanted(context: Context) -> bool: ...


PANELS: tuple[tuple[str, type[Panel]], ...] = (
    ("Scene", SceneTab),
    ("Photographs", PhotographsTab),
    ("Boxes", BoxesTab),
    ("Time", TimeTab),
    ("Edit", EditTab),
    ("Film", FilmTab),
)
