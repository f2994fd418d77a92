"""The clocks of event loops: one that jumps, and one that no test can stop.

On a :class:`VirtualLoop` time passes only when nothing else can happen. Timers fire in their order and at their
full distance, but nobody waits for them: when no callback is ready and no data is there, the clock jumps to the
next timer. It is for tests whose connections live within the loop, as those of recordings do. This module knows no
pytest; who gets such a loop is decided elsewhere.

Tests freeze the clock, and freezegun freezes ``time.monotonic`` too, which event loops tell their time by. What this
package waits for must not depend on it: its own threads run a :class:`RealTimeLoop`, and on the loop of a test it
reads the time with :func:`time_of` and waits with a :class:`Timer`.
"""

from __future__ import annotations

import asyncio
import math
import selectors
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from types import BuiltinFunctionType
from typing import Any, TypeVar, TypeVarTuple

from .sockets import require_sockets

_Arguments = TypeVarTuple("_Arguments")
_Result = TypeVar("_Result")

_START = 1_000.0
"""The time at which every loop begins, in seconds; not zero, which code may take for "not set"."""

_NO_NETWORK = (
    "a virtual clock cannot wait for a real network, which takes real time: use a recording or the sandbox "
    'through the connex fixtures, or drop clock="virtual" from this test'
)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop with a clock of its own.

    While a thread works for the loop (``run_in_executor``, ``asyncio.to_thread``), the clock stands still.

    Raises:
        RuntimeError: From whatever would open a connection beyond the loop: its answers could not arrive in time.
        Exception: When it is made; what refuses sockets raised it.
    """

    def __new__(cls) -> VirtualLoop:
        """Make none where sockets are refused: a loop reports itself if its making breaks off."""
        require_sockets()
        return super().__new__(cls)

    def __init__(self) -> None:
        self._now = _START
        self._threads = 0
        super().__init__(_JumpingSelector(self._jump))

    def time(self) -> float:
        """Return the loop's time, in seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass at once, for code that would block; timers that are due by then fire afterwards."""
        self._now += seconds

    def _jump(self, seconds: float | None) -> bool:
        """Pass over ``seconds`` in which nothing happens; False when somebody else has to wake the loop."""
        if seconds is None or self._threads:
            return False
        # A little beyond: a timer is due once its time has passed by asyncio's resolution of a nanosecond, which
        # is less than what separates two floats after a few months.
        self._now = math.nextafter(self._now + seconds, math.inf)
        return True

    # threads that work for this loop

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*_Arguments], _Result], *args: *_Arguments
    ) -> asyncio.Future[_Result]:
        """Run ``func`` in a thread, with the clock standing still."""
        future = super().run_in_executor(executor, func, *args)
        self._threads += 1
        future.add_done_callback(self._thread_is_done)
        return future

    async def shutdown_default_executor(self, *args: Any) -> None:
        """Wait for the threads of this loop."""
        self._threads += 1
        try:
            await super().shutdown_default_executor(*args)
        finally:
            self._threads -= 1

    def _thread_is_done(self, future: asyncio.Future[Any]) -> None:
        self._threads -= 1

    # what a virtual clock cannot serve

    async def create_connection(self, *args: Any, sock: Any = None, **kwargs: Any) -> Any:
        """Take over a connected socket; refuse to dial."""
        if sock is None:
            raise RuntimeError(_NO_NETWORK)
        return await super().create_connection(*args, sock=sock, **kwargs)

    async def create_server(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse."""
        raise RuntimeError(_NO_NETWORK)

    async def sock_connect(self, sock: Any, address: Any) -> None:
        """Refuse."""
        raise RuntimeError(_NO_NETWORK)


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting, asks the loop to jump."""

    def __init__(self, jump: Callable[[float | None], bool]) -> None:
        super().__init__()
        self._jump = jump

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0) or self._jump(timeout):
            return ready
        return super().select(None)


# --- time that no test can stop ------------------------------------------------------------------------------


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
