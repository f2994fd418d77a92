"""What several modules share: writing a recording into a folder of the test, playing one, and a sandbox."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_connex.background import BackgroundLoop
from pytest_connex.cassette.events import (
    FORMAT,
    VERSION,
    Closed,
    Dial,
    Event,
    Header,
    Left,
    Open,
    Payload,
    Received,
    Refused,
    Rejected,
    Sent,
)
from pytest_connex.cassette.playback import Playback
from pytest_connex.cassette.writing import CassetteWriter
from pytest_connex.sandbox.server import Sandbox
from pytest_connex.secrets.redaction import Redactor

if TYPE_CHECKING:
    from .loopback import Served

HEADER = Header(FORMAT, VERSION, "2026-11-23T15:00:00Z", "sandbox", "pytest-connex 0.1.0", "tests/test_x.py::test_y")
URL = "wss://ws.connex.invalid/"


def sent(conn: int, at: float, message: Payload) -> Sent:
    return Sent(conn, at, message, None) if isinstance(message, str) else Sent(conn, at, None, message)


def received(conn: int, at: float, message: Payload) -> Received:
    return Received(conn, at, message, None) if isinstance(message, str) else Received(conn, at, None, message)


class Tape:
    """Events in the order they happened, a millisecond apart."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._conns = 0

    def at(self) -> float:
        return round(len(self.events) / 1000, 6)

    def dial(self, url: str = URL, subprotocols: list[str] | None = None) -> int:
        self._conns += 1
        self.events.append(Dial(self._conns, self.at(), url, subprotocols or []))
        return self._conns

    def opened(self, conn: int, **answer: object) -> Tape:
        self.events.append(Open(conn, self.at(), **answer))
        return self

    def rejected(self, conn: int, status: int, headers: dict[str, str], body: str) -> Tape:
        self.events.append(Rejected(conn, self.at(), status, headers, body))
        return self

    def refused(self, conn: int, error: str = "ConnectionRefusedError", errno: int | None = 111) -> Tape:
        self.events.append(Refused(conn, self.at(), error, errno, "Connection refused"))
        return self

    def left(self, conn: int) -> Tape:
        self.events.append(Left(conn, self.at()))
        return self

    def sent(self, conn: int, *messages: Payload) -> Tape:
        for message in messages:
            self.events.append(sent(conn, self.at(), message))
        return self

    def received(self, conn: int, *messages: Payload) -> Tape:
        for message in messages:
            self.events.append(received(conn, self.at(), message))
        return self

    def closed(self, conn: int, by: str = "client", code: int = 1000, reason: str = "") -> Tape:
        self.events.append(Closed(conn, self.at(), by, code, reason))
        return self

    def connection(self, *script: tuple[str, Payload], url: str = URL, by: str = "client", code: int = 1000) -> Tape:
        """A whole connection: ``("sent", ...)`` and ``("received", ...)`` in between open and closed."""
        conn = self.dial(url)
        self.opened(conn)
        for kind, message in script:
            getattr(self, kind)(conn, message)
        return self.closed(conn, by, code)


Write = Callable[[Tape], Path]


MANY = 1000
"""More messages than any recording has that is played by ``conversation``."""


def conversation(playback: Playback, *messages: Payload) -> list[Payload]:
    """Send the messages one after the other and return everything that is delivered."""
    delivered = playback.deliver(MANY)
    for message in messages:
        playback.sent(message)
        delivered += playback.deliver(MANY)
    return delivered


def write_and_finish(writer: CassetteWriter, event: Event) -> None:
    writer.write(event)
    writer.finish()


def left_in(folder: Path) -> list[str]:
    """The names of what is in a folder, which need not be there."""
    return sorted(entry.name for entry in folder.iterdir()) if folder.exists() else []


def write_tape(path: Path, tape: Tape, header: Header = HEADER) -> Path:
    writer = CassetteWriter(path, header, Redactor({}))
    for event in tape.events:
        writer.write(event)
    writer.finish()
    writer.commit()
    return path


@pytest.fixture
def tape() -> Tape:
    return Tape()


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a tape to ``tape.ws.jsonl`` in the test's folder."""
    return lambda tape: write_tape(tmp_path / "tape.ws.jsonl", tape)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as exchange:
        yield exchange


@pytest.fixture
def background() -> Iterator[BackgroundLoop]:
    """An event loop in a thread of its own."""
    loop = BackgroundLoop("connex-test")
    loop.start()
    yield loop
    loop.stop()


@pytest.fixture
def served() -> Iterator[Served]:
    """A port with something to say; what it says with is imported where it is asked for."""
    from .loopback import Served

    with Served() as server:
        yield server
