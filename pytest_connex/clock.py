"""Time that no test can stop.

Tests freeze the clock, and freezegun freezes ``time.monotonic`` too, which event loops tell their time by. What this
package waits for must not depend on it: its own threads run a :class:`RealTimeLoop`, and on the loop of a test it
reads the time with :func:`time_of` and waits with a :class:`Timer`.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import BuiltinFunctionType
from typing import TypeVarTuple

_Arguments = TypeVarTuple("_Arguments")


def real_time() -> float:
    """Return the machine's monotonic time, in seconds.

    It is ``time.monotonic`` by a name that freezegun does not replace.
    """
    return time.clock_gettime(time.CLOCK_MONOTONIC)


class RealTimeLoop(asyncio.SelectorEventLoop):
    """An event loop in real time, whatever a test makes of ``time.monotonic``."""

    def time(self) -> float:
        """Return the loop's time, in seconds."""
        return real_time()


def time_of(loop: asyncio.AbstractEventLoop) -> float:
    """Return the time on ``loop``, in seconds: its own where it has one, and real time where it may be frozen."""
    return real_time() if _is_plain(loop) else loop.time()


class Timer:
    """Calls ``callback`` on ``loop`` after ``delay`` seconds on the clock of :func:`time_of`.

    On a loop whose time is frozen a timer of the loop would never fire, or, where the frozen time is ahead, at once;
    there a thread waits in its place.

    Args:
        loop: Where it calls.
        delay: Seconds until then.
        callback: What it calls, with ``args``.
        steps: In how many parts it waits. Whoever runs on the loop gets a turn after each, also in a process that the
            machine did not run meanwhile.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        delay: float,
        callback: Callable[[*_Arguments], object],
        *args: *_Arguments,
        steps: int = 1,
    ) -> None:
        self._loop = loop
        self._step = delay / steps
        self._steps = steps
        self._call: Callable[[], object] = partial(callback, *args)
        self._cancelled = False
        self._waiting: asyncio.TimerHandle | threading.Timer
        self._begin_step()

    def cancel(self) -> None:
        """Do not call."""
        self._cancelled = True
        self._waiting.cancel()

    def _begin_step(self) -> None:
        self._steps -= 1
        self._due = time_of(self._loop) + self._step
        self._wait(self._step)

    def _wait(self, seconds: float) -> None:
        if not _is_frozen(self._loop):
            self._waiting = self._loop.call_later(seconds, self._fire)
            return
        self._waiting = threading.Timer(seconds, self._fire_on_loop)
        self._waiting.daemon = True
        self._waiting.start()

    def _fire_on_loop(self) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._fire)

    def _fire(self) -> None:
        if self._cancelled:
            return
        left = self._due - time_of(self._loop)
        if left > _RESOLUTION and _is_plain(self._loop):
            self._wait(left)  # the clock was frozen meanwhile, at a moment ahead
        elif self._steps:
            self._begin_step()
        else:
            self._call()


_RESOLUTION = 0.001
"""Seconds by which a timer may be early: loops round."""


def _is_plain(loop: asyncio.AbstractEventLoop) -> bool:
    """Tell whether a loop tells its time by ``time.monotonic``, as those of asyncio do."""
    return type(loop).time is asyncio.BaseEventLoop.time


def _is_frozen(loop: asyncio.AbstractEventLoop) -> bool:
    return _is_plain(loop) and not isinstance(time.monotonic, BuiltinFunctionType)
