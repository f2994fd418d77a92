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
        if not 1000 <= code <= 4999:
            raise ConfigError(f"a close code is between 1000 and 4999, not {code}")
        self._add(self._endings, Ending(_count("frames", frames, 0), code, reason), times)

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
    if not 400 <= status <= 599:
        raise ConfigError(f"a fault answers with a status between 400 and 599, not {status}")
    return status


def _wait(seconds: int | None) -> int | None:
    return None if seconds is None else _count("retry_after", seconds, 0)


def _count(name: str, value: int, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(f"{name} must be a whole number, {least} or more, not {value!r}")
    return value
