"""Noticing that the other side of a connection has left, while nothing is read from it.

An event loop tells of the end of a connection when it has read everything before it. Where reading is paused, because
what came is not wanted yet, that may be never. Linux can be asked for the end alone; elsewhere it is noticed late.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable


class Departure:
    """Watches a connection.

    Args:
        left: Called when the other side has left.
    """

    def __init__(self, left: Callable[[], None]) -> None:
        self._left = left
        self._poll: select.epoll | None = None

    def watch(self, connection: socket.socket | None) -> None:
        """Watch from now on; where there is no socket, nothing is watched."""
        if self._poll is None and connection is not None and hasattr(select, "epoll"):
            self._loop = asyncio.get_running_loop()
            self._poll = select.epoll()
            self._poll.register(connection.fileno(), select.EPOLLRDHUP)
            self._loop.add_reader(self._poll.fileno(), self._notice)

    def stop(self) -> None:
        """Watch no more."""
        if self._poll is not None:
            self._loop.remove_reader(self._poll.fileno())
            self._poll.close()
            self._poll = None

    def _notice(self) -> None:
        self.stop()
        self._left()
