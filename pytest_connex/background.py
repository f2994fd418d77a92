"""An event loop in a thread of its own, for what has to go on while a test blocks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from .clock import RealTimeLoop
from .sockets import require_sockets

_Result = TypeVar("_Result")

_TURNS = 20
"""How many turns of its loop what was sent to a connection takes to come to those behind it."""


class BackgroundLoop:
    """Runs coroutines and callbacks for other threads.

    Args:
        name: The name of the thread.

    Raises:
        Exception: What refuses sockets raised it.
    """

    def __init__(self, name: str) -> None:
        require_sockets()
        self._loop = RealTimeLoop()
        self._loop.set_default_executor(ThreadPoolExecutor(thread_name_prefix=name))
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)

    @property
    def is_running(self) -> bool:
        """Whether the thread has been started and not been ended."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, _Result], timeout: float | None = 10.0) -> _Result:
        """Run ``work`` to its end and return its result, or raise what it raises.

        Args:
            work: A coroutine.
            timeout: How long it may take, in seconds.
        """
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout)

    def call(self, callback: Callable[[], object]) -> None:
        """Have ``callback`` called soon."""
        self._loop.call_soon_threadsafe(callback)

    def stop(self) -> None:
        """End the thread; what still runs is cancelled. Calling it again does nothing."""
        if self._loop.is_closed():
            return
        if self._thread.is_alive():
            self.run(_cancel_others())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()


async def hear() -> None:
    """Let the running loop take what has been sent to it so far."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
