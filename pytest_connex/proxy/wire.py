"""A transport that is as slow, and ends as badly, as it is asked to.

It stands between a protocol and the transport of its connection, of whatever kind that is, and keeps the order of
what is written: the end of a connection comes after what was written before it, however long that is delayed. Once
nothing slows it any more, what waits goes with the next bytes. What the other side sends is not delayed.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, cast

from ..faults import Pace

_FULL = 65_536
"""So many bytes may wait before the protocol is asked to pause."""

_PIECE = 1_024
"""Where bandwidth is limited, so many bytes are written at once."""

_AT_ONCE = 262_144
"""So many bytes are read at once."""

_RESET = struct.pack("ii", 1, 0)
_UNHINDERED = Pace()


class Wire(asyncio.Transport, asyncio.Protocol):
    """Delays what ``protocol`` writes to ``transport``, whose protocol it is from now on.

    Args:
        transport: Of the connection.
        protocol: What is at its end.
        pace: Says how slow the wire is by now.
        chance: Makes the jitter.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        protocol: asyncio.Protocol,
        pace: Callable[[], Pace],
        chance: random.Random,
    ) -> None:
        super().__init__()
        self._transport = transport
        self._protocol = protocol
        self._pace = pace
        self._chance = chance
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[float, bytes | Callable[[], None]]] = deque()
        self._size = 0
        self._due = self._free = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._full = self._blocked = False
        self._closing = self._stalled = self._detached = False
        transport.set_protocol(self)

    # how it ends

    def reset(self) -> None:
        """End the connection with a reset, after what was written."""
        if not self._closing:
            self._closing = True
            self._then(partial(reset, self._transport))

    def stall(self) -> None:
        """Let nothing pass that is written from now on, nor the end; only :meth:`abort` still ends it."""
        self._stalled = True

    def detach(self) -> asyncio.Transport:
        """Return the transport for another use; whatever happens to this wire from now on does not touch it.

        What waits is written first.
        """
        self._pass_on(everything=True)
        self._closing = self._detached = True
        transport, self._transport = self._transport, asyncio.Transport()
        return transport

    # asyncio.Transport

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write, in time."""
        if self._stalled or self._closing:
            return
        content = bytes(data)
        pace = self._pace()
        if pace != _UNHINDERED:
            self._delay(content, pace)
            return
        if self._waiting:
            self._pass_on()
        self._transport.write(content)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Write all of them."""
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        """Close, after what was written."""
        if not self._closing and not self._stalled:
            self._closing = True
            self._then(self._transport.close)

    def abort(self) -> None:
        """Close at once."""
        self._closing = True
        self._forget()
        if not self._detached:
            self._transport.abort()

    def is_closing(self) -> bool:
        """Tell whether it closes, or has."""
        return self._closing or self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the transport knows."""
        return self._transport.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Hand the connection to another protocol."""
        self._protocol = cast(asyncio.Protocol, protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol of the connection."""
        return self._protocol

    def is_reading(self) -> bool:
        """Tell whether it reads."""
        return self._transport.is_reading()

    def pause_reading(self) -> None:
        """Stop reading."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        self._transport.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set when the protocol is asked to pause, for what is not delayed."""
        self._transport.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait."""
        return self._size + self._transport.get_write_buffer_size()

    def can_write_eof(self) -> bool:
        """Tell whether one direction can be closed alone."""
        return self._transport.can_write_eof()

    def write_eof(self) -> None:
        """Close the direction of what is written, after what was written; nothing more may be."""
        if not self._closing and not self._stalled:
            self._then(self._transport.write_eof)

    # asyncio.Protocol: what the transport tells

    def data_received(self, data: bytes) -> None:
        """Pass on what the other side sends."""
        self._protocol.data_received(data)

    def eof_received(self) -> bool | None:
        """Pass on that it sends nothing more; True keeps the transport open for what waits."""
        if self._protocol.eof_received():
            return True
        self.close()
        return bool(self._waiting)

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass on that it is gone, and with it what waits."""
        self._closing = True
        self._forget()
        self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        """The buffers of the transport are full."""
        self._hold(self._full, blocked=True)

    def resume_writing(self) -> None:
        """The buffers of the transport accept data again."""
        self._hold(self._full, blocked=False)

    # inside

    def _delay(self, content: bytes, pace: Pace) -> None:
        delay = max(0.0, pace.latency + self._chance.uniform(-pace.jitter, pace.jitter))
        self._due = max(self._due, self._loop.time() + delay)
        size = _PIECE if pace.bandwidth else max(1, len(content))
        for start in range(0, len(content), size):
            piece = content[start : start + size]
            if pace.bandwidth:
                self._due = self._free = max(self._due, self._free) + len(piece) / pace.bandwidth
            self._waiting.append((self._due, piece))
            self._size += len(piece)
        self._hold(self._full or self._size > _FULL, self._blocked)
        self._schedule()

    def _then(self, action: Callable[[], None]) -> None:
        """Do it after what waits."""
        if not self._waiting:
            action()
            return
        self._waiting.append((self._due, action))
        self._schedule()

    def _schedule(self) -> None:
        if self._timer is None and self._waiting:
            self._timer = self._loop.call_at(self._waiting[0][0], self._pass_on)

    def _pass_on(self, everything: bool = False) -> None:
        """Pass on what is due; everything, where the wire is no longer slow."""
        self._drop_timer()
        due = math.inf if everything or self._pace() == _UNHINDERED else self._loop.time()
        while self._waiting and self._waiting[0][0] <= due and not self._transport.is_closing():
            _, what = self._waiting.popleft()
            if callable(what):
                what()
            else:
                self._size -= len(what)
                self._transport.write(what)
        if self._transport.is_closing():
            self._forget()
            return
        self._hold(self._full and self._size >= _FULL // 4, self._blocked)
        self._schedule()

    def _hold(self, full: bool, blocked: bool) -> None:
        """Ask the protocol to pause while there is one reason or two, and to go on when there is none any more."""
        before, self._full, self._blocked = self._full or self._blocked, full, blocked
        if (full or blocked) and not before:
            self._protocol.pause_writing()
        elif before and not (full or blocked):
            self._protocol.resume_writing()

    def _forget(self) -> None:
        self._waiting.clear()
        self._size = 0
        self._drop_timer()

    def _drop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def unread(transport: asyncio.Transport) -> bytes:
    """Return what had arrived on a connection that is lost, and was not read.

    A transport whose write fails, because the other side has reset the connection, does not read any more; what the
    other side sent before is still there. It must be asked for within ``connection_lost``: the socket is closed after
    that. Other loops than asyncio's own close it before, and what is encrypted cannot be read like this.
    """
    connection = transport.get_extra_info("socket")
    known = isinstance(asyncio.get_running_loop(), asyncio.SelectorEventLoop)
    if connection is None or not known or transport.get_extra_info("sslcontext") is not None:
        return b""
    found = bytearray()
    with suppress(OSError):  # the reset, after everything that came before it
        while connection.fileno() >= 0 and (data := os.read(connection.fileno(), _AT_ONCE)):
            found += data
    return bytes(found)


def reset(transport: asyncio.Transport) -> None:
    """Close a connection with a reset, where that is TCP."""
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.close()
