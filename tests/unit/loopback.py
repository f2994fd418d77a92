"""A port in a thread, for tests of faults, and clients that are not ours: what they get, how they notice the end."""

from __future__ import annotations

import asyncio
import base64
import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple
from urllib.parse import urlsplit

import aiohttp
import requests
import websocket
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request
from websockets.sync.client import connect as connect_sync

from pytest_connex.background import BackgroundLoop
from pytest_connex.faults import Faults
from pytest_connex.proxy.endpoint import Behaviour, Endpoint, Manners
from pytest_connex.proxy.http import Answering, Asked, Refusal, refusal
from pytest_connex.proxy.port import Port

Script = Callable[[Faults], object]

SAID = ("one", "two", "three", "four")
BODY = b'{"answer": "of some length"}'
PATIENCE = 10
"""Seconds after which a client stops waiting, which fails its test."""
SHORT = 0.05
"""Seconds that a client waits for what does not come."""


def patience(messages: Sequence[str | bytes], silent_after: int | None) -> float:
    """How long to wait for the next message, where there are none after some."""
    return PATIENCE if silent_after is None or len(messages) < silent_after else SHORT


class Feed(Manners):
    """Says something to whoever connects, and repeats what it hears."""

    refusal: BaseException | None = None
    on_read: Callable[[], None] | None = None

    def __init__(self, said: Sequence[str | bytes], closes: tuple[int, str] | None) -> None:
        self.heard: list[str | bytes] = []
        self.ends: list[tuple[int, str]] = []
        self.late: list[str | bytes] = []
        self.ended_in_time = threading.Event()
        self._said = said
        self._closes = closes

    def dialled(self, endpoint: Endpoint, request: Request) -> None:
        self.endpoint = endpoint
        endpoint.accept(None, {})
        for message in self._said:
            endpoint.send((message,))
        if self._closes is not None:
            endpoint.close(*self._closes)

    def received(self, message: str | bytes) -> None:
        self.heard.append(message)
        self.endpoint.send((message,))

    def came_late(self, message: str | bytes) -> None:
        self.late.append(message)

    def writable(self) -> None:
        """It never waits."""

    def ended(self, code: int, reason: str) -> None:
        self.ends.append((code, reason))
        self.ended_in_time.set()


class Served:
    """A port in a thread, with a feed behind it, and a body for every request."""

    body = BODY

    def __init__(
        self,
        said: Sequence[str | bytes] = SAID,
        closes: tuple[int, str] | None = None,
        faults: Faults | None = None,
        feed: type[Feed] = Feed,
    ) -> None:
        self.faults = faults or Faults(5)
        self.feeds: list[Feed] = []
        self.asked: list[str] = []
        self.rejects = 0
        self._feed = partial(feed, said, closes)
        self._port = Port(self._http, self._websocket, self.faults)
        self._background = BackgroundLoop("served")

    def _websocket(self, asked: Asked) -> Behaviour | Refusal:
        if self.rejects:
            self.rejects -= 1
            return refusal(404, "not here")
        self.feeds.append(self._feed())
        return self.feeds[-1]

    async def _http(self, asked: Asked, answering: Answering) -> None:
        self.asked.append(f"{asked.method} {asked.path} {(await asked.read())[:10].decode()}".strip())
        await answering.whole(200, "OK", [("Content-Type", "application/json")], self.body)

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self._port.number

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self._port.number}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self._port.number}/ws"

    def drop(self) -> None:
        self._background.call(self._port.drop)

    def stop(self) -> None:
        if self._background.is_running:
            self._background.run(self._port.stop())
            self._background.stop()

    def __enter__(self) -> Served:
        self._background.start()
        self._background.run(self._port.start())
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()


class Seen(NamedTuple):
    """What a client got, and how it noticed the end."""

    messages: list[str | bytes]
    end: str


def _of_websockets(exc: BaseException) -> str:
    if isinstance(exc, ConnectionClosed):
        received = "" if exc.rcvd is None else f" received {exc.rcvd.code} {exc.rcvd.reason}".rstrip()
        sent = "" if exc.sent is None or exc.rcvd_then_sent else f" sent {exc.sent.code}"
        cause = "" if not isinstance(exc.__cause__, OSError) else f" from {type(exc.__cause__).__name__}"
        return f"{type(exc).__name__}{received}{sent}{cause}"
    return type(exc).__name__


