"""`Overlays`: pictures that lie over the splat in browsers, drawn within its own pictures where there are such."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import viser

from ..scene.cameras import Cameras

# Depths in page units: just behind the page's near plane, and nearly as far as viser's depth goes.
NEAR, FAR = 0.02, 160.0


class Overlay(Protocol):
    """A picture that lies over a part of what browsers see."""

    def over(self, view: Cameras) -> tuple[np.ndarray, np.ndarray] | None:
        """The picture uint8 [H, W, 3] for a camera [] of that size, and where it is seen, bool [H, W].

        None where it is not seen at all.
        """


@dataclass
class Overlays:
    """All overlays of a page. Where pictures stand for the splat, overlays are `within` them, and follow cameras so.

    `sent_within` sends a browser its picture anew; False where there are no such pictures.
    """

    shown: list[Overlay] = field(default_factory=list)
    within: Callable[[], bool] = lambda: False
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
