"""Turning what happens on a test's WebSocket connections into a recording.

A sans-I/O core, which several threads may use at once: whoever sees the traffic says what happened and when, on
a clock of its own. Secrets are replaced here, before anything reaches the writer; hosts are replaced by those that
recordings carry.

Messages wait until there are many of them, or until something else happens on any connection: most hold no
secret, and to see that of many at once is quicker.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

from ..secrets.redaction import Redactor
from .events import (
    LONGEST_REASON,
    BrokenFrame,
    Closed,
    Dial,
    Event,
    Message,
    NotText,
    Open,
    Payload,
    Received,
    Refused,
    Rejected,
    Sent,
    Unanswered,
)

_HANDSHAKE_HEADERS = frozenset({"connection", "date", "host", "server", "upgrade", "user-agent", "content-length"})


_BATCH = 256
"""So many messages wait at most."""

_BATCH_CHARACTERS = 65_536
"""So long are all of them together at most, but for the last."""


class Recorder:
    """Numbers connections and passes on redacted events.

    Args:
        write: Takes an event, with its secrets replaced.
        write_messages: Takes messages that were searched for secrets and have none.
        redactor: Replaces secrets.
        canonical: Turns a URL into the one a recording carries.
    """

    def __init__(
        self,
        write: Callable[[Event], None],
        write_messages: Callable[[Sequence[Message]], None],
        redactor: Redactor,
        canonical: Callable[[str], str],
    ) -> None:
        self._write = write
        self._write_messages = write_messages
        self._redactor = redactor
        self._canonical = canonical
        self._start: float | None = None
        self._dialled = 0
        self._alive: dict[int, bool] = {}
        self._last = 0.0
        self._finished = False
        self._waiting: list[Message] = []
        self._waiting_characters = 0
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
            self._event(Dial(conn, self._at(now), target, list(subprotocols), self._kept_headers(headers or {})))
        return conn

    def opened(self, conn: int, now: float, subprotocol: str | None, headers: Mapping[str, str]) -> None:
        """Note that the server accepted the dial."""
        with self._lock:
            self._alive[conn] = True
            self._event(Open(conn, self._at(now), subprotocol=subprotocol, headers=self._kept_headers(headers)))

    def rejected(self, conn: int, now: float, status: int, headers: Mapping[str, str], body: str) -> None:
        """Note that the server answered the dial with an HTTP status."""
        with self._lock:
            self._alive.pop(conn, None)
            kept, said = self._kept_headers(headers), self._redactor.text(body)
            self._event(Rejected(conn, self._at(now), status, kept, said))

    def refused(self, conn: int, now: float, error: OSError) -> None:
        """Note that there was no server to answer the dial."""
        message = self._redactor.text(error.strerror or str(error))
        with self._lock:
            if self._alive.pop(conn, None) is not None:
                self._event(Refused(conn, self._at(now), type(error).__name__, error.errno, message))

    def given_up(self, conn: int, now: float) -> None:
        """Note that the client was gone before its dial was answered."""
        message = "the client gave up during the handshake"
        with self._lock:
            if self._alive.pop(conn, None) is not None:
                self._event(Refused(conn, self._at(now), "TimeoutError", None, message, "client"))

    def sent(self, conn: int, now: float, message: Payload) -> None:
        """Note a message of the client."""
        self._note(Sent, conn, now, message)

    def received(self, conn: int, now: float, message: Payload) -> None:
        """Note a message of the server, at the moment it arrived; after the client's close none counts."""
        self._note(Received, conn, now, message)

    def closed(
        self, conn: int, now: float, by: Literal["server", "client", "network"], code: int, reason: str
    ) -> None:
        """Note the end of a connection; a second end of the same one is left out."""
        with self._lock:
            if self._alive.pop(conn, None):
                self._event(Closed(conn, self._at(now), by, code, _short(self._redactor.text(reason))))

    def unanswered(
        self, conn: int, now: float, pings: int | None = None, close: Literal["silence", "lost"] | None = None
    ) -> None:
        """Note what the server owed the client, after the end of the connection; it may be too late for that."""
        with self._lock:
            if not self._finished:
                self._event(Unanswered(conn, self._at(now), pings, close))

    def finish(self) -> None:
        """End what is still open: the test is over, and its client is gone without a close frame."""
        now = self._start or 0.0  # it becomes that of the last event, because time never runs backwards
        for conn, opened in list(self._alive.items()):
            if opened:
                self.closed(conn, now, "client", 1006, "")
            else:
                self.given_up(conn, now)
        self._finished = True

    def flush(self) -> None:
        """Pass on the messages that wait."""
        with self._lock:
            if not self._waiting:
                return
            messages, self._waiting, self._waiting_characters = self._waiting, [], 0
            if self._redactor.passes([message.payload for message in messages]):
                self._write_messages(messages)
                return
            for message in messages:
                text, binary, _ = _split(self._redactor.payload(message.payload))
                self._write(type(message)(message.conn, message.at, text, binary, message.invalid))

    def _note(self, kind: type[Message], conn: int, now: float, message: Payload) -> None:
        with self._lock:
            if not self._alive.get(conn):
                return
            self._waiting.append(kind(conn, self._at(now), *_split(message)))
            self._waiting_characters += len(message)
            if self._waiting_characters >= _BATCH_CHARACTERS or len(self._waiting) >= _BATCH:
                self.flush()

    def _event(self, event: Event) -> None:
        self.flush()
        self._write(event)

    def _kept_headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        return {
            name: self._redactor.header(name, self._canonical(value) if name.lower() == "location" else value)
            for name, value in headers.items()
            if name.lower() not in _HANDSHAKE_HEADERS and not name.lower().startswith("sec-websocket-")
        }

    def _at(self, now: float) -> float:
        if self._start is None:
            self._start = now
        elapsed = now - self._start
        if elapsed > self._last:
            self._last = elapsed
        return int(self._last * 1e6 + 0.5) / 1e6  # quicker than round(), and the same


def _split(message: Payload) -> tuple[str | None, bytes | None, Literal["text", "frame"] | None]:
    if isinstance(message, str):
        return message, None, None
    if isinstance(message, NotText):
        return None, message, "text"
    return None, message, "frame" if isinstance(message, BrokenFrame) else None


def _short(reason: str) -> str:
    """Return a reason as a close frame can hold it: a placeholder may be longer than its secret."""
    return reason.encode()[:LONGEST_REASON].decode("utf-8", "ignore")