def by_websockets(url: str, silent_after: int | None = None) -> Seen:
    async def listen() -> Seen:
        messages: list[str | bytes] = []
        async with connect(url, close_timeout=SHORT) as ws:
            try:
                while True:
                    async with asyncio.timeout(patience(messages, silent_after)):
                        messages.append(await ws.recv())
            except (ConnectionClosed, TimeoutError) as exc:
                return Seen(messages, _of_websockets(exc))

    return asyncio.run(listen())


def by_websockets_sync(url: str, silent_after: int | None = None) -> Seen:
    messages: list[str | bytes] = []
    with connect_sync(url, close_timeout=SHORT) as ws:
        try:
            while True:
                messages.append(ws.recv(timeout=patience(messages, silent_after)))
        except (ConnectionClosed, TimeoutError) as exc:
            return Seen(messages, _of_websockets(exc))


def by_websocket_client(url: str, silent_after: int | None = None) -> Seen:
    messages: list[str | bytes] = []
    ws = websocket.create_connection(url, timeout=PATIENCE, http_no_proxy=["127.0.0.1"])
    try:
        while True:
            ws.settimeout(patience(messages, silent_after))
            opcode, data = ws.recv_data()
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                return Seen(messages, f"CLOSE {int.from_bytes(data[:2], 'big')} {data[2:].decode()}".rstrip())
            messages.append(data.decode() if opcode == websocket.ABNF.OPCODE_TEXT else data)
    except (websocket.WebSocketException, OSError) as exc:
        return Seen(messages, type(exc).__name__)
    finally:
        ws.shutdown()


def by_aiohttp(url: str, silent_after: int | None = None) -> Seen:
    async def listen() -> Seen:
        messages: list[str | bytes] = []
        async with aiohttp.ClientSession() as session:
            ws = await session.ws_connect(url)  # the session closes it, without waiting for an answer
            try:
                while True:
                    message = await ws.receive(timeout=patience(messages, silent_after))
                    if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                        break
                    messages.append(message.data)
            except TimeoutError as exc:
                return Seen(messages, type(exc).__name__)
            if message.type is aiohttp.WSMsgType.CLOSE:
                return Seen(messages, f"CLOSE {message.data} {message.extra}".rstrip())
            return Seen(messages, f"{message.type.name} {ws.close_code}")

    return asyncio.run(listen())


def by_a_socket(url: str, silent_after: int | None = None) -> Seen:
    with raw(url) as sock:
        return listened(sock, silent_after)


def listened(sock: socket.socket, silent_after: int | None = None) -> Seen:
    """Read until a close frame or the end."""
    said = b""
    try:
        while not (seen := framed(said, "")).end.startswith("CLOSE"):
            sock.settimeout(patience(seen.messages, silent_after))
            if not (data := sock.recv(65_536)):
                return framed(said, "EOF")
            said += data
    except OSError as exc:
        return framed(said, type(exc).__name__)
    return seen


