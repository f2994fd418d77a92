"""Turning what happens on a test's WebSocket connections into a recording.

A sans-I/O core, which several threads may use at once: whoever sees the traffic says what happened and when.
Secrets are replaced here, before anything reaches the writer; hosts are replaced by those that recordings carry.

Messages wait until there are many of them, or until something else happens on any connection: most hold no
secret, and to see that of many at once is quicker. A long message takes a while to clean, and nothing else would pass
meanwhile: it waits until the test is over, unless it may tell a secret, which has to be known when the client uses
it. What happens after it is cleaned as ever, and waits to be written.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Literal, NamedTuple, TypeAlias

from ..secrets.redaction import LONG, Redactor
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

_MOST_HELD = 2**26
"""So long are a long message and all behind it at most, until they are written."""


class _Long(NamedTuple):
    """A message that has not been cleaned yet."""

    message: Message


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
        self._waiting: list[Message] = []
        self._waiting_characters = 0
        self._held: list[_Long | Event | list[Message]] = []
        self._held_characters = 0
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
        self.flush()
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
            self.check()

    def flush(self) -> None:
        """Pass on the messages that wait, and learn the secrets that they tell."""
        with self._lock:
            if self._waiting:
                messages, self._waiting, self._waiting_characters = self._waiting, [], 0
                self._pass_on(messages)

    def check(self) -> None:
        """Clean what is long, and write it and what has happened since."""
        with self._lock:
            self.flush()
            held, self._held, self._held_characters = self._held, [], 0
            for item in held:
                if isinstance(item, _Long):
                    self._pass_on([item.message])
                else:
                    self._out(item)

    def _pass_on(self, messages: list[Message]) -> None:
        payloads = [message.payload for message in messages]
        sent = sum(type(message) is Sent for message in messages)
        self.passed.sent += sent
        self.passed.received += len(messages) - sent
        if self._redactor.passes(payloads):
            self.passed.size += sum(map(len, payloads))
            self._out(messages, sum(map(len, payloads)))
            return
        cleaned = self._redactor.thoroughly(lambda: list(map(self._cleaned, messages)))
        for message, redacted in zip(messages, cleaned, strict=True):
            self.passed.size += len(redacted)
            text, binary, _ = _split(redacted)
            self._out(type(message)(message.conn, message.at, text, binary, message.invalid), len(redacted))

    def _out(self, item: Event | list[Message], characters: int = 0) -> None:
        """Write what has been cleaned, or have it wait behind what is long."""
        if self._held:
            self._hold(item, characters)
        elif isinstance(item, list):
            self._write_messages(item)
        else:
            self._write(item)

    def _hold(self, item: _Long | Event | list[Message], characters: int) -> None:
        self._held.append(item)
        self._held_characters += characters
        if self._held_characters > _MOST_HELD:
            self.check()

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
            noted = kind(conn, self._at(now), *_split(message))
            if len(message) >= LONG and not self._redactor.may_tell(message):
                self.flush()
                self._hold(_Long(noted), len(message))
                return
            self._waiting.append(noted)
            self._waiting_characters += len(message)
            if self._waiting_characters >= _BATCH_CHARACTERS or len(self._waiting) >= _BATCH:
                self.flush()

    def _event(self, event: Event) -> None:
        self.flush()
        self._out(event)

    def _target(self, url: str) -> str:
        """Return what is dialled as the recording has it."""
        self.flush()  # it may repeat what a message has told
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
