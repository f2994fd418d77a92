"""The time of the event loop, for tests on a virtual clock."""

from __future__ import annotations

import asyncio


class Stopwatch:
    """Tells the loop's time since it was made, in seconds."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._start = self._loop.time()

    @property
    def seconds(self) -> float:
        return round(self._loop.time() - self._start, 6)
