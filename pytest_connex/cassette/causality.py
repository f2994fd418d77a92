"""What keeps a message of one connection from coming before what another has to send: the order of the recording.

A sans-I/O core. It knows, for every recorded connection, on which line stands what its client is expected to send
next, and finds the first of them quickly, however many connections there are.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from typing import NamedTuple

from .store import RecordedConnection


class Awaited(NamedTuple):
    """What has to be sent before anything beyond ``line`` may be delivered, and by whom."""

    line: int
    connection: RecordedConnection


class Expectations:
    """What the clients of all connections are expected to send next.

    Args:
        connections: Of one recording, in the order of their numbers, which begin with 1.
    """

    def __init__(self, connections: Iterable[RecordedConnection]) -> None:
        self._connections = list(connections)
        self._lines: dict[int, int] = {}
        self._ordered: list[tuple[int, int]] = []
        for connection in self._connections:
            self.expect(connection, connection.first_sent.line if connection.first_sent else None)

    def expect(self, connection: RecordedConnection, line: int | None) -> None:
        """Note on which line stands what is to be sent next on ``connection``; None where nothing is."""
        number = connection.number
        known = self._lines.pop(number, None)
        if known is not None:
            del self._ordered[bisect_left(self._ordered, (known, number))]
        if line is not None:
            self._lines[number] = line
            insort(self._ordered, (line, number))

    def before(self, connection: RecordedConnection) -> Awaited | None:
        """Return what others have to send first that were open at the same time as ``connection``."""
        for line, number in self._ordered:
            other = self._connections[number - 1]
            if other is not connection and other.overlaps(connection):
                return Awaited(line, other)
        return None