@contextmanager
def raw(url: str) -> Iterator[socket.socket]:
    """A socket with the handshake done."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE) as sock:
        sock.sendall(handshake(parts.path or "/"))
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += sock.recv(1)
        assert head.startswith(b"HTTP/1.1 101 ")
        yield sock


def handshake(path: str = "/ws", **changed: str) -> bytes:
    headers = {
        "Host": "127.0.0.1",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
        "Sec-WebSocket-Version": "13",
    } | {name.replace("_", "-"): value for name, value in changed.items()}
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items() if value)]
    return "\r\n".join([*lines, "", ""]).encode()


def framed(said: bytes, end: str) -> Seen:
    """Take frames of less than 126 bytes apart, as text; what is left of the last one comes with the end."""
    messages: list[str | bytes] = []
    while len(said) >= 2 and len(said) >= 2 + said[1]:
        kind, payload, said = said[0], said[2 : 2 + said[1]], said[2 + said[1] :]
        if kind == 0x88:
            end = f"CLOSE {int.from_bytes(payload[:2], 'big')} {payload[2:].decode()}".rstrip()
            break
        messages.append(payload.decode("utf-8", "backslashreplace") if kind == 0x81 else payload)
    return Seen(messages, f"{end} after {said!r}" if said else end)


CLIENTS = {
    "websockets": by_websockets,
    "websockets.sync": by_websockets_sync,
    "websocket-client": by_websocket_client,
    "aiohttp": by_aiohttp,
    "socket": by_a_socket,
}


DROPPED = {
    "websockets": "ConnectionClosedError",
    "websockets.sync": "ConnectionClosedError",
    "websocket-client": "WebSocketConnectionClosedException",
    "aiohttp": "CLOSED 1006",
    "socket": "EOF",
}
RESET = {
    "websockets": "ConnectionClosedError from ConnectionResetError",
    "websockets.sync": "ConnectionClosedError from ConnectionResetError",
    "websocket-client": "ConnectionResetError",
    "aiohttp": "CLOSED 1006",
    "socket": "ConnectionResetError",
}
CLOSED_1012 = {
    "websockets": "ConnectionClosedError received 1012 restart",
    "websockets.sync": "ConnectionClosedError received 1012 restart",
    "websocket-client": "CLOSE 1012 restart",
    "aiohttp": "CLOSE 1012 restart",
    "socket": "CLOSE 1012 restart",
}
CLOSED_1000 = {
    "websockets": "ConnectionClosedOK received 1000",
    "websockets.sync": "ConnectionClosedOK received 1000",
    "websocket-client": "CLOSE 1000",
    "aiohttp": "CLOSE 1000",
    "socket": "CLOSE 1000",
}
SILENT = {
    "websockets": "TimeoutError",
    "websockets.sync": "TimeoutError",
    "websocket-client": "WebSocketTimeoutException",
    "aiohttp": "TimeoutError",
    "socket": "TimeoutError",
}
NOT_UTF8 = {
    "websockets": "ConnectionClosedError sent 1007",
    "websockets.sync": "ConnectionClosedError sent 1007",
    "websocket-client": "WebSocketPayloadException",
    "aiohttp": "ERROR 1007",
}


def masked(payload: bytes, kind: int = 0x81) -> bytes:
    """A frame of a client, whose mask changes nothing."""
    return bytes((kind, 0x80 | len(payload))) + bytes(4) + payload


class Http(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


def ask_requests(url: str, timeout: float = PATIENCE) -> Http:
    answer = requests.get(url + "/v1?key=secret", timeout=timeout)
    return Http(answer.status_code, dict(answer.headers), answer.content)


def ask_http_client(url: str, timeout: float = PATIENCE) -> Http:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=timeout)
    try:
        connection.request("GET", "/v1?key=secret")
        answer = connection.getresponse()
        return Http(answer.status, dict(answer.getheaders()), answer.read())
    finally:
        connection.close()


def ask_aiohttp(url: str, timeout: float = PATIENCE) -> Http:
    async def ask() -> Http:
        patience = aiohttp.ClientTimeout(total=timeout)
        async with aiohttp.ClientSession(timeout=patience) as session:
            async with session.get(url + "/v1?key=secret") as answer:
                return Http(answer.status, dict(answer.headers), await answer.read())

    return asyncio.run(ask())


def answer_to(url: str, request: bytes, timeout: float = PATIENCE) -> Http:
    """What a socket gets for bytes."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=timeout) as sock:
        sock.sendall(request)
        said = b""
        while b"\r\n\r\n" not in said:
            said += sock.recv(65_536)
        head, _, body = said.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        while len(body) < int(headers["Content-Length"]) and (data := sock.recv(65_536)):
            body += data
        return Http(int(first.split()[1]), headers, body)


def ask_socket(url: str, timeout: float = PATIENCE) -> Http:
    return answer_to(url, b"GET /v1?key=secret HTTP/1.1\r\nHost: localhost\r\n\r\n", timeout)


ASK = {
    "requests": ask_requests,
    "http.client": ask_http_client,
    "aiohttp": ask_aiohttp,
    "socket": ask_socket,
}


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.001)
