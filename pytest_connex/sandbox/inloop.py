"""The sandbox on the event loop of a test, without a port: for virtual clocks, which cannot wait for one.

The same exchange as behind :mod:`~pytest_connex.sandbox.server`, with the same keys and faults; its WebSocket
is reached over a socket pair, and its time is the loop's.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

from websockets.http11 import Request

from ..cassette.endpoint import Behaviour, Endpoint
from ..cassette.events import Payload
from .exchange import Close, Send
from .faults import Answer, Ending
from .server import Sandbox, fault_body, retry_after

_HEARTBEAT_CHECK = 1.0


class SandboxDialler:
    """Answers dials of a test with the exchange of ``sandbox``."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._seats: set[_Seat] = set()
        sandbox.on_drop(self.drop)

    def behaviour(self, url: str, dial: dict[str, Any]) -> Behaviour:
        """Take a client, whatever path it dials."""
        seat = _Seat(self._sandbox)
        self._seats.add(seat)
        return seat

    def drop(self) -> None:
        """Abort every connection, without a close frame."""
        for seat in self._seats:
            seat.drop()


class _Seat:
    """One client's connection."""

    refusal: BaseException | None = None
    on_read: Callable[[], None] | None = None

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._loop = asyncio.get_running_loop()
        self._epoch_ms = time.time_ns() // 1_000_000 - round(self._loop.time() * 1000)
        self._ending: Ending | None = None
        self._sent = 0
        self._over = False
        self._timer: asyncio.TimerHandle | None = None
        self._endpoint: Endpoint | None = None

    def dialled(self, endpoint: Endpoint, request: Request) -> None:
        self._endpoint = endpoint
        faults = self._sandbox.faults
        if fault := faults.next_handshake():
            self._refuse(endpoint, fault)
            return
        self._ending = faults.next_ending()
        self._session = self._sandbox.exchange.open_session(self._now_ms())
        endpoint.accept(None, {})
        self._schedule()

    def received(self, message: Payload) -> None:
        # Nonces are made by the client from the clock on the wall, whatever time the loop has.
        self._say(self._session.receive(message, self._now_ms(), time.time_ns() // 1_000_000))
        self._schedule()

    def came_late(self, message: Payload) -> None:
        """An exchange that has closed does not listen."""

    def writable(self) -> None:
        """A sandbox does not slow down for its client."""

    def ended(self, code: int, reason: str) -> None:
        self._stop()

    def drop(self) -> None:
        self._stop()
        if self._endpoint is not None:
            self._endpoint.abort()

    def _now_ms(self) -> int:
        return self._epoch_ms + round(self._loop.time() * 1000)

    def _refuse(self, endpoint: Endpoint, fault: Answer) -> None:
        headers = {"Content-Type": "application/json", **retry_after(fault)}
        endpoint.reject(fault.status, headers, json.dumps(fault_body(fault)))

    def _schedule(self) -> None:
        if self._timer is None and not self._over:
            interval = self._sandbox.interval
            delay = interval if self._session.streaming else min(interval, _HEARTBEAT_CHECK)
            self._timer = self._loop.call_later(delay, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._say(self._session.tick(self._now_ms()))
        self._schedule()

    def _say(self, messages: list[Send | Close]) -> None:
        for message in messages:
            if self._over or self._endpoint is None:
                return
            if self._ending is not None and self._sent >= self._ending.frames:
                self._end(self._endpoint, self._ending.code, self._ending.reason)
            elif isinstance(message, Close):
                self._end(self._endpoint, message.code, message.reason)
            else:
                self._endpoint.send((message.text,))
                self._sent += 1

    def _end(self, endpoint: Endpoint, code: int | None, reason: str) -> None:
        self._stop()
        if code is None:
            endpoint.abort()
        else:
            endpoint.close(code, reason)

    def _stop(self) -> None:
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
