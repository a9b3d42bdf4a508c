"""`Overlays`: pictures that lie over the splat in browsers, drawn within its own pictures where there are such."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import viser

from ..scene.cameras import Cameras


class Overlay(Protocol):
    """A picture that lies over a part of what browsers see."""

    def over(self, view: Cameras) -> tuple[np.ndarray, np.ndarray] | None:
        """The picture uint8 [H, W, 3] for a camera [] of that size, and where it is seen, bool [H, W].

        None where it is not seen at all.
        """


@dataclass
class Overlays:
    """All overlays of a page. `sent_within` sends a browser its picture anew; False where none stand for the splat."""

    shown: list[Overlay] = field(default_factory=list)
    sent_within: Callable[[viser.ClientHandle], bool] = lambda _: False

    def laid_over(self, picture: np.ndarray, view: Cameras) -> np.ndarray:
        """Put the overlays over the picture [H, W, 3] of a camera [] of that size, and give where, bool [H, W]."""
        covered = np.zeros(picture.shape[:2], bool)
        for overlay in self.shown:
            laid = overlay.over(view)
            if laid is not None:
                above, seen = laid
                picture[seen] = above[seen]
                covered |= seen
        return covered
