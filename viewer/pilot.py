"""`Pilot`: moves the camera of a browser: flights from view to view, and an orbit until something else is wanted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import viser

from .viewpoint import Viewpoint, between

FLIGHT_SECONDS, FRAMES_PER_SECOND = 0.7, 30


class Pilot:
    """One for the page; each browser moves on its own."""

    def __init__(self, server: viser.ViserServer, up: np.ndarray) -> None:
        self._server = server
        self._up = up
        self._rides: dict[int, threading.Event] = {}
        self._closed = threading.Event()
        # Called whenever a camera is moved from here.
        self.on_move: Callable[[viser.ClientHandle], object] = lambda _: None

    def close(self) -> None:
        self._closed.set()

    @property
    def up(self) -> np.ndarray:
        """Unit vector [3] on the page."""
        return self._up

    @up.setter
    def up(self, up: np.ndarray) -> None:
        self._up = up
        self._server.scene.set_up_direction(up)
        for client in self._server.get_clients().values():
            client.camera.up_direction = up

    def fly(self, client: viser.ClientHandle | None, to: Viewpoint) -> None:
        """A smooth flight that starts and ends at rest; returns when it is over."""
        if client is None:
            return
        self.stop(client)
        camera = client.camera
        start = Viewpoint(camera.position, camera.look_at, camera.fov, camera.up_direction)
        frames = max(int(FLIGHT_SECONDS * FRAMES_PER_SECOND), 1)
        for i in range(1, frames + 1):
            t = i / frames
            self.place(client, between(start, to, t * t * (3 - 2 * t)))
            time.sleep(1 / FRAMES_PER_SECOND)

    def place(self, client: viser.ClientHandle, view: Viewpoint) -> None:
        self.on_move(client)
        with client.atomic():
            client.camera.up_direction = self._up if view.up is None else view.up
            client.camera.position, client.camera.look_at, client.camera.fov = view.position, view.look_at, view.fov_rad

    def ride(self, client: viser.ClientHandle, views: Callable[[int], Viewpoint | None]) -> None:
        """Show `views(0)`, `views(1)`, ... at 30 in a second until it gives None, or anything else moves the camera."""
        self.stop(client)
        stop = self._rides[client.client_id] = threading.Event()
        frame = 0
        while not stop.is_set() and not self._closed.is_set() and client.client_id in self._server.get_clients():
            view = views(frame)
            if view is None:
                break
            self.place(client, view)
            frame += 1
            time.sleep(1 / FRAMES_PER_SECOND)
        if self._rides.get(client.client_id) is stop:
            self._rides.pop(client.client_id)

    def stop(self, client: viser.ClientHandle) -> bool:
        """End the ride of a browser; whether there was one."""
        stop = self._rides.pop(client.client_id, None)
        if stop is not None:
            stop.set()
        return stop is not None
