"""Requests other than GET, to which websockets would close the connection without a word."""

from __future__ import annotations

import http

from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.http11 import Response

LONGEST_METHOD = 16


class AnyMethod(ServerConnection):
    """A connection whose request is read as a GET, whatever it is; `method` says what it was."""

    method = "GET"
    _begun = False

    def data_received(self, data: bytes) -> None:
        if not self._begun:
            self._begun = True
            method, space, rest = data.partition(b" ")
            if space and method.isalpha() and method.isupper() and len(method) <= LONGEST_METHOD:
                self.method = method.decode("ascii")
                data = b"GET " + rest
        super().data_received(data)


def not_allowed() -> Response:
    """The answer to any method but GET and HEAD."""
    status = http.HTTPStatus.METHOD_NOT_ALLOWED
    return Response(status.value, status.phrase, Headers({"Allow": "GET, HEAD", "Connection": "close"}), b"")


def without_content(response: Response) -> Response:
    """The answer to HEAD: the headers that GET would have, its length among them, and nothing else."""
    response.body = b""
    return response
