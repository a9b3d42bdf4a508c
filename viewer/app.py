"""`view`: a run, a splat file or a capture in the browser, until Ctrl+C."""

from __future__ import annotations

import getpass
import socket
import threading
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from ..scene.capture import Capture
from ..scene.gaussians import Gaussians
from ..scene.run import Run
from .page import Page
from .server import ViewerServer
from .target import Shown, load_shown

DEFAULT_PORT = 8080


def view(
    *targets: Path | str | Run | Capture | Gaussians,
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    open_browser: bool = False,
    token: str | None = None,
) -> None:
    """Show run folders, splat files, photographs and data sets in the browser, together; returns at Ctrl+C.

    `port` 0 takes any that is free. A `host` other than this machine's loopback needs a `token`, which then has to
    be in the address. Raises BadInputError when there is nothing to show, the port is taken, or the token is missing.
    """
    server, page = serve([load_shown(target) for target in targets], host=host, port=port, token=token)
    print(how_to_open(server), flush=True)
    if open_browser:
        webbrowser.open(server.url)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        pass
    finally:
        page.close()
        server.stop()


def serve(
    shown: Shown | Sequence[Shown], *, host: str = "127.0.0.1", port: int = DEFAULT_PORT, token: str | None = None
) -> tuple[ViewerServer, Page]:
    """Start the page and return at once; the caller stops both."""
    first = shown if isinstance(shown, Shown) else shown[0]
    server = ViewerServer(host, port, f"Fewview: {first.title}", token)
    return server, Page(server, shown)


def how_to_open(server: ViewerServer) -> str:
    """What to type or click, here and from another computer."""
    port = server.get_port()
    lines = [
        f"Viewer: {server.url}   (Ctrl+C ends it)",
        f"From another computer: ssh -L {port}:127.0.0.1:{port} {_user()}@{socket.gethostname()}, then open the same "
        "address there.",
    ]
    return "\n".join(lines)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no such user in this container
        return "USER"
