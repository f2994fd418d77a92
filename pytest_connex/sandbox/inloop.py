"""The sandbox on the event loop of a test, without a port: for virtual clocks, which cannot wait for one.

The same exchange as behind :mod:`~pytest_connex.sandbox.server`, with the same keys and faults; its WebSocket
is reached over a socket pair, and its time is the loop's.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from typing import Any

from ..proxy.endpoint import Behaviour, Endpoint
from .seat import Seat
from .server import Sandbox


class SandboxDialler:
    """Answers dials of a test with the exchange of ``sandbox``."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._seats: set[Seat] = set()
        self._loop = asyncio.get_running_loop()
        self._refused_until = 0.0
        sandbox.on_drop(self.drop)
        sandbox.faults.add_gate(self._refuse)

    def behaviour(self, url: str, dial: dict[str, Any]) -> Behaviour:
        """Take a client, whatever path it dials.

        Raises:
            ConnectionRefusedError: A fault refuses dials.
        """
        if self._loop.time() < self._refused_until:
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        seat = Seat(self._sandbox.exchange, self._sandbox.interval, self._sandbox.faults)
        self._seats.add(seat)
        return seat

    async def reach(self, make: Callable[[], asyncio.Protocol], url: str, options: dict[str, Any]) -> None:
        """Connect the upstream of a relay.

        Raises:
            ConnectionRefusedError: A fault refuses dials.
        """
        behaviour = self.behaviour(url, options)
        ours, theirs = socket.socketpair()
        for half in (ours, theirs):
            half.setblocking(False)
        await self._loop.create_connection(lambda: Endpoint(behaviour), sock=ours)
        await self._loop.create_connection(make, sock=theirs)

    def drop(self) -> None:
        """Abort every connection, without a close frame."""
        for seat in self._seats:
            seat.drop()

    def _refuse(self, seconds: float) -> None:
        self._refused_until = self._loop.time() + seconds
