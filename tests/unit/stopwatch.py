"""The time of the event loop, for tests on a virtual clock."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any

from pytest_connex.virtual import VirtualLoop


class Stopwatch:
    """Tells the loop's time since it was made, in seconds."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._start = self._loop.time()

    @property
    def seconds(self) -> float:
        return round(self._loop.time() - self._start, 6)


def on_a_virtual_clock(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on a clock of its own, so that a short time-out is not a race with the machine."""

    @functools.wraps(test)
    def run(*args: object, **kwargs: object) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run
