"""What no client should send: the proxy answers or hangs up, says nothing about it, and serves the next one."""

from __future__ import annotations

import gc
import logging
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from pytest_connex.proxy.proxy import Proxy

from .upstream import PATIENCE, Stage, Upstream, ask, connected, ok, port_of, received, says

HEAD = b"Host: localhost\r\nConnection: close\r\n"
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
UPGRADE = b"Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"

GARBAGE = {
    "random bytes": bytes(range(256)) * 8,
    "one byte": b"\x00",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x17" * 200,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no target": b"GET\r\n\r\n",
    "a version that does not exist": b"GET / HTTP/9.9\r\n\r\n",
    "a method that is no token": b"G(T / HTTP/1.1\r\n\r\n",
    "a header without a colon": b"GET / HTTP/1.1\r\nnonsense\r\n\r\n",
    "a NUL in a header": b"GET / HTTP/1.1\r\nHost: localhost\r\nA: \x00\r\n\r\n",
    "a target that is not ASCII": b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a huge header": b"GET / HTTP/1.1\r\nHost: localhost\r\nA: " + b"x" * 300_000 + b"\r\n\r\n",
    "a huge target": b"GET /" + b"x" * 300_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a negative length": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "a length and chunks": (
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
    "a coding that is unknown": b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
}
CUT = {
    "nothing": b"",
    "half a line": b"GET / HT",
    "half a head": b"GET / HTTP/1.1\r\nHost: localhost\r\n",
    "half a body": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc",
    "half a chunk": b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    "no last chunk": b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
    "half a handshake": b"GET / HTTP/1.1\r\n" + UPGRADE,
}
HANDSHAKES = {
    "without a key": (
        b"GET / HTTP/1.1\r\n" + UPGRADE + b"Sec-WebSocket-Version: 13\r\n\r\n",
        b"it has no Sec-WebSocket-Key",
    ),
    "of an old version": (
        b"GET / HTTP/1.1\r\n" + UPGRADE + KEY + b"Sec-WebSocket-Version: 8\r\n\r\n",
        b"its Sec-WebSocket-Version is not 13",
    ),
    "without a version": (b"GET / HTTP/1.1\r\n" + UPGRADE + KEY + b"\r\n", b"its Sec-WebSocket-Version is not 13"),
    "in HTTP/1.0": (
        b"GET / HTTP/1.0\r\n" + UPGRADE + KEY + b"Sec-WebSocket-Version: 13\r\n\r\n",
        b"it is HTTP/1.0",
    ),
    "with a body": (
        b"GET / HTTP/1.1\r\n" + UPGRADE + KEY + b"Sec-WebSocket-Version: 13\r\nContent-Length: 2\r\n\r\nab",
        b"it has a body",
    ),
    "by POST": (
        b"POST / HTTP/1.1\r\n" + UPGRADE + KEY + b"Sec-WebSocket-Version: 13\r\nContent-Length: 0\r\n\r\n",
        b"its method is POST",
    ),
}


def is_served(proxy: Proxy) -> bool:
    return ask(proxy, "/good").endswith(b"\r\n\r\nfine")


@pytest.fixture
def stage(tmp_path) -> Stage:
    return Stage(tmp_path)


@pytest.fixture(params=["pass", "record", "replay"])
def proxy(request, stage, caplog, capfd) -> Iterator[Proxy]:
    """A proxy that serves its next client when the test is over, stops, and has said nothing."""
    caplog.set_level(logging.WARNING)
    before = set(threading.enumerate())
    with Upstream(says(ok(b"fine"))) as upstream:
        if request.param == "replay":
            with stage.proxy("record", upstream.url) as recording:
                assert (is_served(recording), is_served(recording)) == (True, True)
        with stage.proxy(request.param, upstream.url, ws=upstream.url.replace("http", "ws")) as proxy:
            yield proxy
            if proxy._background.is_running:
                assert is_served(proxy)
    gc.collect()
    assert [record.getMessage() for record in caplog.records] == []
    assert capfd.readouterr().err == ""
    left = set(threading.enumerate()) - before
    assert [thread.name for thread in left if thread.name == "connex-proxy"] == []


def every(cases: dict[str, bytes]) -> Callable[..., object]:
    return pytest.mark.parametrize("raw", cases.values(), ids=cases)


@every(GARBAGE)
def test_garbage_is_answered_with_400_or_not_at_all(proxy, raw):
    with connected(proxy) as connection:
        try:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it hung up before all of it was said
        answer = received(connection)
    assert answer == b"" or answer.split(b" ")[1] == b"400"


@every(CUT)
def test_a_client_that_leaves_in_the_middle_of_a_request_hinders_nobody(proxy, raw):
    with connected(proxy) as connection:
        connection.sendall(raw)


@every(CUT)
def test_a_client_that_ends_its_side_in_the_middle_of_a_request_hears_the_end(proxy, raw):
    with connected(proxy) as connection:
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        answer = received(connection)
    assert answer == b"" or answer.split(b" ")[1] == b"400"


@every(CUT)
def test_a_client_that_falls_silent_in_the_middle_of_a_request_hears_the_proxy_stop(proxy, raw):
    with connected(proxy) as connection:
        connection.sendall(raw)
        assert is_served(proxy)
        proxy.stop()
        answer = received(connection)
    assert answer == b"" or answer.split(b" ")[1] == b"400"


@pytest.mark.parametrize("at_once", [True, False])
def test_a_body_in_bad_chunks_is_answered_with_400_and_no_mismatch(stage, proxy, at_once):
    before = proxy.requests
    good = b"POST /a HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"
    bad = b"zz\r\n"
    with connected(proxy) as connection:
        connection.sendall(good + bad * at_once)
        while not at_once and proxy.requests == before:
            pass  # it is answered as soon as its head is there
        connection.sendall(bad * (not at_once))
        answer = received(connection)
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    assert stage.session.verdict is None


@pytest.mark.parametrize(("raw", "problem"), HANDSHAKES.values(), ids=HANDSHAKES)
def test_a_handshake_is_refused_with_what_is_wrong(proxy, raw, problem):
    with connected(proxy, proxy.ws_url) as connection:
        connection.sendall(raw)
        answer = received(connection, problem + b"\n").removesuffix(b"\n")
    assert answer.split(b" ")[1] == b"400"
    assert answer.endswith(b"\r\n\r\nthis is no WebSocket handshake: " + problem)


def test_many_bad_clients_at_once_hinder_nobody(proxy):
    clients = []
    for raw in [*CUT.values(), *GARBAGE.values()] * 3:
        client = socket.create_connection(("127.0.0.1", port_of(proxy)), PATIENCE)
        clients.append(client)
        try:
            client.sendall(raw)
        except ConnectionError:
            pass
    assert is_served(proxy)
    for client in clients:
        client.close()
