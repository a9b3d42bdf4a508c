"""Renderers of the browsers that look on: a few lines in the page report each one to the server, once.

Without a graphics card a frame of a large splat takes seconds, during which the page answers nothing, so such browsers
are given less to draw.
"""

from __future__ import annotations

import gzip
import http
import threading
from collections.abc import Callable

from websockets.datastructures import Headers
from websockets.http11 import Request, Response

PATH = "/renderer"
# The names are those of the renderers in software of Chromium, Firefox and Mesa, and of Windows without a driver.
SCRIPT = b"""<script>
{
    const gl = document.createElement("canvas").getContext("webgl2");
    const names = gl && gl.getExtension("WEBGL_debug_renderer_info");
    const name = gl ? String(gl.getParameter(names ? names.UNMASKED_RENDERER_WEBGL : gl.RENDERER)) : "software";
    const software = /swiftshader|llvmpipe|softpipe|software|basic render/i.test(name);
    fetch("renderer?software=" + Number(software), {cache: "no-store"}).catch(() => {});
    if (gl && gl.getExtension("WEBGL_lose_context")) gl.getExtension("WEBGL_lose_context").loseContext();
}
</script>"""


class Renderers:
    """Reports that have come to one server. Requests come from its thread, questions from any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._has_card = False
        self._waiting: list[Callable[[], object]] = []

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
        status = http.HTTPStatus.NO_CONTENT
        return Response(status.value, status.phrase, Headers({"Connection": "close"}))

    def ask(self, response: Response) -> Response:
        """The page with the lines in it that report; other files as they are."""
        if not response.headers.get("Content-Type", "").startswith("text/html"):
            return response
        packed = response.headers.get("Content-Encoding") == "gzip"
        page = gzip.decompress(response.body) if packed else response.body
        page = page.replace(b"<head>", b"<head>" + SCRIPT, 1)
        response.body = gzip.compress(page, 1) if packed else page
        del response.headers["Content-Length"]
        response.headers["Content-Length"] = str(len(response.body))
        return response
