"""What a foreign capture holds, in one vocabulary, and in the order in which it happened.

The readers of this package yield the events of :mod:`~pytest_connex.cassette.events` with two differences: ``at``
is in epoch seconds, and a connection has whatever number its reader gives it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import urlsplit

import msgspec

from ..cassette.events import Event

_LATEST = 253_402_300_799
"""The last second of the year 9999, in epoch seconds."""

_SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}

Fields: TypeAlias = tuple[tuple[str, str], ...]
"""Headers as they came: names may repeat."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The capture holds nothing more of a connection, and does not say how it ended."""

    conn: int
    at: float


@dataclass(frozen=True, slots=True)
class Exchange:
    """An HTTP request and its answer.

    Bodies are not compressed, whatever the headers say. ``body`` is None where the capture does not hold it, and
    ``status`` is 0 where there was no answer.
    """

    at: float
    method: str
    url: str
    request_headers: Fields
    request_body: bytes | None
    status: int
    reason: str
    headers: Fields
    body: bytes | None


Traffic: TypeAlias = Event | Lost | Exchange


class Strand:
    """The events of one connection in the order of the capture, at times that never run backwards."""

    def __init__(self) -> None:
        self.events: list[tuple[float, int, Event | Lost]] = []
        self._last = 0.0

    def add(self, event: Event | Lost, place: int = 0) -> None:
        """Add an event; ``place`` orders events of several connections that have the same time."""
        self._last = max(self._last, event.at)
        self.events.append((self._last, place, event))


def in_order(strands: Iterable[Strand]) -> Iterator[Event | Lost]:
    """Yield the events of several connections by their times; each connection's own order stays as it is."""
    merged = heapq.merge(*(strand.events for strand in strands), key=lambda item: item[:2])
    for at, _, event in merged:
        yield event if event.at == at else Lost(event.conn, at) if isinstance(event, Lost) else _at(event, at)


def websocket_url(url: str) -> str:
    """Return the URL of a WebSocket, without a password and a fragment; some tools write it with ``http``.

    Raises:
        ValueError: It is none.
    """
    parts = urlsplit(url)
    _ = parts.port
    if parts.scheme not in _SCHEMES or not parts.hostname:
        raise ValueError("not the URL of a WebSocket")
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(scheme=_SCHEMES[parts.scheme], netloc=host, fragment="").geturl()


def epoch(seconds: float) -> float:
    """Return a time in epoch seconds as it came.

    Raises:
        ValueError: No calendar has it.
    """
    if not 0 <= seconds <= _LATEST:  # NaN is none of it
        raise ValueError(f"{seconds} is no time in epoch seconds")
    return seconds


def one_each(fields: Fields) -> dict[str, str]:
    """Return headers as a recording holds them: repeated ones joined, and none of HTTP/2's pseudo headers."""
    joined: dict[str, str] = {}
    for name, value in fields:
        if not name.startswith(":"):
            joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined


def _at(event: Event, at: float) -> Event:
    return msgspec.structs.replace(event, at=at)
