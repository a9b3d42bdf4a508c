"""The viewer's server as a real client meets it: who is let in, and what is served."""

import asyncio
import contextlib
import gzip
import http.client
import socket

import pytest
import viser
import websockets
from fewview.scene.errors import BadInputError
from fewview.viewer.guard import Guard, is_loopback
from fewview.viewer.server import ViewerServer
from websockets.asyncio.client import connect

TOKEN = "a-secret_of-the-test"


@contextlib.contextmanager
def running(host="127.0.0.1", token=None):
    server = ViewerServer(host, 0, "test", token)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def server():
    with running() as server:
        yield server


@pytest.fixture(scope="module")
def wide_server():
    with running("0.0.0.0", TOKEN) as server:
        yield server


def get(server, path="/", headers=None):
    """(status, headers, body) of GET; a header value of None leaves the header out."""
    port = server.get_port()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest("GET", path, skip_host=True, skip_accept_encoding=True)
    for name, value in ({"Host": f"localhost:{port}"} | (headers or {})).items():
        if value is not None:
            connection.putheader(name, value)
    connection.endheaders()
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, response.headers, body


def websocket_status(server, host=None, origin=None, cookie=None, path="/"):
    """101 when the WebSocket opens, else the HTTP status of the refusal."""
    port = server.get_port()

    async def attempt():
        stream = socket.create_connection(("127.0.0.1", port))
        headers = {} if cookie is None else {"Cookie": cookie}
        try:
            async with connect(
                f"ws://{host or f'localhost:{port}'}{path}",
                sock=stream,
                origin=origin,
                additional_headers=headers,
                subprotocols=[f"viser-v{viser.__version__}"],
                open_timeout=10,
            ):
                return 101
        except websockets.exceptions.InvalidStatus as error:
            return error.response.status_code

    return asyncio.run(attempt())


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST"])
def test_own_names_are_served(server, name):
    port = server.get_port()
    status, headers, body = get(server, headers={"Host": f"{name}:{port}"})
    assert status == 200
    assert b"<html" in body
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert get(server, headers={"Host": f"{name}:9000"})[0] == 200  # forwarded from another local port


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "localhost.evil.example:80", "127.0.0.1.nip.io", "192.168.0.7:8080", "localhost:x",
        "user@localhost", "localhost/..", "", None,
    ],
)  # fmt: skip
def test_foreign_hosts_are_refused(server, host):
    assert get(server, headers={"Host": host})[0] == 403


def test_two_hosts_are_refused(server):
    with socket.create_connection(("127.0.0.1", server.get_port()), timeout=10) as stream:
        stream.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
        assert stream.recv(64).startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:1", "http://localhost", ""])
def test_foreign_origins_are_refused(server, origin):
    assert get(server, headers={"Origin": origin})[0] == 403
    if origin:
        assert websocket_status(server, origin=origin) == 403


def test_own_origin_is_served(server):
    origin = f"http://localhost:{server.get_port()}"
    assert get(server, headers={"Origin": origin})[0] == 200
    assert websocket_status(server, origin=origin) == 101


def test_websocket_to_a_foreign_host_is_refused(server):
    assert websocket_status(server, host="evil.example") == 403
    assert websocket_status(server, host="evil.example", origin="http://evil.example") == 403


@pytest.mark.parametrize(
    "path",
    ["/../_viser.py", "/%2e%2e/_viser.py", "/..%5c_viser.py", "//etc/passwd", "/%2fetc/passwd", "/.", "/index.html/x"],
)
def test_nothing_outside_the_page_is_served(server, path):
    status, _, body = get(server, path)
    assert b"import " not in body[:2000] or b"<html" in body
    assert b"root:" not in body
    assert status == 404 or (status == 200 and b"<html" in body)


def test_directories_are_not_listed(server):
    assert get(server, "/assets/")[0] == 404


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::", "192.168.1.20", "viewer.example"])
def test_wide_hosts_need_a_token(host):
    with pytest.raises(BadInputError, match="--token"):
        ViewerServer(host, 0, "test")


@pytest.mark.parametrize("token", ["", "short", "has spaces in it", "semi;colon;token"])
def test_weak_tokens_are_refused(token):
    with pytest.raises(BadInputError, match="token needs"):
        Guard("0.0.0.0", token)


def test_loopback_is_recognised():
    assert all(is_loopback(h) for h in ("127.0.0.1", "127.3.2.1", "::1", "localhost", "[::1]"))
    assert not any(is_loopback(h) for h in ("", "0.0.0.0", "::", "10.0.0.1", "localhost.example"))


def test_token_is_asked_for_on_http_and_websocket(wide_server):
    assert get(wide_server)[0] == 403
    assert get(wide_server, "/?token=wrong-wrong")[0] == 403
    assert get(wide_server, f"/?token={TOKEN}&token={TOKEN}")[0] == 403
    assert websocket_status(wide_server) == 403
    assert websocket_status(wide_server, cookie="fewview-token=wrong-wrong") == 403


def test_token_in_the_address_becomes_a_cookie(wide_server):
    status, headers, _ = get(wide_server, f"/?token={TOKEN}")
    assert status == 200
    assert "HttpOnly" in headers["Set-Cookie"]
    assert "SameSite=Strict" in headers["Set-Cookie"]
    cookie = headers["Set-Cookie"].split(";")[0]
    assert get(wide_server, headers={"Cookie": cookie})[0] == 200
    assert websocket_status(wide_server, cookie=cookie) == 101
    assert websocket_status(wide_server, cookie=cookie, origin="http://evil.example") == 403
    assert TOKEN in wide_server.url


def test_wide_server_answers_to_addresses_but_not_to_foreign_names(wide_server):
    assert get(wide_server, f"/?token={TOKEN}", {"Host": "192.168.0.7:8080"})[0] == 200
    assert get(wide_server, f"/?token={TOKEN}", {"Host": "evil.example"})[0] == 403


def test_narrow_server_is_not_on_other_addresses(server):
    addresses = {a[4][0] for a in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    others = [a for a in addresses if not a.startswith("127.")]
    if not others:
        pytest.skip("this machine has no address besides the loopback")
    with pytest.raises((ConnectionError, TimeoutError)):
        socket.create_connection((others[0], server.get_port()), timeout=2)


def test_share_tunnel_is_off(server):
    assert server.request_share_url() is None


def test_taken_port_is_a_sentence(server):
    with pytest.raises(BadInputError, match="--port"):
        ViewerServer("127.0.0.1", server.get_port(), "test")


@pytest.mark.parametrize("encoding", ["gzip", None])
def test_the_page_asks_what_it_is_drawn_with(encoding):
    with running() as server:
        told = []
        server.renderers.when_card(lambda: told.append("card"))
        status, headers, body = get(server, headers={"Accept-Encoding": encoding})
        page = gzip.decompress(body) if headers["Content-Encoding"] == "gzip" else body
        assert status == 200
        assert page.count(b"renderer?software=") == 1
        assert get(server, "/renderer?software=0", {"Host": "evil.example"})[0] == 403
        assert get(server, "/renderer?software=0", {"Origin": "http://evil.example"})[0] == 403
        for query in ("", "?software=1", "?software=2", "?software=0&software=1", "?" + 100 * "a&"):
            assert get(server, f"/renderer{query}")[0] == 204
        assert told == []
        for _ in range(2):
            assert get(server, "/renderer?software=0")[0] == 204
        assert told == ["card"]
        server.renderers.when_card(lambda: told.append("late"))
        assert told == ["card", "late"]
