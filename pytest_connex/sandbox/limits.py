"""Rate limits: how many REST requests a key may make in a window of time [S].

A sans-I/O core: the time is always given, in epoch milliseconds.
"""

from __future__ import annotations

from typing import NamedTuple

RATE_LIMIT = 100_000
"""Requests a minute that a key may make by default: more than a suite of tests on one machine comes to."""

WINDOW_MS = 60_000


class Allowance(NamedTuple):
    """What is left after a request."""

    granted: bool
    remaining: int
    ends_ms: int


class RateLimits:
    """Counts requests in fixed windows, each of which begins with a key's first request.

    Args:
        limit: Requests in a window.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._windows: dict[str, tuple[int, int]] = {}

    def count(self, key: str, now_ms: int) -> Allowance:
        """Count a request of ``key``; one that is refused does not count."""
        ends, used = self._windows.get(key, (0, 0))
        if now_ms >= ends:
            ends, used = now_ms + WINDOW_MS, 0
        granted = used < self.limit
        used += granted
        self._windows[key] = ends, used
        return Allowance(granted, self.limit - used, ends)
