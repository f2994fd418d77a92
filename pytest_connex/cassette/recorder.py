"""Turning what happens on a test's WebSocket connections into a recording.

A sans-I/O core, which several threads may use at once: whoever sees the traffic says what happened and when, on
a clock of its own. Secrets are replaced here, before anything reaches the writer; hosts are replaced by those that
recordings carry.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

from .events import LONGEST_REASON, Closed, Dial, Event, Open, Payload, Received, Refused, Rejected, Sent
from .redaction import Redactor

_HANDSHAKE_HEADERS = frozenset({"connection", "date", "host", "server", "upgrade", "user-agent", "content-length"})


class Recorder:
    """Numbers connections and passes on redacted events.

    Args:
        write: Takes each event.
        redactor: Replaces secrets.
        canonical: Turns a URL into the one a recording carries.
    """

    def __init__(self, write: Callable[[Event], None], redactor: Redactor, canonical: Callable[[str], str]) -> None:
        self._write = write
        self._redactor = redactor
        self._canonical = canonical
        self._start: float | None = None
        self._dialled = 0
        self._alive: dict[int, bool] = {}
        self._last = 0.0
        self._lock = threading.RLock()

    def dial(
        self, now: float, url: str, subprotocols: Iterable[str] = (), headers: Mapping[str, str] | None = None
    ) -> int:
        """Note a dial and return the number of the connection; every call names it from now on."""
        target = self._redactor.text(self._canonical(url))
        with self._lock:
            self._dialled += 1
            conn = self._dialled
            self._alive[conn] = False
            self._write(Dial(conn, self._at(now), target, list(subprotocols), self._kept_headers(headers or {})))
        return conn

    def opened(self, conn: int, now: float, subprotocol: str | None, headers: Mapping[str, str]) -> None:
        """Note that the server accepted the dial."""
        with self._lock:
            self._alive[conn] = True
            self._write(Open(conn, self._at(now), subprotocol=subprotocol, headers=self._kept_headers(headers)))

    def rejected(self, conn: int, now: float, status: int, headers: Mapping[str, str], body: str) -> None:
        """Note that the server answered the dial with an HTTP status."""
        with self._lock:
            self._alive.pop(conn, None)
            kept, said = self._kept_headers(headers), self._redactor.text(body)
            self._write(Rejected(conn, self._at(now), status, kept, said))

    def refused(self, conn: int, now: float, error: OSError) -> None:
        """Note that there was no server to answer the dial."""
        message = self._redactor.text(error.strerror or str(error))
        with self._lock:
            if self._alive.pop(conn, None) is None:
                return
            self._write(Refused(conn, self._at(now), type(error).__name__, error.errno, message))

    def sent(self, conn: int, now: float, message: Payload) -> None:
        """Note a message of the client."""
        text, binary = self._split(message)
        with self._lock:
            if self._alive.get(conn):
                self._write(Sent(conn, self._at(now), text, binary))

    def received(self, conn: int, now: float, message: Payload) -> None:
        """Note a message of the server, at the moment it arrived; after the client's close none counts."""
        text, binary = self._split(message)
        with self._lock:
            if self._alive.get(conn):
                self._write(Received(conn, self._at(now), text, binary))

    def closed(
        self, conn: int, now: float, by: Literal["server", "client", "network"], code: int, reason: str
    ) -> None:
        """Note the end of a connection; a second end of the same one is left out."""
        with self._lock:
            if self._alive.pop(conn, None):
                self._write(Closed(conn, self._at(now), by, code, _short(self._redactor.text(reason))))

    def finish(self) -> None:
        """End what is still open: the test is over, and its client is gone without a close frame."""
        for conn, opened in list(self._alive.items()):
            if opened:
                self.closed(conn, self._start_plus_last(), "client", 1006, "")
            else:
                gone = TimeoutError("the client gave up during the handshake")
                self.refused(conn, self._start_plus_last(), gone)

    def _split(self, message: Payload) -> tuple[str | None, bytes | None]:
        redacted = self._redactor.payload(message)
        return (redacted, None) if isinstance(redacted, str) else (None, redacted)

    def _kept_headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        return {
            name: self._redactor.header(name, value)
            for name, value in headers.items()
            if name.lower() not in _HANDSHAKE_HEADERS and not name.lower().startswith("sec-websocket-")
        }

    def _at(self, now: float) -> float:
        if self._start is None:
            self._start = now
        self._last = max(self._last, now - self._start)
        return round(self._last, 6)

    def _start_plus_last(self) -> float:
        return (self._start or 0.0) + self._last


def _short(reason: str) -> str:
    """Return a reason as a close frame can hold it: a placeholder may be longer than its secret."""
    return reason.encode()[:LONGEST_REASON].decode("utf-8", "ignore")
