"""`Movement`: when cameras of browsers move and when they rest, for pages that draw less while they move."""

from __future__ import annotations

import threading
from collections.abc import Callable

import viser

from .server import ViewerServer

STILL_SECONDS = 2.5  # a browser that takes a second for a frame tells of its camera as seldom


class Movement:
    """Calls `tell(True)` when a camera begins to move and `tell(False)` when all have rested for a while.

    It ends with the first browser that has a graphics card: that one draws everything all the time.
    """

    def __init__(self, server: ViewerServer, tell: Callable[[bool], object], still_s: float = STILL_SECONDS) -> None:
        self._tell, self._still_s = tell, still_s
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._ended = False
        server.on_client_connect(self._watch)
        for client in server.get_clients().values():
            self._watch(client)
        server.renderers.when_card(self.close)

    def close(self) -> None:
        """No more calls; the last one is that nothing moves."""
        with self._lock:
            moving, self._ended = self._timer is not None, True
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        if moving:
            self._tell(False)

    def moved(self) -> None:
        """A camera has moved."""
        with self._lock:
            if self._ended:
                return
            begins = self._timer is None
            if self._timer is not None:
                self._timer.cancel()
            self._timer = threading.Timer(self._still_s, self._rested)
            self._timer.daemon = True
            self._timer.start()
        if begins:
            self._tell(True)

    def _watch(self, client: viser.ClientHandle) -> None:
        client.camera.on_update(lambda _: self.moved())

    def _rested(self) -> None:
        with self._lock:
            if self._ended or self._timer is None or self._timer is not threading.current_thread():
                return
            self._timer = None
        self._tell(False)
