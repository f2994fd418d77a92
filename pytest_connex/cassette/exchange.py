"""HTTP on the tape: what was asked, what was answered, and what happened instead of an answer.

Text of a request and of an answer is what HTTP has on the wire, byte for byte as Latin-1 (RFC 9110, 5.5): header
names and values, targets, reasons. Bodies are bytes.
"""

from __future__ import annotations

import builtins
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from ..upstreams import REST

Fields: TypeAlias = list[tuple[str, str]]
"""Headers one by one, as they were written: repeated ones are repeated."""

Ending: TypeAlias = Literal["whole", "cut", "left", "reset", "refused", "unanswered"]
"""How a request ended.

=============== ==============================================================
``whole``       the answer came to its end
``cut``         the server ended or reset the connection within the answer
``left``        the client gave up, before the answer or within it
``reset``       the connection broke before an answer, as by a reset
``refused``     there was no connection to the server
``unanswered``  the server closed the connection, or said what is no answer
=============== ==============================================================
"""

NOT_ANSWERED = 504
"""The status that other readers of a recording see where nothing was answered."""

_REASONS: dict[str, str] = {
    "left": "The client gave up",
    "reset": "The server broke off the connection",
    "refused": "The server could not be reached",
    "unanswered": "The server gave no answer",
}


@dataclass(frozen=True)
class HttpRequest:
    """A request, with the absolute URL that the upstream has it under."""

    method: str
    url: str
    headers: Fields
    body: bytes


class Piece(NamedTuple):
    """A part of a body, and when it came, in seconds on the tape."""

    at: float
    length: int


@dataclass(frozen=True)
class Interaction:
    """A request and what came of it, as a recording has it.

    Attributes:
        request: What was asked.
        status: Of the answer; None where there was none.
        reason: The phrase behind the status.
        headers: Of the answer.
        body: As far as it came, not compressed.
        asked: When it was asked, in seconds on the tape; None where the recording does not say (version 1).
        answered: When the head of the answer came; None where none did.
        pieces: How the body came; empty where it came with the head.
        over: When it ended; None where that was with the last piece.
        ended: How.
        error: The name of the operating system's error, where that was the end.
        errno: Its number.
        upstream: Whom it was asked.
    """

    request: HttpRequest
    status: int | None
    reason: str
    headers: Fields
    body: bytes
    asked: float | None = None
    answered: float | None = None
    pieces: tuple[Piece, ...] = ()
    over: float | None = None
    ended: Ending = "whole"
    error: str = ""
    errno: int | None = None
    upstream: str = REST

    def failure(self) -> OSError | None:
        """Return the operating system's error as an exception."""
        if not self.error:
            return None
        kind = getattr(builtins, self.error, ConnectionAbortedError)
        if not (isinstance(kind, type) and issubclass(kind, OSError)):
            kind = ConnectionAbortedError
        if self.errno is None:
            return kind(self.error)
        return kind(self.errno, os.strerror(self.errno))


def values(headers: Iterable[tuple[str, str]], name: str) -> list[str]:
    """Return the values of every header that is called ``name``, which is given in lower case."""
    return [value for known, value in headers if known.lower() == name]


def reason_without_answer(ended: Ending) -> str:
    """Say what happened instead of an answer, for readers that know of answers only."""
    return _REASONS[ended]
