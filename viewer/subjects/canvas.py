"""`Canvas`: the place that a subject draws in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import viser

from ..server import ViewerServer
from ..stage import Stage
from ..worker import Worker


@dataclass(frozen=True)
class Canvas:
    """The place on a page that a subject draws in; all its nodes lie under `path`."""

    server: ViewerServer
    stage: Stage
    worker: Worker
    path: str
    redrawn: Callable[[], object]  # what browsers see has changed, other than by their cameras
    visit: Callable[[int, viser.ClientHandle], None]  # somebody clicked on the camera of this photograph
