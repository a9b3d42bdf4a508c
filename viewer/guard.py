"""Access to the viewer: Host, Origin and token checks on every HTTP and WebSocket request.

A server on 127.0.0.1 is not private by that alone. Any web page that is open in the same browser can send requests
to it: a foreign page by WebSocket (which the same-origin policy does not cover, hence the Origin check), and a page
whose own name is re-pointed to 127.0.0.1 after loading (DNS rebinding, hence the Host check). A server that listens
wider is open to everyone on the network, and one on 127.0.0.1 to every other user of the machine, hence the token.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http
import http.cookies
import ipaddress
import os
import secrets
import socket
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from websockets.datastructures import Headers, MultipleValuesError
from websockets.http11 import Request, Response

from ..scene.errors import BadInputError

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
EVERY_INTERFACE = ("", "0.0.0.0", "::", "*")
MIN_TOKEN_LENGTH = 8
TOKEN_VARIABLE = "FEWVIEW_TOKEN"  # an argument shows in the list of processes, this does not
MAX_UPLOAD_BYTES = 32 * 2**20  # of a file that somebody loads in the page: a camera path, the largest there is
NEW_TOKEN, NO_TOKEN = "new", "none"
MAX_ADDRESS_LENGTH = 2048  # of any request; the longest that the page makes has about a hundred characters

# The page is one file with inline code that builds workers from blobs; nothing may be loaded from elsewhere.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob: data:; "
    "style-src 'self' 'unsafe-inline'; "
    "img-src 'self' blob: data:; font-src 'self' data:; media-src 'self' blob: data:; worker-src 'self' blob: data:; "
    "connect-src 'self' blob: data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",  # the address holds the token when there is one
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Guard:
    """The checks for one server that is bound to `host`."""

    host: str
    token: str | None = None

    def __post_init__(self) -> None:
        if self.token is not None and (len(self.token) < MIN_TOKEN_LENGTH or not _is_cookie_safe(self.token)):
            raise BadInputError(
                f"The viewer's token needs at least {MIN_TOKEN_LENGTH} letters, digits, '-' or '_', and nothing else."
            )
        if self.token is None and not is_loopback(self.host):
            where = "every network interface" if self.host in EVERY_INTERFACE else f"the network address {self.host}"
            raise BadInputError(
                f"The viewer was told to listen on {where}, where anyone on the network could open it; that needs a "
                "token. Leave out `--token none`, or leave out --host and forward the port by SSH."
            )

    @property
    def cookie(self) -> str:
        """The cookie's name. Browsers keep one jar for all ports of a host, so every token has a cookie of its own."""
        return f"fewview-{hashlib.sha256((self.token or '').encode()).hexdigest()[:12]}"

    def refusal(self, request: Request) -> Response | None:
        """A 403 or 414 for a request that is not let in, None for one that is."""
        if len(request.path) > MAX_ADDRESS_LENGTH:
            return _refuse("no address here is that long", http.HTTPStatus.REQUEST_URI_TOO_LONG)
        try:
            host, origin = request.headers["Host"], request.headers.get("Origin")
        except (KeyError, MultipleValuesError):
            return _refuse("exactly one Host header and at most one Origin are expected")
        name = _host_name(host)
        if name is None or not self._is_own_name(name):
            return _refuse("this viewer does not answer to that Host")
        # The port of Host is not fixed, since a forwarded port may differ from ours; Origin must equal Host instead.
        if origin is not None and origin.lower() not in (f"http://{host.lower()}", f"https://{host.lower()}"):
            return _refuse("requests from that Origin are not accepted")
        if self.token is not None and not (self._matches(_query_token(request.path)) or self._has_cookie(request)):
            return _refuse("open the full address, with its token, that was printed")
        return None

    def dress(self, request: Request, response: Response) -> Response:
        """The response with security headers, and with the token as a cookie when the address carried it."""
        for key, value in SECURITY_HEADERS.items():
            response.headers[key] = value
        if self.token is not None and self._matches(_query_token(request.path)):
            response.headers["Set-Cookie"] = f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict"
        return response

    def _is_own_name(self, name: str) -> bool:
        if name in LOOPBACK_NAMES or name == self.host.lower():
            return True
        if self.host not in EVERY_INTERFACE:
            return False
        # Rebinding needs a name that an attacker controls: plain addresses and this machine's own name are safe.
        return _is_address(name) or name == socket.gethostname().lower()

    def _matches(self, given: str | None) -> bool:
        return self.token is not None and given is not None and hmac.compare_digest(given.encode(), self.token.encode())

    def _has_cookie(self, request: Request) -> bool:
        for header in request.headers.get_all("Cookie"):
            with contextlib.suppress(http.cookies.CookieError):
                morsel = http.cookies.SimpleCookie(header).get(self.cookie)
                if morsel is not None and self._matches(morsel.value):
                    return True
        return False


def chosen_token(asked: str | None) -> str | None:
    """The token of a server: a word of the person's own, one that nobody can guess for NEW_TOKEN, None for NO_TOKEN.

    None takes the word in the environment variable FEWVIEW_TOKEN, and NEW_TOKEN where there is none.
    """
    wanted = asked or os.environ.get(TOKEN_VARIABLE) or NEW_TOKEN
    if wanted == NO_TOKEN:
        return None
    return secrets.token_urlsafe(12) if wanted == NEW_TOKEN else wanted


def is_loopback(host: str) -> bool:
    """True for a host name to bind to that reaches this machine only."""
    if host.lower() == "localhost":
        return True
    return _is_address(host) and ipaddress.ip_address(host.strip("[]")).is_loopback


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _host_name(host: str) -> str | None:
    """The lower-case name of a Host header "name[:port]", None when it is malformed."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port  # raises for a port that is no number
    except ValueError:
        return None
    if parts.path or parts.query or parts.fragment or parts.username is not None:
        return None
    return parts.hostname


def _query_token(path: str) -> str | None:
    values = parse_qs(path.partition("?")[2], max_num_fields=20).get("token", [])
    return values[0] if len(values) == 1 else None


def _is_cookie_safe(token: str) -> bool:
    return token.isascii() and all(c.isalnum() or c in "-_" for c in token)


def _refuse(reason: str, status: http.HTTPStatus = http.HTTPStatus.FORBIDDEN) -> Response:
    body = f"{status.value} {status.phrase}: {reason}.\n".encode()
    headers = Headers(
        {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(body)), "Connection": "close"}
    )
    for key, value in SECURITY_HEADERS.items():
        headers[key] = value
    return Response(status.value, status.phrase, headers, body)
