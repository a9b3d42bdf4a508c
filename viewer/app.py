"""`view`: a run, a splat file or a capture in the browser, until Ctrl+C."""

from __future__ import annotations

import getpass
import socket
import threading
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..scene.errors import BadInputError
from ..scene.progress import Progress, silent
from .guard import chosen_token
from .server import ViewerServer

if TYPE_CHECKING:
    from ..scene.capture import Capture
    from ..scene.driving import DrivingLog
    from ..scene.gaussians import Gaussians
    from ..scene.run import Run
    from ..scene.splat import Splat
    from .page import Page
    from .subjects.subject import Subject

DEFAULT_PORT = 8080


def view(
    *targets: Path | str | Run | Capture | Gaussians | Splat | DrivingLog,
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    open_browser: bool = False,
    token: str | None = None,
    detections: Path | str | None = None,
    progress: Progress = silent,
) -> None:
    """Show run folders, splat files, photographs and data sets in the browser, together; returns at Ctrl+C.

    `detections` is a file in the nuScenes submission layout, to be shown on the driving data among the targets.
    `port` 0 takes any that is free. The address that is printed carries a `token` without which nobody else on this
    machine gets in: a new one unless it is given here or in FEWVIEW_TOKEN; "none" leaves it out, on this machine's
    loopback only. Raises BadInputError when there is nothing to show, the port is taken, or the token is missing.
    """
    if detections is not None and not Path(detections).is_file():
        raise BadInputError(f"{detections} is not there; a JSON file in the nuScenes submission layout is expected.")
    names = [target for target in targets if isinstance(target, (Path, str))]
    for name in names:
        if not Path(name).exists():
            raise BadInputError(f"{name} does not exist; a run, a splat file, photographs or a data set is expected.")
    # The server first: a browser loads the page while PyTorch is imported here and the files are read.
    title = f"Fewview: {Path(names[0]).resolve().name if names else 'viewer'}"
    server = ViewerServer(host, port, title, chosen_token(token))
    page: Page | None = None
    try:
        print(how_to_open(server), flush=True)
        if open_browser:
            webbrowser.open(server.url)
        from .page import Page
        from .subjects.loader import load_subjects

        page = Page(server, load_subjects(targets, detections, progress))
        threading.Event().wait()
    except KeyboardInterrupt:
        pass
    finally:
        if page is not None:
            page.close()
        server.stop()


def serve(
    subjects: Subject | Sequence[Subject],
    *,
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    token: str | None = None,
) -> tuple[ViewerServer, Page]:
    """Start the page and return at once; the caller stops both. Without a `token` the address needs none."""
    from .page import Page

    shown = subjects if isinstance(subjects, Sequence) else [subjects]
    server = ViewerServer(host, port, f"Fewview: {shown[0].title}", token)
    return server, Page(server, shown)


def how_to_open(server: ViewerServer) -> str:
    """Sentences on how to open the page, here and from another computer."""
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
