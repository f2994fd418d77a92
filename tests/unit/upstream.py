"""What stands behind a proxy in tests, byte for byte, and clients that say any bytes to it."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakSet

import yaml
from websockets.sync.server import ServerConnection, serve

from pytest_connex.background import BackgroundLoop, hear
from pytest_connex.cassette.session import Action, CassetteSession, Plan, Settings
from pytest_connex.config import ConnexConfig, recorded_config
from pytest_connex.errors import CassetteError
from pytest_connex.protocol import Dialect
from pytest_connex.proxy.proxy import Proxy
from pytest_connex.upstreams import all_upstreams

KEY, SECRET = "AKfYcbwXYZ0123456789abcd", "s3cr3t/with+special=chars=="
PATIENCE = 10
"""Seconds after which a client in a test stops waiting, which fails it."""


@dataclass(frozen=True)
class Asked:
    """A request as it arrived."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    reader: asyncio.StreamReader

    def values(self, name: str) -> list[str]:
        return [value for known, value in self.headers if known.lower() == name.lower()]


Answer = Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def says(*pieces: bytes) -> Answer:
    """Answer every request with the same bytes."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()

    return answer


def ok(body: bytes = b"ok", *headers: bytes, status: bytes = b"200 OK") -> bytes:
    """Return an answer."""
    lines = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


class Upstream:
    """A server in a thread; a context manager.

    Args:
        answer: Answers a request.
        tls: Speaks TLS.
        serve: Serves a connection, in place of answering whole requests.

    Attributes:
        asked: The requests, in the order they came.
        connections: How many connections there were.
    """

    def __init__(self, answer: Answer, tls: ssl.SSLContext | None = None, serve: Serve | None = None) -> None:
        self.asked: list[Asked] = []
        self.connections = 0
        self._answer = answer
        self._tls = tls
        self._serve = serve or self._answer_all
        self._background = BackgroundLoop("upstream")
        self._tasks: set[asyncio.Task[None]] = set()
        self._transports: WeakSet[asyncio.WriteTransport] = WeakSet()

    def __enter__(self) -> Upstream:
        self._background.start()
        self._server = self._background.run(self._start())
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._background.run(self._stop())
        self._background.stop()

    @property
    def url(self) -> str:
        return f"{'http' if self._tls is None else 'https'}://localhost:{self.port}"

    async def _start(self) -> asyncio.Server:
        return await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self._tls)

    async def _stop(self) -> None:
        self._server.close()
        await hear()  # so that what has just been accepted is there to be closed
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for transport in self._transports:  # closing waits for clients that do not read
            transport.abort()
        await hear()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._transports.add(writer.transport)
        try:
            with suppress(asyncio.IncompleteReadError, ValueError, ConnectionError, asyncio.CancelledError):
                await self._serve(reader, writer)
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _answer_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing():
            asked = await _read(reader)
            self.asked.append(asked)
            await self._answer(asked, writer)


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *lines = head.strip().split("\r\n")
    headers = [(name, value.strip()) for name, _, value in (item.partition(":") for item in lines)]
    known = {name.lower(): value for name, value in headers}
    body = b""
    if known.get("transfer-encoding") == "chunked":
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
    else:
        body = await reader.readexactly(int(known.get("content-length", 0)))
    method, target, _ = line.split(" ")
    return Asked(method, target, headers, body, reader)


@contextmanager
def server(talk: Callable[[ServerConnection], None], **options: Any) -> Iterator[str]:
    """Run a server of WebSocket in threads, each heard out at the end; yields its URL."""
    with serve(talk, "127.0.0.1", 0, **options) as running:
        threads: list[threading.Thread] = []
        serve_one = running.handler

        def serve_in_a_known_thread(*accepted: Any) -> None:
            threads.append(threading.current_thread())
            serve_one(*accepted)

        running.handler = serve_in_a_known_thread
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{running.socket.getsockname()[1]}/"
        finally:
            running.shutdown()
            thread.join()
            for each in threads:  # old versions of the library do not wait for them
                each.join()


class Lenient:
    """A judge that ends nothing: there is no test to end."""

    def begin(self, verdict: CassetteError) -> None:
        """The session keeps it."""

    def asked_again(self) -> None:
        """The next client hears it."""


class Stage:
    """One test's recordings, and what a proxy makes of them."""

    def __init__(self, folder: Path, dialect: Dialect | None = None) -> None:
        self._dialect = dialect or Dialect()
        self.stem = folder / "test_y"
        self.session: CassetteSession

    @property
    def interactions(self) -> list[dict[str, Any]]:
        return yaml.safe_load(self.stem.with_suffix(".yaml").read_text("utf-8"))["interactions"]

    @contextmanager
    def proxy(self, action: Action, rest: str = "", ws: str = "", volatile: tuple[str, ...] = ()) -> Iterator[Proxy]:
        """Run a proxy; what it records is written at the end, where there is no verdict."""
        config = (
            recorded_config()
            if action == "replay"
            else ConnexConfig(rest_url=rest, ws_url=ws, api_key=KEY, api_secret=SECRET)
        )
        settings = Settings(config, self._dialect, all_upstreams(config, {}))
        plan = Plan(
            action,
            "tests/test_x.py::test_y",
            self.stem,
            "sandbox",
            "made by hand",
            again="run it --again",
            volatile=volatile,
        )
        self.session = session = CassetteSession(plan, lambda: settings, Lenient())
        session.open()
        with Proxy(lambda: session, config) as proxy:
            yield proxy
        session.close()
        if session.verdict is None:
            session.commit()
        session.discard()


@contextmanager
def connected(proxy: Proxy, url: str = "") -> Iterator[socket.socket]:
    """Connect to a proxy, where it has REST or at another of its URLs, with no client library in between."""
    with socket.create_connection(("127.0.0.1", port_of(proxy, url)), PATIENCE) as connection:
        yield connection


def port_of(proxy: Proxy, url: str = "") -> int:
    port = urlsplit(url or proxy.rest_url).port
    assert port is not None
    return port


def received(connection: socket.socket, until: bytes | None = None) -> bytes:
    """Return what comes up to and with ``until``, or to the end of the connection."""
    data = bytearray()
    while until is None or until not in data:
        try:
            piece = connection.recv(1 << 20)
        except ConnectionResetError:
            break
        if not piece:
            break
        data += piece
    return bytes(data)


def ends(connection: socket.socket) -> tuple[bytes, str]:
    """Return what comes to the end of a connection, and whether it is closed or reset."""
    data = bytearray()
    try:
        while piece := connection.recv(1 << 20):
            data += piece
    except ConnectionResetError:
        return bytes(data), "reset"
    return bytes(data), "closed"


def ending(proxy: Proxy, raw: bytes) -> tuple[bytes, str]:
    """Say ``raw`` on a connection of its own, and return what is answered, and how the connection ends."""
    with connected(proxy) as connection:
        connection.sendall(raw)
        return ends(connection)


def tell(proxy: Proxy, raw: bytes, url: str = "") -> bytes:
    """Say ``raw`` on a connection of its own, and return everything that is answered."""
    with connected(proxy, url) as connection:
        connection.sendall(raw)
        return received(connection)


def ask(proxy: Proxy, target: str = "/", method: str = "GET", *lines: str, body: bytes = b"") -> bytes:
    """Ask for something in HTTP/1.1, on a connection of its own."""
    head = [f"{method} {target} HTTP/1.1", "Host: localhost", "Connection: close", *lines]
    if body:
        head.append(f"Content-Length: {len(body)}")
    return tell(proxy, "\r\n".join([*head, "", ""]).encode("latin-1") + body)
