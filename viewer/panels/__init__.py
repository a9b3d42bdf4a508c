"""The parts of the panel beside the 3D view, one file each, in the order of their tabs.

A part is a class. `wanted(page)` says whether the page's inputs have anything for it; `__init__(page)` builds its
controls in the tab that is open, and keeps what they need. Slow work goes to `page.worker`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from .boxes import BoxesPanel
from .camera_path import CameraPathPanel
from .edit import EditPanel
from .photographs import PhotographsPanel
from .scene import ScenePanel
from .time import TimePanel

if TYPE_CHECKING:
    from ..page import Page


class Panel(Protocol):
    def __init__(self, page: Page) -> None: ...

    @staticmethod
    def wanted(page: Page) -> bool: ...


PANELS: tuple[tuple[str, type[Panel]], ...] = (
    ("Scene", ScenePanel),
    ("Photographs", PhotographsPanel),
    ("Boxes", BoxesPanel),
    ("Time", TimePanel),
    ("Edit", EditPanel),
    ("Film", CameraPathPanel),
)
