"""Scripted misbehaviour: what the sandbox does wrong, how often, in the order it was asked for.

A sans-I/O core. A test adds faults from its own thread while the server asks for them from another.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import NamedTuple, TypeVar

from ..errors import ConfigError


class Answer(NamedTuple):
    """An HTTP answer in place of the right one; ``retry_after`` is in seconds."""

    status: int
    retry_after: int | None


class Ending(NamedTuple):
    """How a WebSocket connection ends after ``frames`` messages; without a ``code`` it is aborted."""

    frames: int
    code: int | None = None
    reason: str = ""


_SENDABLE = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014})
_LONGEST_REASON = 123  # a control frame holds 125 bytes, and the code takes two (RFC 6455, 5.5)

_Fault = TypeVar("_Fault", Answer, Ending)


class Faults:
    """What goes wrong next. Faults of a kind happen in the order they were added, each once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: deque[Answer] = deque()
        self._handshakes: deque[Answer] = deque()
        self._endings: deque[Ending] = deque()

    def answer(self, status: int, times: int = 1, retry_after: int | None = None) -> None:
        """Answer the next ``times`` REST requests with ``status``, and ``Retry-After`` in seconds."""
        self._add(self._answers, Answer(_status(status), _wait(retry_after)), times)

    def refuse_handshake(self, times: int = 1, status: int = 503, retry_after: int | None = None) -> None:
        """Answer the next ``times`` WebSocket handshakes with ``status``."""
        self._add(self._handshakes, Answer(_status(status), _wait(retry_after)), times)

    def drop_after(self, frames: int, times: int = 1) -> None:
        """Abort each of the next ``times`` connections, without a close frame, after ``frames`` messages."""
        self._add(self._endings, Ending(_count("frames", frames, 0)), times)

    def close_after(self, frames: int, code: int, reason: str = "", times: int = 1) -> None:
        """Close each of the next ``times`` connections with ``code`` and ``reason`` after ``frames`` messages."""
        ending = Ending(_count("frames", frames, 0), _close_code(code), _reason(reason))
        self._add(self._endings, ending, times)

    def pending(self) -> int:
        """Return how many faults have not happened yet."""
        with self._lock:
            return len(self._answers) + len(self._handshakes) + len(self._endings)

    # what the server asks

    def next_answer(self) -> Answer | None:
        """Return the fault of this REST request, if it has one."""
        return self._next(self._answers)

    def next_handshake(self) -> Answer | None:
        """Return the fault of this handshake, if it has one."""
        return self._next(self._handshakes)

    def next_ending(self) -> Ending | None:
        """Return how this connection will end, if by a fault."""
        return self._next(self._endings)

    def _add(self, queue: deque[_Fault], fault: _Fault, times: int) -> None:
        with self._lock:
            queue.extend([fault] * _count("times", times, 1))

    def _next(self, queue: deque[_Fault]) -> _Fault | None:
        with self._lock:
            return queue.popleft() if queue else None


def _status(status: int) -> int:
    if not _is_whole(status) or not 400 <= status <= 599:
        raise ConfigError(f"a fault answers with a status between 400 and 599, not {status!r}")
    return status


def _close_code(code: int) -> int:
    if not _is_whole(code) or not (code in _SENDABLE or 3000 <= code <= 4999):
        raise ConfigError(
            f"a close code that may be sent is one of {', '.join(map(str, sorted(_SENDABLE)))}, or between 3000 and "
            f"4999, not {code!r}; drop_after ends a connection without one"
        )
    return code


def _reason(reason: str) -> str:
    if len(reason.encode()) > _LONGEST_REASON:
        raise ConfigError(f"the reason of a close has at most {_LONGEST_REASON} bytes, not {len(reason.encode())}")
    return reason


def _wait(seconds: int | None) -> int | None:
    return None if seconds is None else _count("retry_after", seconds, 0)


def _count(name: str, value: int, least: int) -> int:
    if not _is_whole(value) or value < least:
        raise ConfigError(f"{name} must be a whole number, {least} or more, not {value!r}")
    return value


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
