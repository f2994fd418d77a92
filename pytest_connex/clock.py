"""An event loop on which time passes only when nothing else can happen.

Timers fire in their order and at their full distance, but nobody waits for them: when no callback is ready and
no data is there, the clock jumps to the next timer. It is for tests whose connections live within the loop,
as those of recordings do. This module knows no pytest; who gets such a loop is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
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
