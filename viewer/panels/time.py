"""A slider over the moments of inputs that were photographed over time."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import torch

from ..item import Item

if TYPE_CHECKING:
    from ..page import Page

PLAY_SECONDS = 6.0  # from the first moment to the last
STEPS = 200


class TimePanel:
    """Shows the cameras of one moment, and their photographs."""

    @staticmethod
    def wanted(page: Page) -> bool:
        return any(_times(item) is not None for item in page.items)

    def __init__(self, page: Page) -> None:
        self._page = page
        self._items = [item for item in page.items if _times(item) is not None]
        every = torch.cat([t for item in self._items if (t := _times(item)) is not None]).double()
        self._first, self._last = float(every.min()), float(every.max())
        gui = page.server.gui
        self._one = gui.add_checkbox("Only the cameras of one moment", False)
        self._one.on_update(lambda _: self._show())
        self._slider = gui.add_slider("Time", self._first, self._last, (self._last - self._first) / STEPS, self._first)
        self._slider.on_update(lambda _: self._moved())
        self._play = gui.add_button("Play")
        self._play.on_click(lambda _: self._toggle())
        self._playing = threading.Event()

    @property
    def time(self) -> float:
        return float(self._slider.value)

    def _moved(self) -> None:
        if not self._one.value:
            self._one.value = True  # type: ignore[misc]  # viser's setter is overloaded; comes back through `_show`
        else:
            self._show()

    def _show(self) -> None:
        for item in self._items:
            item.show_only(nearest_views(item, self.time) if self._one.value else None)

    def _toggle(self) -> None:
        if self._playing.is_set():
            self._playing.clear()
            return
        self._playing.set()
        self._play.label = "Stop"
        pause = PLAY_SECONDS / STEPS
        step = (self._last - self._first) / STEPS
        while self._playing.is_set() and not self._page.worker.closed:
            at = self.time + step
            self._slider.value = self._first if at > self._last else at  # type: ignore[misc]
            time.sleep(pause)
        self._play.label = "Play"


def nearest_views(item: Item, moment: float) -> set[int]:
    """The photographs whose time is nearest to a moment; all of them where several were taken at once."""
    times = _times(item)
    assert times is not None
    away = (times.double() - moment).abs()
    return set(torch.nonzero(away <= away.min() + 1e-9).flatten().tolist())


def _times(item: Item) -> torch.Tensor | None:
    times = None if item.cameras is None else item.cameras.times_s
    return times if times is not None and len(times) > 1 and bool((times != times[0]).any()) else None
