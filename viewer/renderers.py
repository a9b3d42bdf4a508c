"""Renderers of the browsers that look on: a few lines in the page (page_html.py) report each one to the server, once.

Without a graphics card a frame of a large splat takes seconds, during which the page answers nothing, so such browsers
are given less to draw.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from websockets.http11 import Request, Response

from .page_html import no_content

PATH = "/renderer"


class Renderers:
    """Reports that have come to one server. Requests come from its thread, questions from any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._has_card = False
        self._waiting: list[Callable[[], object]] = []

    @property
    def has_card(self) -> bool:
        """True once a browser with a graphics card has been there."""
        with self._lock:
            return self._has_card

    def when_card(self, then: Callable[[], object]) -> None:
        """Call `then` when the first browser with a graphics card is there, at once if one has been."""
        with self._lock:
            if not self._has_card:
                self._waiting.append(then)
                return
        then()

    def answer(self, request: Request) -> Response | None:
        """The response to a browser that reports; None for any other request."""
        path, _, query = request.path.partition("?")
        if path != PATH:
            return None
        if query == "software=0":
            with self._lock:
                self._has_card, waiting, self._waiting = True, self._waiting, []
            for then in waiting:
                then()
        return no_content()
