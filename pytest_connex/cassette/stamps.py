"""The clock of one tape: when things happened, in seconds since the first of them.

Both files of a recording take their times from one :class:`TapeClock`, so that comparing times says what came
first. It asks whatever clock it is given, and knows none itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

_TICKS = 1_000_000
"""How many there are to a second: times are written with six decimals."""


class TapeClock:
    """Gives stamps that never run backwards. Several threads may use it at once.

    A *frame* of a WebSocket may have the stamp of the one before: their file says which came first. A *moment* of
    HTTP has its stamp alone: later than all stamps before it, earlier than all after it.

    Attributes:
        now: Returns the time in seconds, from any beginning.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self._start: float | None = None
        self._last = -1
        self._earliest = 0
        self._lock = threading.Lock()

    def frame(self, now: float) -> float:
        """Return the stamp of something on a WebSocket, which happened at ``now``."""
        with self._lock:
            ticks = self._ticks(now)
            if ticks < self._earliest:
                ticks = self._earliest
            self._last = self._earliest = ticks
        return ticks / _TICKS

    def moment(self) -> float:
        """Return the stamp of something of HTTP that happened just now."""
        return self.next_moment(-1.0)[0]

    def next_moment(self, after: float) -> tuple[float, bool]:
        """Return the same, and whether nothing else got a stamp since the stamp ``after`` was given."""
        with self._lock:
            alone = self._last / _TICKS == after
            ticks = max(self._ticks(self.now()), self._earliest, self._last + 1)
            self._last, self._earliest = ticks, ticks + 1
        return ticks / _TICKS, alone

    def elapsed(self, now: float) -> float:
        """Return the time at ``now``, without giving it to anything as a stamp."""
        with self._lock:
            return max(self._ticks(now), 0) / _TICKS

    def _ticks(self, now: float) -> int:
        if self._start is None:
            self._start = now
        return int((now - self._start) * _TICKS + 0.5)  # quicker than round(), and the same for what counts
