"""`Clock`: the moment that the page shows, one for all of its subjects."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

SECONDS, KEY_FRAMES = "s", "key frame"  # units of a timeline
STEPS = 200  # of a slider over seconds
PLAY_SECONDS = 6.0  # from the first moment to the last, where the times say nothing better
WATCHABLE_S = (1.5, 120.0)  # lengths of a motion that is played in its own seconds


@dataclass(frozen=True)
class Timeline:
    """From when to when a subject has something to show.

    Seconds are those of the source, which may count in another unit. Key frames are whole numbers from 1: a driving
    log has jumps between its scenes, and knows the time of a frame only when it has read it.
    """

    first: float
    last: float
    unit: str = SECONDS
    start: float | None = None  # what is shown to begin with, the first when None

    @classmethod
    def over(cls, moments: Iterable[float]) -> Timeline | None:
        """The timeline of moments in seconds, None unless there are two different ones."""
        known = list(moments)
        return cls(min(known), max(known)) if known and min(known) < max(known) else None


def joined(timelines: Iterable[Timeline | None]) -> Timeline | None:
    """One timeline over several, None where there is none. Seconds go before key frames, which have no length."""
    known = [timeline for timeline in timelines if timeline is not None]
    same = [t for t in known if t.unit == SECONDS] or known
    if not same:
        return None
    return replace(same[0], first=min(t.first for t in same), last=max(t.last for t in same))


def pace(first: float, last: float) -> float:
    """Units of a motion's time that go by in a second when it is played as it happened.

    Seconds are that as they are. A length that cannot be watched so is taken to be counted in another unit, such as 0
    for the first photograph and 1 for the last, and is played in PLAY_SECONDS.
    """
    length = last - first
    return 1.0 if WATCHABLE_S[0] <= length <= WATCHABLE_S[1] or length <= 0 else length / PLAY_SECONDS


class Clock:
    """A moment within a timeline, and whoever wants to know when it is another.

    `now` is None until a moment is chosen: subjects then show what they show at first. May be used from any thread.
    """

    def __init__(self, timeline: Timeline | None) -> None:
        self.timeline = timeline
        self._now: float | None = None
        self._listeners: list[Callable[[float], None]] = []

    @property
    def now(self) -> float | None:
        return self._now

    @property
    def step(self) -> float:
        """The smallest step of a slider over the timeline."""
        if self.timeline is None or self.timeline.unit == KEY_FRAMES:
            return 1.0
        return (self.timeline.last - self.timeline.first) / STEPS

    def moves(self, timeline: Timeline | None) -> bool:
        """True for the timeline of a subject that follows the clock."""
        return self.timeline is not None and timeline is not None and timeline.unit == self.timeline.unit

    def go_to(self, moment: float) -> None:
        """Show another moment, the nearest one within the timeline. Nothing happens where it is shown already."""
        if self.timeline is None:
            return
        moment = min(max(moment, self.timeline.first), self.timeline.last)
        if moment == self._now:
            return
        self._now = moment
        for listener in self._listeners:
            listener(moment)

    def on_change(self, listener: Callable[[float], None]) -> None:
        """Call `listener` with every new moment, on the thread that chose it: slow work belongs on a worker."""
        self._listeners.append(listener)
