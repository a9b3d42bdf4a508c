"""A slider over the moments of everything that has some, and a button that plays them."""

from __future__ import annotations

import threading
import time
from typing import Any

from .. import markup
from ..clock import KEY_FRAMES, pace
from ..panel_context import Context

SPEEDS = {"0.25x": 0.25, "0.5x": 0.5, "1x": 1.0, "2x": 2.0, "4x": 4.0}  # of the pace at which it happened
KEY_FRAMES_A_SECOND = 2.0  # nuScenes has as many
FRAME_SECONDS = 1 / 15  # between two moments while it plays
FOLLOW_SECONDS = 0.25  # between two of the slider's: a browser without a graphics card draws it as dearly as the scene


class TimeTab:
    """Moves the page's clock: moving splats, the cameras of a moment, key frames of driving logs."""

    @staticmethod
    def wanted(context: Context) -> bool:
        return context.clock.timeline is not None

    def __init__(self, context: Context) -> None:
        timeline = context.clock.timeline
        assert timeline is not None
        self._context, self._timeline, self._clock = context, timeline, context.clock
        self._playing = threading.Event()
        self._followed_s = 0.0  # when the slider last followed the clock
        self._photographs = [
            s.photographs for s in context.subjects if s.photographs is not None and s.photographs.timeline is not None
        ]
        gui = context.server.gui
        self._told = gui.add_html("")
        start = timeline.first if timeline.start is None else timeline.start
        name = "Key frame" if timeline.unit == KEY_FRAMES else "Time"
        self._slider = gui.add_slider(name, timeline.first, timeline.last, self._clock.step, start)
        self._slider.on_update(lambda event: self._moved(event.client))
        self._play = gui.add_button("Play")
        self._play.on_click(lambda _: self._toggle())
        self._speed = gui.add_dropdown("Speed", tuple(SPEEDS), initial_value="1x")
        self._loop = gui.add_checkbox("Loop", True, hint="Begin again after the end.")
        self._one: Any = None
        if self._photographs:
            self._one = gui.add_checkbox("Only the cameras of one moment", False)
            self._one.on_update(lambda _: self._choose_cameras())
        self._clock.on_change(self._show)
        self._tell(self._clock.now)

    @property
    def time(self) -> float:
        return float(self._slider.value)

    def _moved(self, who: Any) -> None:
        """The slider has another value: by hand, or because it follows the clock."""
        if who is not None:
            self._want_one_moment()
        self._clock.go_to(self.time)

    def _show(self, moment: float) -> None:
        now = time.monotonic()
        if self._playing.is_set() and now - self._followed_s < FOLLOW_SECONDS:
            return
        self._followed_s = now
        if self.time != moment:
            self._slider.value = moment  # type: ignore[misc]  # viser's setter is overloaded
        self._tell(moment)

    def _tell(self, moment: float | None) -> None:
        first, last, unit = self._timeline.first, self._timeline.last, self._timeline.unit
        if unit == KEY_FRAMES:
            text = f"{last:g} key frames" if moment is None else f"key frame {moment:g} of {last:g}"
        else:
            text = f"{first:g} s to {last:g} s" if moment is None else f"{moment:.3g} s of {first:g} s to {last:g} s"
        self._told.content = markup.small(text)

    def _want_one_moment(self) -> None:
        """Whoever moves the time wants to see the cameras of it."""
        if self._one is not None and not self._one.value:
            self._one.value = True
            self._choose_cameras()

    def _choose_cameras(self) -> None:
        if self._clock.now is None:
            self._clock.go_to(self.time)
        for photographs in self._photographs:
            photographs.only_moment = self._one.value

    def _toggle(self) -> None:
        """Plays until the end, or the button is pressed once more. What is too slow for the wall clock is left out."""
        if self._playing.is_set():
            self._playing.clear()
            return
        self._playing.set()
        self._play.label = "Stop"
        self._want_one_moment()
        try:
            self._play_on()
        finally:
            self._playing.clear()
            self._play.label = "Play"
            if self._clock.now is not None:
                self._show(self._clock.now)

    def _play_on(self) -> None:
        first, last, by_frames = self._timeline.first, self._timeline.last, self._timeline.unit == KEY_FRAMES
        natural = KEY_FRAMES_A_SECOND if by_frames else pace(first, last)
        at = self.time if self.time < last else first
        before = time.monotonic()
        while self._playing.is_set() and not self._context.worker.closed:
            now = time.monotonic()
            at += (now - before) * SPEEDS[self._speed.value] * natural
            before = now
            if at > last:
                if not self._loop.value:
                    self._clock.go_to(last)
                    return
                at = first
            self._clock.go_to(round(at) if by_frames else at)
            time.sleep(FRAME_SECONDS)
