"""The lines of a WebSocket recording, as data.

A recording is JSON Lines: a :class:`Header`, one event a line, and an :class:`End` that counts them. What may
follow what is checked by :mod:`~pytest_connex.cassette.store`.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

FORMAT: Literal["connex-ws"] = "connex-ws"
VERSION = 1

LONGEST_REASON = 123
"""Bytes: a control frame holds 125, and the code of a close takes two of them (RFC 6455, 5.5)."""

Payload: TypeAlias = str | bytes
"""One message: the text of a text message, or the bytes of a binary one, or of what is none."""


class NotText(bytes):
    """A text message whose bytes are no UTF-8."""


class BrokenFrame(bytes):
    """What came where a frame was expected: of a client its first two bytes, of a server all of it."""


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
    """The client asked for a connection."""

    url: str
    subprotocols: list[str] = []
    headers: dict[str, str] = {}


class Open(_Event, frozen=True, tag="open"):
    """The server accepted it."""

    status: int = 101
    subprotocol: str | None = None
    headers: dict[str, str] = {}


class Rejected(_Event, frozen=True, tag="rejected"):
    """The server answered the handshake with an HTTP status instead."""

    status: int
    headers: dict[str, str] = {}
    body: str = ""


class Refused(_Event, frozen=True, tag="refused"):
    """There was no server to answer: the operating system's error.

    Attributes:
        by: ``client`` where there was no answer because the client gave up before.
    """

    error: str
    errno: int | None = None
    message: str = ""
    by: Literal["network", "client"] = "network"


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
    """The connection ended; code 1006 says that no close frame was seen."""

    by: Literal["server", "client", "network"]
    code: int
    reason: str = ""


class Unanswered(_Event, frozen=True, tag="unanswered"):
    """What the server owed the client when the client was gone; it comes after the end of the connection.

    Attributes:
        pings: How many pings after its last message the server had answered, where it did not answer the next.
        close: What became of the close of the client, where no close answered it: the server said nothing, or the
            connection was lost.
    """

    pings: int | None = None
    close: Literal["silence", "lost"] | None = None


class End(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="event", tag="end"):
    """The last line; ``events`` counts the lines between the header and this one."""

    events: int


Message: TypeAlias = Sent | Received
Answer: TypeAlias = Open | Rejected | Refused
Event: TypeAlias = Dial | Open | Rejected | Refused | Sent | Received | Closed | Unanswered
