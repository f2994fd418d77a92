"""The faults as values, and what their parts must be."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, TypeAlias, assert_never

from ..errors import ConfigError

Edit = Literal["truncate", "corrupt", "invalid_utf8", "duplicate"]
"""What is sent in the place of a message, at once."""

Change = Literal[Edit, "reorder"]
"""What becomes of a message."""

EndingKind = Literal["drop", "reset", "close", "stall"]
"""How a WebSocket connection ends."""


class Answer(NamedTuple):
    """An HTTP answer in place of the right one; ``retry_after`` is in seconds."""

    status: int
    retry_after: int | None = None

    def __str__(self) -> str:
        return f"answered with {self.status}"


class Cut(NamedTuple):
    """An HTTP answer that is the right one and ends after ``bytes`` of its body; with None it never comes."""

    bytes: int | None

    def __str__(self) -> str:
        return "never answered" if self.bytes is None else f"cut after {_counted(self.bytes, 'byte')}"


HttpFault: TypeAlias = Answer | Cut
"""What a request gets."""


class Ending(NamedTuple):
    """How a WebSocket connection ends, and when: after ``frames`` messages, ``bytes`` or ``seconds``.

    ``drop`` ends it without a close frame, ``reset`` with a reset of TCP, ``close`` with code and reason; after
    ``stall`` it is there and nothing passes any more. With none of the three set, it is when it would be closed.
    """

    kind: EndingKind
    frames: int | None = None
    bytes: int | None = None
    seconds: float | None = None
    code: int = 1000
    reason: str = ""

    @property
    def instead_of_close(self) -> bool:
        """Whether it waits for the server to close the connection."""
        return self.frames is None and self.bytes is None and self.seconds is None

    @property
    def cuts_messages(self) -> bool:
        """Whether the last message may be a part of one, where the end comes after so many bytes."""
        match self.kind:
            case "drop" | "reset" | "stall":
                return True
            case "close":
                return False
            case _:
                assert_never(self.kind)

    def __str__(self) -> str:
        if self.instead_of_close:
            return f"{self.kind} instead of a close"
        if self.frames is not None:
            when = _counted(self.frames, "message")
        elif self.bytes is not None:
            when = _counted(self.bytes, "byte")
        else:
            when = f"{self.seconds:g} s"
        said = f" with {self.code} {self.reason}".rstrip() if self.kind == "close" else ""
        return f"{self.kind} after {when}{said}"


class Pace(NamedTuple):
    """How slow the wire is: seconds of delay, give or take ``jitter``; bytes in a second, or None for any number."""

    latency: float = 0.0
    jitter: float = 0.0
    bandwidth: float | None = None


_SENDABLE = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014})
_LONGEST_REASON = 123  # a control frame holds 125 bytes, and the code takes two (RFC 6455, 5.5)


def status(value: int) -> int:
    """Return the HTTP status of a fault."""
    if not _is_whole(value) or not 400 <= value <= 599:
        raise ConfigError(f"a fault answers with a status between 400 and 599, not {value!r}")
    return value


def close_code(value: int) -> int:
    """Return a close code that may be sent (RFC 6455, 7.4)."""
    if not _is_whole(value) or not (value in _SENDABLE or 3000 <= value <= 4999):
        raise ConfigError(
            f"a close code that may be sent is one of {', '.join(map(str, sorted(_SENDABLE)))}, or between 3000 and "
            f"4999, not {value!r}; drop_after ends a connection without one"
        )
    return value


def close_reason(value: str) -> str:
    """Return the reason of a close."""
    if not isinstance(value, str):
        raise ConfigError(f"the reason of a close must be a text, not {value!r}")
    length = len(value.encode("utf-8", "surrogatepass"))
    if length > _LONGEST_REASON:
        raise ConfigError(f"the reason of a close has at most {_LONGEST_REASON} bytes, not {length}")
    return value


def seconds(name: str, value: float, *, above_zero: bool = False) -> float:
    """Return a time, or another number that is not negative."""
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not usable or value < 0 or (above_zero and value == 0):
        raise ConfigError(
            f"{name} must be a number{' above zero' if above_zero else ', zero or more'}, not {value!r}"
        )
    return float(value)


def count(name: str, value: int, least: int) -> int:
    """Return a whole number."""
    if not _is_whole(value) or value < least:
        raise ConfigError(f"{name} must be a whole number, {least} or more, not {value!r}")
    return value


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
