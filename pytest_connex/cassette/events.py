"""The lines of a WebSocket recording, as data.

A recording is JSON Lines: a :class:`Header`, one event a line, and an :class:`End` that counts them. What may
follow what is checked by :mod:`~pytest_connex.cassette.store`.

Version 2 knows more than version 1: :class:`Left`, :class:`Late`, what the server did not answer before a
:class:`Closed`, and the reason, repeated headers and binary body of a :class:`Rejected`. Its times are those of
the whole tape, HTTP included (see :mod:`~pytest_connex.cassette.stamps`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias

import msgspec

FORMAT: Literal["connex-ws"] = "connex-ws"
VERSION = 2
READABLE = (1, 2)
"""The versions that can be played."""

LONGEST_REASON = 123
"""Bytes: a control frame holds 125, and the code of a close takes two of them (RFC 6455, 5.5)."""

Payload: TypeAlias = str | bytes
"""One message: the text of a text message, or the bytes of a binary one, or of what is none."""


class NotText(bytes):
    """A text message whose bytes are no UTF-8."""


class BrokenFrame(bytes):
    """What came where a frame was expected: of a client its first two bytes, of a server all of it."""


Headers: TypeAlias = Mapping[str, str | list[str]]
"""Headers of a handshake: one value, or the list of them where the name came more than once."""


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first line: what this file is, when it was made, and from what."""

    format: str
    version: int
    recorded_at: str
    source: str
    generator: str
    test: str


class _Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="event", omit_defaults=True):
    """What every event on a connection has.

    Attributes:
        conn: The connection, numbered from 1 in the order of the dials.
        at: Seconds since the first event, when it happened on the wire.
    """

    conn: int
    at: float


class Dial(_Event, frozen=True, tag="dial"):
    """The client asked for a connection, or a test goes on with one of a fixture that it shares with others.

    Attributes:
        of: The fixture whose recording has the beginning of the connection; empty for a connection of the test's own.
        number: The number that the connection has there.
    """

    url: str
    subprotocols: list[str] = []
    headers: Headers = {}
    of: str = ""
    number: int = 0


class Open(_Event, frozen=True, tag="open"):
    """The server accepted it."""

    status: int = 101
    subprotocol: str | None = None
    headers: Headers = {}


class Rejected(_Event, frozen=True, tag="rejected"):
    """The server answered the handshake with an HTTP status instead.

    ``binary`` is its body where that is no text; ``reason`` is the phrase behind the status.
    """

    status: int
    headers: Headers = {}
    body: str = ""
    binary: bytes | None = None
    reason: str = ""

    @property
    def payload(self) -> Payload:
        """The body: text, or the bytes of what is none."""
        return self.body if self.binary is None else self.binary

    @property
    def content(self) -> bytes:
        """The body, as bytes."""
        return self.body.encode() if self.binary is None else self.binary


class Refused(_Event, frozen=True, tag="refused"):
    """There was no server to answer: the operating system's error."""

    error: str
    errno: int | None = None
    message: str = ""


class Left(_Event, frozen=True, tag="left"):
    """The client gave up before the server had answered the handshake."""


class _Message(_Event, frozen=True, gc=False):
    text: str | None = None
    binary: bytes | None = None
    invalid: Literal["text", "frame"] | None = None

    @property
    def payload(self) -> Payload:
        """The message: text, or the bytes that the file holds in base64."""
        if self.text is not None:
            return self.text
        content = self.binary or b""
        if self.invalid is None:
            return content
        return NotText(content) if self.invalid == "text" else BrokenFrame(content)


class Sent(_Message, frozen=True, tag="sent", gc=False):
    """The client sent a message."""


class Received(_Message, frozen=True, tag="received", gc=False):
    """A message arrived at the client."""


class Closed(_Event, frozen=True, tag="closed"):
    """The connection ended; code 1006 says that no close frame was seen.

    By the ``test`` means that the test is over, and the connection of a shared fixture goes on.

    Attributes:
        by: Whose close frame came first; ``network`` where the connection was lost.
        no_pong_since: When the client sent the first of the pings that the server never answered, in seconds.
        no_close: Whether the server never answered the client's close frame.
        reset: Whether the connection was reset, and not just ended.
        pongs: How many pings it had answered before the first of those.
        hung_up: Whether the server ended the connection in place of an answer to the client's close frame.
    """

    by: Literal["server", "client", "network", "test"]
    code: int
    reason: str = ""
    no_pong_since: float | None = None
    no_close: bool = False
    reset: bool = False
    hung_up: bool = False
    pongs: int = 0


class Late(_Message, frozen=True, tag="late", gc=False):
    """The client sent a message after the connection had ended: nobody got it."""


class End(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="event", tag="end"):
    """The last line; ``events`` counts the lines between the header and this one."""

    events: int


Message: TypeAlias = Sent | Received
Answer: TypeAlias = Open | Rejected | Refused | Left
Event: TypeAlias = Dial | Answer | Sent | Received | Closed | Late


def fields(headers: Headers) -> Iterable[tuple[str, str]]:
    """Yield the headers of a handshake one by one; repeated ones are repeated."""
    for name, values in headers.items():
        for value in [values] if isinstance(values, str) else values:
            yield name, value


def headers_of(pairs: Iterable[tuple[str, str]]) -> Headers:
    """Return headers as a recording holds them."""
    found: dict[str, str | list[str]] = {}
    for name, value in pairs:
        known = found.get(name)
        if known is None:
            found[name] = value
        else:
            found[name] = [*([known] if isinstance(known, str) else known), value]
    return found
