"""WebSocket through the proxy, passed on, recorded and played: seen by websocket-client and by the server."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus

import pytest
import websocket
from websockets.sync.server import ServerConnection

from pytest_connex.proxy.proxy import Proxy

from .loopback import SHORT
from .upstream import PATIENCE, Stage, port_of, server, tell

Talk = Callable[[ServerConnection], None]

HANDSHAKE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)

ACTIONS = pytest.mark.parametrize("actions", [("pass",), ("record", "replay")], ids=["passed on", "recorded"])


@pytest.fixture
def stage(tmp_path):
    return Stage(tmp_path)


@contextmanager
def client(proxy: Proxy, path: str = "", **options: object) -> Iterator[websocket.WebSocket]:
    ws = websocket.create_connection(proxy.ws_url.rstrip("/") + path, timeout=PATIENCE, **options)
    try:
        yield ws
    finally:
        ws.shutdown()


def dialled(proxy: Proxy, path: str, *lines: str, host: str = "") -> str:
    """Return the answer to a handshake that is not accepted, in small letters."""
    host = host or proxy.ws_url.removeprefix("ws://").partition("/")[0]
    raw = "\r\n".join([f"GET {path} HTTP/1.1", f"Host: {host}", *HANDSHAKE, *lines, "", ""])
    return tell(proxy, raw.encode(), proxy.ws_url).decode().lower()


def in_each(stage: Stage, actions: tuple[str, ...], talk: Talk, use: Callable[[Proxy], object], **options) -> list:
    """Return what ``use`` returns in each of ``actions``; a replay has no server."""
    found = []
    with server(talk, **options) as url:
        for action in actions:
            with stage.proxy(action, ws=url) as proxy:
                found.append(use(proxy))
            assert stage.session.verdict is None
    return found


def echo(ws: ServerConnection) -> None:
    for message in ws:
        ws.send(message)


def tell_the_request(ws: ServerConnection) -> None:
    request = ws.request
    ws.send(json.dumps({"path": request.path, "headers": list(request.headers.raw_items())}))
    echo(ws)


@ACTIONS
@pytest.mark.parametrize(
    "message", ["", "text", "é鍵😀", b"", b"\x00\xff", "x" * 200_000, b"\x01" * 2_000_000], ids=lambda m: f"{m[:4]!r}"
)
def test_messages_pass_in_both_directions(stage, actions, message):
    def use(proxy):
        with client(proxy) as ws:
            ws.send(message, websocket.ABNF.OPCODE_TEXT if isinstance(message, str) else websocket.ABNF.OPCODE_BINARY)
            return ws.recv()

    assert in_each(stage, actions, echo, use, max_size=None) == [message] * len(actions)


@ACTIONS
def test_fragments_of_the_client_arrive_as_one_message(stage, actions):
    def use(proxy):
        with client(proxy) as ws:
            ws.send_frame(websocket.ABNF.create_frame("one ", websocket.ABNF.OPCODE_TEXT, 0))
            ws.send_frame(websocket.ABNF.create_frame("message", websocket.ABNF.OPCODE_CONT, 1))
            return ws.recv()

    assert in_each(stage, actions, echo, use) == ["one message"] * len(actions)


@ACTIONS
def test_fragments_of_the_server_arrive_as_one_message(stage, actions):
    def talk(ws):
        ws.send(iter(["one ", "message"]))
        echo(ws)

    def use(proxy):
        with client(proxy) as ws:
            return ws.recv()

    assert in_each(stage, actions, talk, use) == ["one message"] * len(actions)


def test_path_query_and_headers_reach_the_server_and_those_of_the_proxy_do_not(stage):
    def use(proxy):
        options = {"header": ["X-Mine: one", "X-Mine: two", "Authorization: Bearer abc"], "cookie": "a=b"}
        with client(proxy, "/stream/ETH%2FUSDT?a=1&a=2&b=%20", **options) as ws:
            return json.loads(ws.recv()), proxy.ws_url

    with server(tell_the_request) as url, stage.proxy("pass", ws=url) as proxy:
        seen, ws_url = use(proxy)
    headers = [(name.lower(), value) for name, value in seen["headers"]]
    assert seen["path"] == "/stream/ETH%2FUSDT?a=1&a=2&b=%20"
    assert [value for name, value in headers if name == "x-mine"] == ["one", "two"]
    assert dict(headers)["authorization"] == "Bearer abc"
    assert dict(headers)["cookie"] == "a=b"
    names = [name for name, _ in headers]
    assert [names.count(name) for name in ("host", "upgrade", "connection", "sec-websocket-key")] == [1, 1, 1, 1]
    assert dict(headers)["host"] == url.removeprefix("ws://").rstrip("/")
    assert ws_url.removeprefix("ws://") not in json.dumps(headers)


@pytest.mark.parametrize("origin", [None, "http://localhost:3000"])
def test_the_origin_is_the_servers_own_unless_the_client_names_another(stage, origin):
    """websocket-client makes it from the URL that it is given, as browsers do; servers check it."""
    with server(tell_the_request) as url, stage.proxy("pass", ws=url) as proxy:
        with client(proxy, **({"origin": origin} if origin else {})) as ws:
            headers = dict(json.loads(ws.recv())["headers"])
    assert headers["Origin"] == (origin or url.replace("ws://", "http://").rstrip("/"))


@ACTIONS
def test_subprotocols_and_headers_of_the_handshake_come_back(stage, actions):
    def add(connection, request, response):
        response.headers["X-Theirs"] = "yes"
        return response

    def use(proxy):
        with client(proxy, subprotocols=["v1", "v2"]) as ws:
            return ws.getsubprotocol(), ws.getheaders().get("x-theirs")

    found = in_each(stage, actions, echo, use, subprotocols=["v2"], process_response=add)
    assert found == [("v2", "yes")] * len(actions)


@ACTIONS
@pytest.mark.parametrize(
    ("code", "reason"),
    [(1000, ""), (1001, "going away"), (1008, "policy"), (1011, ""), (1012, "restart"), (4001, "é")],
)
def test_the_close_of_the_server_reaches_the_client(stage, actions, code, reason):
    def use(proxy):
        with client(proxy) as ws:
            assert ws.recv() == "hello"
            opcode, data = ws.recv_data()
            assert opcode == websocket.ABNF.OPCODE_CLOSE
            return int.from_bytes(data[:2], "big"), data[2:].decode()

    def talk(ws):
        ws.send("hello")
        ws.close(code, reason)

    assert in_each(stage, actions, talk, use) == [(code, reason)] * len(actions)


@pytest.mark.parametrize("action", ["pass", "record"])
def test_the_close_of_the_client_reaches_the_server(stage, action):
    closes = []

    def talk(ws):
        with suppress(Exception):
            for _ in ws:
                pass
        closes.append((ws.close_code, ws.close_reason))

    with server(talk) as url, stage.proxy(action, ws=url) as proxy:
        with client(proxy) as ws:
            ws.close(4002, b"enough")
    assert closes == [(4002, "enough")]
    if action == "record":
        assert '"by":"client","code":4002,"reason":"enough"' in stage.stem.with_name("test_y.ws.jsonl").read_text()


@ACTIONS
def test_a_connection_that_is_lost_is_lost_without_a_close_frame(stage, actions):
    def talk(ws):
        ws.send("hello")
        ws.socket.shutdown(socket.SHUT_RDWR)  # closing alone waits for the thread that reads

    def use(proxy):
        with client(proxy) as ws:
            assert ws.recv() == "hello"
            with pytest.raises(
                websocket.WebSocketConnectionClosedException, match="Connection to remote host was lost"
            ):
                ws.recv()

    in_each(stage, actions, talk, use)


@ACTIONS
def test_a_rejected_handshake_has_its_status_headers_and_body(stage, actions):
    def reject(connection, request):
        response = connection.respond(HTTPStatus.TOO_MANY_REQUESTS, "slow down\n")
        response.headers["Retry-After"] = "7"
        return response

    def use(proxy):
        with pytest.raises(websocket.WebSocketBadStatusException) as caught, client(proxy):
            pass
        return caught.value.status_code, caught.value.resp_headers["retry-after"], caught.value.resp_body

    assert in_each(stage, actions, echo, use, process_request=reject) == [(429, "7", b"slow down\n")] * len(actions)


@pytest.mark.parametrize("action", ["pass", "record"])
def test_a_server_that_is_not_there_is_a_lost_handshake(stage, action):
    with server(echo) as url:
        pass
    with stage.proxy(action, ws=url) as proxy:
        with pytest.raises((websocket.WebSocketException, ConnectionError)), client(proxy):
            pass


@ACTIONS
def test_a_ping_of_the_client_is_answered_by_the_server_or_as_it_did(stage, actions):
    def use(proxy):
        with client(proxy) as ws:
            ws.ping("mine")
            opcode, data = ws.recv_data(control_frame=True)
            return opcode, bytes(data)

    assert in_each(stage, actions, echo, use) == [(websocket.ABNF.OPCODE_PONG, b"mine")] * len(actions)


@pytest.mark.parametrize("action", ["pass", "record"])
def test_a_ping_of_the_server_is_answered_by_the_client(stage, action):
    answered = []

    def talk(ws):
        pong = ws.ping(b"yours")
        answered.append(pong.wait(SHORT))
        ws.send("answer it")
        answered.append(pong.wait(PATIENCE))
        ws.send("thank you")
        echo(ws)

    with server(talk) as url, stage.proxy(action, ws=url) as proxy, client(proxy) as ws:
        assert [ws.recv_frame().data for _ in range(2)] == [b"yours", b"answer it"]
        ws.pong("yours")
        assert ws.recv() == "thank you"
    assert answered == [False, True]


def test_many_clients_at_once_each_talk_to_their_own(stage):
    def use(proxy):
        heard: dict[int, str] = {}

        def converse(number: int) -> None:
            with client(proxy, f"/{number}") as ws:
                for _ in range(20):
                    ws.send(f"{number}")
                    heard[number] = heard.get(number, "") + ws.recv()

        threads = [threading.Thread(target=converse, args=(number,)) for number in range(10, 40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        return heard

    expected = {number: f"{number}" * 20 for number in range(10, 40)}
    assert in_each(stage, ("record", "replay"), echo, use) == [expected, expected]


@ACTIONS
def test_a_redirection_of_the_server_to_itself_leads_to_the_proxy(stage, actions):
    def redirect(connection, request):
        if request.path != "/begin":
            return None
        response = connection.respond(HTTPStatus.FOUND, "")
        response.headers["Location"] = f"ws://{request.headers['Host']}/end?x=1"
        return response

    def use(proxy):
        assert f"location: {proxy.ws_url.rstrip('/')}/end?x=1\r\n" in dialled(proxy, "/begin")
        with client(proxy, "/end?x=1") as ws:
            ws.send("there")
            return ws.recv()

    assert in_each(stage, actions, echo, use, process_request=redirect) == ["there"] * len(actions)


def test_a_redirection_elsewhere_is_the_clients_to_follow(stage):
    def redirect(connection, request):
        response = connection.respond(HTTPStatus.FOUND, "")
        response.headers["Location"] = elsewhere
        return response

    heard = []
    with (
        server(lambda ws: heard.append(ws.request.headers)) as elsewhere,
        server(echo, process_request=redirect) as url,
    ):
        with stage.proxy("pass", ws=url) as proxy:
            answer = dialled(proxy, "/", "X-CONNEX-API-KEY: key")
    assert answer.startswith("http/1.1 302 ")
    assert f"location: {elsewhere}\r\n" in answer
    assert heard == []


@pytest.mark.parametrize("lines", [(), ("Origin: http://evil.example",), ("Sec-Fetch-Site: same-origin",)])
def test_a_page_that_has_its_name_lead_here_is_refused(stage, lines):
    with server(echo) as url, stage.proxy("pass", rest=url.replace("ws", "http"), ws=url) as proxy:
        host = f"evil.example:{port_of(proxy)}"
        asked = "\r\n".join(["GET / HTTP/1.1", f"Host: {host}", *lines, "Connection: close", "", ""])
        assert tell(proxy, asked.encode()).startswith(b"HTTP/1.1 421 ")
        assert dialled(
            proxy, "/", *lines, "Connection: close", host=f"evil.example:{port_of(proxy, proxy.ws_url)}"
        ).startswith("http/1.1 421 ")


@pytest.mark.parametrize("mark", ["Origin: http://evil.example", "Sec-Fetch-Site: cross-site"])
def test_a_page_from_elsewhere_is_refused(stage, mark):
    with server(echo) as url, stage.proxy("pass", rest=url.replace("ws", "http"), ws=url) as proxy:
        asked = f"GET / HTTP/1.1\r\nHost: localhost\r\n{mark}\r\nConnection: close\r\n\r\n"
        assert tell(proxy, asked.encode()).startswith(b"HTTP/1.1 403 ")
        assert dialled(proxy, "/", mark, "Connection: close").startswith("http/1.1 403 ")
        assert proxy.requests == 0


def test_who_names_the_origin_of_the_server_itself_may_ask(stage):
    with server(echo) as url, stage.proxy("pass", ws=url) as proxy:
        with client(proxy, origin=url.replace("ws://", "http://").rstrip("/")) as ws:
            ws.send("hello")
            assert ws.recv() == "hello"
