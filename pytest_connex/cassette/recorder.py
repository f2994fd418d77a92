"""Turning what happens on a test's WebSocket connections into a recording.

A sans-I/O core, which several threads may use at once: whoever sees the traffic says what happened and when.
Secrets are replaced here, before anything reaches the writer; hosts are replaced by those that recordings carry.

Messages wait until there are many of them, or until something else happens on any connection: most hold no
secret, and to see that of many at once is quicker. Behind a long one, which takes a while, everything waits until the
test is over, unless a message may tell a secret: that has to be known when the client uses it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Literal, TypeAlias

from ..secrets.redaction import Redactor
from .events import (
    LONGEST_REASON,
    BrokenFrame,
    Closed,
    Dial,
    Event,
    Headers,
    Late,
    Left,
    Message,
    NotText,
    Open,
    Payload,
    Received,
    Refused,
    Rejected,
    Sent,
    fields,
    headers_of,
)
from .stamps import TapeClock
from .tally import Messages

_HANDSHAKE_HEADERS = frozenset({"connection", "date", "host", "server", "upgrade", "user-agent", "content-length"})


_BATCH = 256
"""So many messages wait at most."""

_BATCH_CHARACTERS = 65_536
"""So long are all of them together at most, but for the last."""

_LONG = 2**18
"""A message is long that has so many characters or bytes."""

_MOST_HELD = 2**26
"""So long are all messages together at most that wait behind a long one."""


class _State(Enum):
    """How far a connection is."""

    DIALLED = "dialled"
    OPEN = "open"
    CLOSING = "closing"
    """The client has sent its close frame, and the connection has not ended yet."""
    CLOSED = "closed"
    """It ended without the client's doing, and may have messages that come too late."""


Pairs: TypeAlias = Headers | Iterable[tuple[str, str]]
"""Headers as they came: by name, or one by one where names may repeat."""


