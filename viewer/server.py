"""A viser server behind the guard: bound narrowly, checked on every request, without a share tunnel."""

from __future__ import annotations

import contextlib
import http.client
import importlib.metadata
import io
import logging
import socket
import threading
from collections.abc import Iterator
from typing import Any

import viser
import viser.infra._infra as viser_infra
import websockets
import websockets.asyncio.server
from viser._messages import FileTransferPart, FileTransferStartUpload, SceneNodeUpdateMessage
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from ..scene.errors import BadInputError, FewviewError
from . import page_html
from .guard import EVERY_INTERFACE, MAX_UPLOAD_BYTES, Guard
from .http_methods import AnyMethod, not_allowed, without_content
from .renderers import Renderers

logging.getLogger("websockets.server").setLevel(logging.CRITICAL)  # port scanners and closed tabs are no news
MAX_MESSAGE_BYTES = 8 * 2**20  # from a browser; it sends clicks and camera poses, a few hundred bytes each
_construction = threading.Lock()


def viser_version() -> str:
    """The version of viser that is installed. Raises FewviewError for one that the viewer cannot use."""
    version = importlib.metadata.version("viser")  # releases before 1.0 do not say it themselves
    if int(version.split(".")[0]) < 1:
        raise FewviewError(
            f"The viewer needs viser 1.0 or newer, and {version} is installed, as nerfstudio wants it; look at the "
            "scene from an environment without nerfstudio, or with `ns-viewer`."
        )
    return version


class ViewerServer(viser.ViserServer):
    """viser's server with the guard in front. Raises BadInputError for a port that is taken or an unsafe host."""

    def __init__(self, host: str, port: int, label: str, token: str | None = None) -> None:
        viser_version()
        self.guard = Guard(host, token)
        self.renderers = Renderers()
        self.bound_host = host
        _check_port(host, port)
        with _construction, _guarded_serve(self.guard, self.renderers, label), _quiet():
            super().__init__(host="0.0.0.0" if host in ("", "*") else host, port=port, label=label, verbose=False)
        self._refuse_large_uploads()
        if not self._refuses_strangers():
            self.stop()
            raise FewviewError(
                f"The viewer's access check could not be put into viser {viser.__version__}, so the viewer was closed "
                "again. Install the version that `fewview doctor` names as tested."
            )

    @property
    def url(self) -> str:
        """The address to open on this machine, with the token where one is asked for."""
        host = "localhost" if self.bound_host in EVERY_INTERFACE else self.bound_host
        host = f"[{host}]" if ":" in host and not host.startswith("[") else host
        query = "" if self.guard.token is None else f"?token={self.guard.token}"
        return f"http://{host}:{self.get_port()}/{query}"

    def stop(self) -> None:
        with _quiet():
            super().stop()

    def request_share_url(self, verbose: bool = True) -> str | None:
        """Never: the tunnel would publish the scene on somebody else's server, and any browser could ask for it."""
        return None

    def update_for(self, client: viser.ClientHandle, node: viser.SceneNodeHandle, **properties: Any) -> None:
        """Change properties of a shared node in one browser only, until they are changed for all."""
        # A node of the browser's own under the same name would not do: releases of viser differ in what hides what.
        client._websock_connection.queue_message(SceneNodeUpdateMessage(node.name, properties))

    def _refuse_large_uploads(self) -> None:
        """viser gathers a whole upload before it asks anybody; the announcement is answered here, after viser's own."""
        uploads = self.gui._current_file_upload_states

        def announced(client_id: Any, message: FileTransferStartUpload) -> None:
            # Parts of a transfer that is not in the table are thrown away as they come.
            if max(message.size_bytes, message.part_count) <= MAX_UPLOAD_BYTES:
                return
            uploads.pop(message.transfer_uuid, None)
            client = self.get_clients().get(client_id)
            if client is not None:
                client.add_notification(
                    "Too large",
                    f"{message.filename[:80]} has {message.size_bytes / 1e6:,.0f} MB; at most "
                    f"{MAX_UPLOAD_BYTES / 1e6:,.0f} MB can be loaded here. Name a larger splat after `fewview view`.",
                )

        def part(client_id: Any, message: FileTransferPart) -> None:
            # A browser that sends more than it announced is no browser.
            state = uploads.get(message.transfer_uuid)
            if state is not None and state["transferred_bytes"] > MAX_UPLOAD_BYTES:
                uploads.pop(message.transfer_uuid, None)

        self._websock_server.register_handler(FileTransferStartUpload, announced)
        self._websock_server.register_handler(FileTransferPart, part)

    def _refuses_strangers(self) -> bool:
        """Asks the running server under a name that is not its own; the answer has to be 403."""
        host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "*": "127.0.0.1", "::": "::1"}.get(
            self.bound_host, self.bound_host
        )
        connection = http.client.HTTPConnection(host, self.get_port(), timeout=10)
        try:
            connection.request("GET", "/", headers={"Host": "stranger.invalid"})
            return connection.getresponse().status == http.HTTPStatus.FORBIDDEN
        except OSError:
            return False
        finally:
            connection.close()


class _WebsocketsWithGuard:
    """Stands for the `websockets` module inside viser while a server is made: `asyncio.server.serve` is guarded."""

    def __init__(self, guard: Guard, renderers: Renderers, title: str) -> None:
        self._guard, self._renderers, self._title = guard, renderers, title

    def __getattr__(self, name: str) -> Any:
        return self if name in ("asyncio", "server") else getattr(websockets, name)

    def serve(self, handler: Any, host: str, port: int, *, process_request: Any, **options: Any) -> Any:
        guard, renderers, title = self._guard, self._renderers, self._title

        def guarded(connection: ServerConnection, request: Request) -> Response | None:
            assert isinstance(connection, AnyMethod)
            if connection.method == "GET":
                return answered(connection, request)
            if connection.method != "HEAD":
                return guard.dress(request, not_allowed())
            return without_content(answered(connection, request) or guard.dress(request, not_allowed()))

        def answered(connection: ServerConnection, request: Request) -> Response | None:
            refused = guard.refusal(request)
            if refused is not None:
                return refused
            response = page_html.answer(request) or renderers.answer(request)
            if response is None:
                response = process_request(connection, request)
                if response is None:
                    return None
                response = page_html.completed(response, title)
            return guard.dress(request, response)

        options |= {"max_size": MAX_MESSAGE_BYTES, "create_connection": AnyMethod}
        return websockets.asyncio.server.serve(handler, host, port, process_request=guarded, **options)


@contextlib.contextmanager
def _guarded_serve(guard: Guard, renderers: Renderers, title: str) -> Iterator[None]:
    """viser has no hook for its request handling, so the name through which it starts its server is lent ours."""
    original = viser_infra.websockets
    viser_infra.websockets = _WebsocketsWithGuard(guard, renderers, title)  # type: ignore[assignment]
    try:
        yield
    finally:
        viser_infra.websockets = original


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps viser's own banner off the terminal: it prints addresses without the token."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def _check_port(host: str, port: int) -> None:
    """viser would silently take the next free port; a person who forwards a port needs the one that was named."""
    problem = port_problem(host, port)
    if problem is not None:
        raise BadInputError(
            f"The viewer cannot listen on {host}:{port}: {problem}. "
            "Choose another port with --port, or 0 for any that is free."
        )


def port_problem(host: str, port: int) -> str | None:
    """Why a server could not be bound to host and port, None when it could."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("" if host in EVERY_INTERFACE else host, port))
        except (OSError, OverflowError) as error:
            return str(getattr(error, "strerror", None) or error)
    return None
