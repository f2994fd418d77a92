"""An event loop with a clock that jumps.

On a :class:`VirtualLoop` time passes only when nothing else can happen. Timers fire in their order and at their full
distance, but nobody waits for them: when no callback is ready and nothing is under way, the clock jumps to the next
timer. Connections are TCP on this machine, so that every client works as it is.

How time passes when the loop has nothing to do:

- *Something is under way between sockets of the loop* (bytes, a dial, the end of a connection): the clock waits for
  it. Where nobody reads, it gives up after a few milliseconds, so that such a client cannot stop time. What waits in
  the backlog of a listening socket needs no care: the selector reports that socket as ready.
- *A connection leads out of the loop*, to another thread or process: time passes as everybody's does while it is
  open, because nobody knows when the answer comes.
- *A thread works for the loop* (``run_in_executor``, ``asyncio.to_thread``): the clock stands still.
- Otherwise it jumps.

How a client reaches the loop that serves it, where a port of this machine has a stand-in on this loop:

- *A client on this loop*, of whatever library (websockets, aiohttp, httpx): they all dial by ``sock_connect``, which
  leads them to the stand-in. It is served by this loop, on this clock.
- *A blocking client*, on the thread of this loop or on another one, a client on another loop, another process: they
  dial the port itself. Whoever listens there serves them, in a thread and in real time, so that a client may block
  the thread of this loop, and a server's timers go on while the clock here stands still.

This module knows no pytest; who gets such a loop is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any, Protocol, TypeVar, TypeVarTuple

from .clock import real_time
from .config import is_loopback
from .loopback import CAN_TELL, Connections
from .sockets import require_sockets

_Arguments = TypeVarTuple("_Arguments")
_Result = TypeVar("_Result")

_START = 1_000.0
"""The time at which every loop begins, in seconds; not zero, which code may take for "not set"."""

_MOMENT = 0.005
"""Real seconds within which bytes get on, if anybody reads them."""

_DIALLING = 1.5
"""Real seconds that a dial gets: where a backlog is full, the kernel tries again after one."""

_NO_NETWORK = (
    "a virtual clock cannot wait for a real network, which takes real time: use a recording or the sandbox "
    'through the connex fixtures, or drop clock="virtual" from this test'
)


class StandIn(Protocol):
    """Serves a port in the place of another one, for the clients of one loop."""

    async def start(self) -> int:
        """Listen on 127.0.0.1, within the running loop, and return the number of the port."""

    async def stop(self) -> None:
        """Stop listening, and end what is connected."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop with a clock of its own.

    Args:
        stand_ins: Makes what serves a port of this machine for the clients of this loop, by the number of the port.
            It is looked at whenever a client dials: entries may come and go. A stand-in is made and started at the
            first such dial, and stopped before the loop closes.

    Raises:
        RuntimeError: From whatever would dial beyond this machine: the answers could not arrive in time.
        Exception: When it is made; what refuses sockets raised it.
    """

    def __new__(cls, stand_ins: Mapping[int, Callable[[], StandIn]] | None = None) -> VirtualLoop:
        """Make none where sockets are refused: a loop reports itself if its making breaks off."""
        require_sockets()
        return super().__new__(cls)

    def __init__(self, stand_ins: Mapping[int, Callable[[], StandIn]] | None = None) -> None:
        self._now = _START
        self._threads = 0
        self._stand_ins = stand_ins if stand_ins is not None else {}
        self._standing_in: dict[int, tuple[StandIn, asyncio.Task[int]]] = {}
        self._connections = Connections()
        super().__init__(_JumpingSelector(self._connections, lambda: self._threads > 0, self.advance))

    def time(self) -> float:
        """Return the loop's time, in seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass at once; timers that are due by then fire afterwards."""
        # A little beyond: a timer is due once its time has passed by asyncio's resolution of a nanosecond, which
        # is less than what separates two floats after a few months.
        self._now = math.nextafter(self._now + seconds, math.inf)

    def close(self) -> None:
        """Stop the stand-ins, and close the loop."""
        try:
            if not self.is_closed() and not self.is_running():
                self.run_until_complete(self.stop_stand_ins())
        finally:
            super().close()

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

    # dials

    async def create_connection(
        self, protocol_factory: Any, host: Any = None, port: Any = None, *, sock: Any = None, **kwargs: Any
    ) -> Any:
        """Take over a connected socket, or dial this machine."""
        if sock is None and not is_loopback(str(host)):
            raise RuntimeError(_NO_NETWORK)
        return await super().create_connection(protocol_factory, host, port, sock=sock, **kwargs)

    async def sock_connect(self, sock: Any, address: Any) -> None:
        """Dial this machine, or what stands in for the port there."""
        if not isinstance(address, tuple) or not is_loopback(str(address[0])):
            raise RuntimeError(_NO_NETWORK)
        host, port, *rest = address
        number = await self._number_of(port)
        self._connections.dialling.add(sock)
        try:
            await super().sock_connect(sock, (host, number, *rest))
        except OSError as exc:
            if number == port:
                raise
            raise OSError(exc.errno, f"Connect call failed {address}") from None
        finally:
            self._connections.dialling.discard(sock)

    # ports that are served by this loop in place of another

    async def stop_stand_ins(self) -> None:
        """Stop what serves ports for the clients of this loop; who dials again starts it again."""
        while self._standing_in:
            _, (stand_in, started) = self._standing_in.popitem()
            await asyncio.wait([started])
            if not started.cancelled() and started.exception() is None:
                await stand_in.stop()

    async def _number_of(self, port: int) -> int:
        """Return the number of the port that serves a port for this loop: its stand-in's, or its own."""
        if port not in self._standing_in:
            make = self._stand_ins.get(port)
            if make is None:
                return port
            stand_in = make()
            self._standing_in[port] = stand_in, self.create_task(stand_in.start())
        return await asyncio.shield(self._standing_in[port][1])


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting, lets time pass.

    Args:
        connections: What the loop has to wait for.
        has_threads: Tells whether a thread works for the loop.
        advance: Lets time pass by so many seconds.
    """

    def __init__(
        self, connections: Connections, has_threads: Callable[[], bool], advance: Callable[[float], None]
    ) -> None:
        super().__init__()
        self._connections = connections
        self._has_threads = has_threads
        self._advance = advance

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = super().register(fileobj, events, data)
        self._connections.add(key.fd)
        return key

    def close(self) -> None:
        self._connections.close()
        super().close()

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if timeout is None:
            return super().select(None)
        if self._connections.lead_out():
            return self._in_real_time(timeout)
        if self._has_threads():
            return super().select(None)
        if arrived := self._arriving():
            return arrived
        self._advance(timeout)
        return ready

    def _in_real_time(self, timeout: float) -> Any:
        start = real_time()
        ready = super().select(timeout)
        self._advance(min(real_time() - start, timeout) if ready else timeout)
        return ready

    def _arriving(self) -> Any:
        """Wait for what is under way, as long as it gets on."""
        connections = self._connections
        if connections.dialling and (ready := super().select(_DIALLING)):
            return ready
        connections.dialling.clear()  # those have had their time
        if not CAN_TELL and connections:
            return super().select(_MOMENT)
        before = connections.under_way()
        while before:
            if ready := super().select(_MOMENT):
                return ready
            after = connections.under_way()
            if after == before:
                connections.give_up(after)
                break
            before = after
        return super().select(0)  # what the kernel held back until it was told of what came before