class Recorder:
    """Numbers connections and passes on redacted events.

    Args:
        write: Takes an event, with its secrets replaced.
        write_messages: Takes messages that were searched for secrets and have none.
        redactor: Replaces secrets.
        canonical: Turns a URL into the one a recording carries.
        clock: Of the tape, where HTTP is on it, too; otherwise its times are the ``now`` of each call.

    Attributes:
        passed: What it was told of and passed on.
    """

    def __init__(
        self,
        write: Callable[[Event], None],
        write_messages: Callable[[Sequence[Message]], None],
        redactor: Redactor,
        canonical: Callable[[str], str],
        clock: TapeClock | None = None,
    ) -> None:
        self._write = write
        self._write_messages = write_messages
        self._redactor = redactor
        self._canonical = canonical
        self._clock = clock or TapeClock(lambda: 0.0)
        self._at = self._clock.frame
        self._dialled = 0
        self._states: dict[int, _State] = {}
        self._unanswered_pings: dict[int, float] = {}
        self._pongs: dict[int, int] = {}
        self._farewells: dict[int, tuple[int, str]] = {}
        self._waiting: list[Event] = []
        self._holds = False
        self._waiting_characters = 0
        self.passed = Messages()
        self._lock = threading.RLock()

    def dial(self, now: float, url: str, subprotocols: Iterable[str] = (), headers: Pairs | None = None) -> int:
        """Note a dial and return the number of the connection; every call names it from now on."""
        target = self._target(url)
        with self._lock:
            self._dialled += 1
            self.passed.dials += 1
            conn = self._dialled
            self._states[conn] = _State.DIALLED
            self._event(
                Dial(
                    conn,
                    self._at(now),
                    target,
                    list(subprotocols),
                    self._kept_headers(headers or {}, self._redactor.header),
                )
            )
        return conn

    def joined(self, now: float, url: str, fixture: str, number: int) -> int:
        """Note that a test goes on with a connection of a shared fixture, and return its number from now on.

        Args:
            now: The time.
            url: What was dialled.
            fixture: Whose recording has the beginning of the connection.
            number: Its number there.
        """
        target = self._target(url)
        with self._lock:
            self._dialled += 1
            self.passed.dials += 1
            conn = self._dialled
            self._states[conn] = _State.OPEN
            self._event(Dial(conn, self._at(now), target, of=fixture, number=number))
            self._event(Open(conn, self._at(now)))
        return conn

    def parted(self, conn: int, now: float) -> None:
        """Note that the test is over with a connection that it had joined."""
        with self._lock:
            if self._states.pop(conn, None) is _State.OPEN:
                self._event(Closed(conn, self._at(now), "test", 1006))

    # how the server answers the dial

    def opened(self, conn: int, now: float, subprotocol: str | None, headers: Pairs) -> None:
        """Note that the server accepted the dial."""
        with self._lock:
            self._states[conn] = _State.OPEN
            self._event(
                Open(
                    conn,
                    self._at(now),
                    subprotocol=subprotocol,
                    headers=self._kept_headers(headers, self._redactor.heard_header),
                )
            )

    def rejected(
        self, conn: int, now: float, status: int, headers: Pairs, body: str | bytes, reason: str = ""
    ) -> None:
        """Note that the server answered the dial with an HTTP status."""
        self.hear()
        text, binary = _text_or_binary(self._redactor.heard(body))
        with self._lock:
            self._states.pop(conn, None)
            kept, phrase = self._kept_headers(headers, self._redactor.heard_header), self._redactor.text(reason)
            self._event(Rejected(conn, self._at(now), status, kept, text, binary, phrase))

    def refused(self, conn: int, now: float, error: OSError) -> None:
        """Note that there was no server to answer the dial, or that it ended the connection instead."""
        message = self._redactor.text(error.strerror or str(error))
        with self._lock:
            if self._states.pop(conn, None) is not None:
                self._event(Refused(conn, self._at(now), type(error).__name__, error.errno, message))

    def left(self, conn: int, now: float) -> None:
        """Note that the client gave up before the server had answered the dial."""
        with self._lock:
            if self._states.get(conn) is _State.DIALLED:
                del self._states[conn]
                self._event(Left(conn, self._at(now)))

    # what passes while the connection is open

    def sent(self, conn: int, now: float, message: Payload) -> None:
        """Note a message of the client; after an end that was not the client's it is one that came too late."""
        self._note(Sent, conn, now, message)

    def received(self, conn: int, now: float, message: Payload) -> None:
        """Note a message of the server, at the moment it arrived; after the client's close none counts."""
        self._note(Received, conn, now, message)

    def pinged(self, conn: int, now: float) -> None:
        """Note a ping of the client."""
        with self._lock:
            if self._states.get(conn) is _State.OPEN:
                self._unanswered_pings.setdefault(conn, self._clock.elapsed(now))

    def ponged(self, conn: int, now: float, count: int = 1) -> None:
        """Note a pong of the server, or that it had answered ``count`` pings by now."""
        with self._lock:
            if self._unanswered_pings.pop(conn, None) is not None:
                self._pongs[conn] = self._pongs.get(conn, 0) + count

    # how it ends

    def closing(self, conn: int, now: float, code: int, reason: str) -> None:
        """Note a close frame of the client; :meth:`closed` says how the server took it."""
        with self._lock:
            if self._states.get(conn) is _State.OPEN:
                self._states[conn] = _State.CLOSING
                self._farewells[conn] = code, reason

    def closed(
        self,
        conn: int,
        now: float,
        by: Literal["server", "client", "network"],
        code: int,
        reason: str,
        *,
        answered: bool = True,
        hung_up: bool = False,
        reset: bool = False,
    ) -> None:
        """Note the end of a connection; a second end of the same one is left out.

        Args:
            conn: Which.
            now: When, in seconds.
            by: Whose close frame came first; ``network`` where the connection was lost.
            code: Of that close frame; 1006 where there was none. After :meth:`closing`, the client's stays.
            reason: The same.
            answered: Whether the server answered a close frame of the client.
            hung_up: Whether it ended the connection in place of that.
            reset: Whether the connection was reset.
        """
        with self._lock:
            if self._states.get(conn) not in (_State.OPEN, _State.CLOSING):
                return
            if conn in self._farewells:
                by = "client"
                code, reason = self._farewells.pop(conn)
            if by == "client":
                del self._states[conn]
            else:
                self._states[conn] = _State.CLOSED
            since, pongs = self._unanswered_pings.pop(conn, None), self._pongs.pop(conn, 0)
            said = _short(self._redactor.text(reason))
            silent = by == "client" and not answered
            pongs = 0 if since is None else pongs
            end = Closed(conn, self._at(now), by, code, said, since, silent, reset, silent and hung_up, pongs)
            self._event(end)

    def finish(self) -> None:
        """End what is still open: the test is over, and its client is gone without a close frame."""
        with self._lock:
            now = self._clock.now()
            for conn, state in list(self._states.items()):
                if state is _State.DIALLED:
                    self.left(conn, now)
                else:
                    self.closed(conn, now, "client", 1006, "")
            self._states.clear()
            self.flush()

    def flush(self) -> None:
        """Pass on what waits."""
        with self._lock:
            waiting, self._waiting, self._waiting_characters = self._waiting, [], 0
            self._holds = False
            messages: list[Message] = []
            for event in waiting:
                if isinstance(event, Sent | Received):
                    messages.append(event)
                    continue
                self._pass_on(messages)
                messages = []
                self._write(event)
            self._pass_on(messages)

    def hear(self) -> None:
        """Learn the secrets that messages have told; what waits behind a long one tells none."""
        with self._lock:
            if not self._holds:
                self.flush()

    def _pass_on(self, messages: list[Message]) -> None:
        if not messages:
            return
        payloads = [message.payload for message in messages]
        sent = sum(type(message) is Sent for message in messages)
        self.passed.sent += sent
        self.passed.received += len(messages) - sent
        if self._redactor.passes(payloads):
            self.passed.size += sum(map(len, payloads))
            self._write_messages(messages)
            return
        cleaned = self._redactor.thoroughly(lambda: list(map(self._cleaned, messages)))
        for message, redacted in zip(messages, cleaned, strict=True):
            self.passed.size += len(redacted)
            text, binary, _ = _split(redacted)
            self._write(type(message)(message.conn, message.at, text, binary, message.invalid))

    def _cleaned(self, message: Message) -> Payload:
        if type(message) is Received:
            return self._redactor.heard(message.payload)
        return self._redactor.payload(message.payload)

    def _note(self, kind: type[Sent | Received], conn: int, now: float, message: Payload) -> None:
        with self._lock:
            state = self._states.get(conn)
            if state is not _State.OPEN:
                if state is _State.CLOSED and kind is Sent:
                    text, binary, _ = _split(self._redactor.payload(message))
                    self._event(Late(conn, self._at(now), text, binary, _split(message)[2]))
                return
            if len(message) >= _LONG:
                self.hear()
                self._holds = True
            self._waiting.append(kind(conn, self._at(now), *_split(message)))
            self._waiting_characters += len(message)
            if self._holds:
                full = self._waiting_characters > _MOST_HELD or self._redactor.may_tell(message)
            else:
                full = self._waiting_characters >= _BATCH_CHARACTERS or len(self._waiting) >= _BATCH
            if full:
                self.flush()

    def _event(self, event: Event) -> None:
        if self._holds:
            self._waiting.append(event)
        else:
            self.flush()
            self._write(event)

    def _target(self, url: str) -> str:
        """Return what is dialled as the recording has it."""
        self.hear()  # it may repeat what a message has told
        return self._redactor.text(self._canonical(url))

    def _kept_headers(self, headers: Pairs, redacted: Callable[[str, str], str]) -> Headers:
        pairs = fields(headers) if isinstance(headers, Mapping) else headers
        return headers_of(
            (name, redacted(name, self._canonical(value) if name.lower() == "location" else value))
            for name, value in pairs
            if name.lower() not in _HANDSHAKE_HEADERS and not name.lower().startswith("sec-websocket-")
        )


def _split(message: Payload) -> tuple[str | None, bytes | None, Literal["text", "frame"] | None]:
    if isinstance(message, str):
        return message, None, None
    if isinstance(message, NotText):
        return None, message, "text"
    return None, message, "frame" if isinstance(message, BrokenFrame) else None


def _text_or_binary(body: Payload) -> tuple[str, bytes | None]:
    if isinstance(body, str):
        return body, None
    try:
        return body.decode("utf-8"), None
    except UnicodeDecodeError:
        return "", body


def _short(reason: str) -> str:
    """Return a reason as a close frame can hold it: a placeholder may be longer than its secret."""
    return reason.encode()[:LONGEST_REASON].decode("utf-8", "ignore")
