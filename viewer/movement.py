"""`Movement`: when the camera of a browser moves and when it rests, for pages that draw less and more by it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import viser

from .server import ViewerServer

STILL_SECONDS = 2.5  # a browser that takes a second for a frame tells of its camera as seldom
PATIENCE = 4  # times as long for one that takes longer, and so seemed to rest while it moved
STILL_FLUENT_SECONDS = 0.4  # one that draws fluently tells of it twenty times in a second


@dataclass
class _Watched:
    """One browser: when it is to be told that it rests, and whether it was told that it moves."""

    client: viser.ClientHandle
    rests_at: float | None  # on the monotonic clock; None once it was told
    moving: bool = False
    patience: float = 1.0  # how many times as long as others it must be still
    told_at: float = -math.inf  # when it was last told that it rests after a movement

    def moves(self, now: float, still_s: float) -> bool:
        """Note that its camera has moved; True where a movement begins.

        Where it was told not long before that it rests, a frame with all that is drawn then took it longer than that.
        """
        begins = not self.moving
        if begins:
            too_soon = now - self.told_at < 2 * self.patience * still_s
            self.patience = min(2 * self.patience, PATIENCE) if too_soon else 1.0
        self.moving, self.rests_at = True, now + self.patience * still_s
        return begins

    def rests(self, now: float) -> None:
        """Note that it is told now that its camera rests."""
        if self.moving:
            self.told_at = now
        self.rests_at, self.moving = None, False


class Movement:
    """Calls `tell(client, True)` when a camera begins to move and `tell(client, False)` when it has rested for a while.

    A browser that comes is told of once it has rested. After `again` all that rest are told of once more.
    """

    def __init__(
        self,
        server: ViewerServer,
        tell: Callable[[viser.ClientHandle, bool], object],
        still_s: float = STILL_SECONDS,
        on_step: Callable[[viser.ClientHandle], object] = lambda _: None,  # called for every change of a camera
    ) -> None:
        self._tell, self._still_s, self._on_step = tell, still_s, on_step
        self._changed = threading.Condition()
        self._watched: dict[int, _Watched] = {}
        self._ended = False
        self._thread = threading.Thread(target=self._wait_for_rests, daemon=True)
        self._thread.start()
        server.on_client_connect(self._watch)
        server.on_client_disconnect(self._forget)
        for client in server.get_clients().values():
            self._watch(client)

    def close(self) -> None:
        """No more calls; who was told that it moves is told that it rests."""
        with self._changed:
            moving = [seen.client for seen in self._watched.values() if seen.moving]
            self._watched.clear()
            self._ended = True
            self._changed.notify()
        for client in moving:
            self._tell(client, False)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def moved(self, client: viser.ClientHandle) -> None:
        """The camera of a browser has moved."""
        with self._changed:
            if self._ended:
                return
            seen = self._watched.setdefault(client.client_id, _Watched(client, None))
            begins = seen.moves(time.monotonic(), self._still_s)
            self._changed.notify()
        if begins:
            self._tell(client, True)
        self._on_step(client)

    def again(self) -> None:
        """Tell of the browsers that rest once more: what they see has changed, and then not for a while."""
        with self._changed:
            for seen in self._watched.values():
                if not seen.moving:
                    seen.rests_at = time.monotonic() + self._still_s
            self._changed.notify()

    def pace(self, still_s: float) -> None:
        """From now on a camera rests that has not moved for so long."""
        with self._changed:
            self._still_s = still_s
            for seen in self._watched.values():
                if seen.rests_at is not None:
                    seen.rests_at = min(seen.rests_at, time.monotonic() + still_s)
            self._changed.notify()

    def _watch(self, client: viser.ClientHandle) -> None:
        with self._changed:
            if not self._ended and client.client_id not in self._watched:
                self._watched[client.client_id] = _Watched(client, time.monotonic() + self._still_s)
                self._changed.notify()
        client.camera.on_update(lambda _: self.moved(client))

    def _forget(self, client: viser.ClientHandle) -> None:
        with self._changed:
            self._watched.pop(client.client_id, None)

    def _wait_for_rests(self) -> None:
        while True:
            with self._changed:
                if self._ended:
                    return
                times = [seen.rests_at for seen in self._watched.values() if seen.rests_at is not None]
                now = time.monotonic()
                if not times or min(times) > now:
                    self._changed.wait(min(times) - now if times else None)
                    continue
                resting = [s for s in self._watched.values() if s.rests_at is not None and s.rests_at <= now]
                for seen in resting:
                    seen.rests(now)
            for seen in resting:
                self._tell(seen.client, False)
