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
from fewview.viewer.guard import MAX_UPLOAD_BYTES, Guard, chosen_token, is_loopback
from fewview.viewer.server import ViewerServer
from viser._messages import FileTransferPart, FileTransferStartUpload
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


def get(server, path="/", headers=None, method="GET"):
    """(status, headers, body) of a request; a header value of None leaves the header out."""
    port = server.get_port()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
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


def test_head_gives_what_get_would_without_the_content(server):
    _, headers, body = get(server)
    status, found, content = get(server, method="HEAD")
    assert status == 200
    assert content == b""
    assert found["Content-Length"] == headers["Content-Length"] == str(len(body))
    assert found["Content-Security-Policy"] == headers["Content-Security-Policy"]
    assert get(server, "/nothing", method="HEAD")[0] == get(server, "/nothing")[0] == 404
    assert get(server, headers={"Host": "stranger.invalid"}, method="HEAD")[0] == 403


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_other_methods_are_not_allowed(server, method):
    status, headers, body = get(server, method=method)
    assert (status, headers["Allow"], body) == (405, "GET, HEAD", b"")


def test_directories_are_not_listed(server):
    assert get(server, "/assets/")[0] == 404


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::", "192.168.1.20", "viewer.example"])
def test_wide_hosts_need_a_token(host):
    with pytest.raises(BadInputError, match="needs a token"):
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
    assert websocket_status(wide_server, cookie=f"{wide_server.guard.cookie}=wrong-wrong") == 403


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


def test_two_viewers_on_one_host_keep_their_cookies_apart():
    tokens = [TOKEN, f"another-{TOKEN}"]
    with running(token=tokens[0]) as first, running(token=tokens[1]) as second:
        given = [get(s, f"/?token={t}")[1]["Set-Cookie"] for s, t in zip((first, second), tokens, strict=True)]
        jar = "; ".join(header.split(";")[0] for header in given)
        assert len({header.partition("=")[0] for header in given}) == 2
        for one in (first, second):
            assert get(one, headers={"Cookie": jar})[0] == 200
        assert get(first, headers={"Cookie": given[1].split(";")[0]})[0] == 403


def test_a_token_is_made_unless_it_is_given_or_denied(monkeypatch):
    monkeypatch.delenv("FEWVIEW_TOKEN", raising=False)
    made = [chosen_token(None) for _ in range(2)] + [chosen_token("new")]
    assert len(set(made)) == 3
    assert all(len(token) >= 16 and Guard("127.0.0.1", token) for token in made)
    assert chosen_token("none") is None
    assert chosen_token(TOKEN) == TOKEN
    monkeypatch.setenv("FEWVIEW_TOKEN", TOKEN)
    assert chosen_token(None) == TOKEN
    assert chosen_token("a-word-of-my-own") == "a-word-of-my-own"


@pytest.mark.parametrize("path", ["/" + 5000 * "a", "/?token=" + 5000 * "a"])
def test_long_addresses_are_refused(server, path):
    status, headers, body = get(server, path)
    assert status == 414
    assert b"no address here is that long" in body
    assert headers["X-Content-Type-Options"] == "nosniff"


def announce(server, size_bytes, part_count):
    """The table of transfers after a browser has announced one of this size, and after a part of it."""
    interface, table = server._websock_server, server.gui._current_file_upload_states
    button = server.gui.add_upload_button("Load")
    start = FileTransferStartUpload(button._impl.uuid, "transfer", "a.json", "application/json", part_count, size_bytes)
    for handler in interface._incoming_handlers[FileTransferStartUpload]:
        handler(0, start)
    announced = dict(table)
    part = FileTransferPart(button._impl.uuid, "transfer", 0, bytes(4 * 2**20))
    for handler in interface._incoming_handlers[FileTransferPart]:
        handler(0, part)
    return announced, dict(table)


@pytest.mark.parametrize(
    ("size_bytes", "part_count", "taken"),
    [(8 * 2**20, 2, True), (MAX_UPLOAD_BYTES + 1, 9, False), (100, MAX_UPLOAD_BYTES + 1, False)],
)
def test_large_uploads_are_refused_when_they_are_announced(size_bytes, part_count, taken):
    with running() as server:
        announced, after = announce(server, size_bytes, part_count)
        assert bool(announced) == bool(after) == taken


def test_uploads_that_grow_beyond_what_was_announced_are_dropped(monkeypatch):
    monkeypatch.setattr("fewview.viewer.server.MAX_UPLOAD_BYTES", 2**20)
    with running() as server:
        announced, after = announce(server, 1000, 3)
        assert announced
        assert not after


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
        assert page.count(b"<title>test</title>") == 1
        assert get(server, "/alive")[0] == 204
        assert get(server, "/alive", {"Host": "evil.example"})[0] == 403
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


def test_a_title_cannot_end_the_script_that_holds_it():
    server = ViewerServer("127.0.0.1", 0, 'a</script><script>alert(1)</script>"')
    try:
        page = get(server)[2]
        page = gzip.decompress(page) if page[:2] == b"\x1f\x8b" else page
        assert b"alert(1)</script>" not in page
        assert b"&lt;/script&gt;" in page
    finally:
        server.stop()
