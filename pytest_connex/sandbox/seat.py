"""One client's WebSocket connection to the exchange: what it says and when, over whatever carries it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from websockets.http11 import Request

from ..cassette.events import Payload
from ..proxy.endpoint import Endpoint, Manners
from .exchange import Close, Exchange, Send

_HEARTBEAT_CHECK = 1.0


class Seat(Manners):
    """A behaviour of :class:`~pytest_connex.proxy.endpoint.Endpoint`: the exchange, on the loop's time.

    Args:
        exchange: Answers.
        interval: Seconds between two updates of a subscription.
    """

    refusal: BaseException | None = None
    on_read: Callable[[], None] | None = None

    def __init__(self, exchange: Exchange, interval: float) -> None:
        self._exchange = exchange
        self._interval = interval
        self._loop = asyncio.get_running_loop()
        self._epoch_ms = time.time_ns() // 1_000_000 - round(self._loop.time() * 1000)
        self._over = False
        self._timer: asyncio.TimerHandle | None = None

    def dialled(self, endpoint: Endpoint, request: Request) -> None:
        """Take the client."""
        self._endpoint = endpoint
        self._session = self._exchange.open_session(self._now_ms())
        endpoint.accept(None, {})
        self._schedule()

    def received(self, message: Payload) -> None:
        """Answer."""
        # Nonces are made by the client from the clock on the wall, whatever time the loop has.
        self._say(self._session.receive(message, self._now_ms(), time.time_ns() // 1_000_000))
        self._schedule()

    def came_late(self, message: Payload) -> None:
        """An exchange that has closed does not listen."""

    def writable(self) -> None:
        """A sandbox does not slow down for its client."""

    def ended(self, code: int, reason: str) -> None:
        """The client is gone."""
        self._stop()

    def _now_ms(self) -> int:
        return self._epoch_ms + round(self._loop.time() * 1000)

    def _schedule(self) -> None:
        if self._timer is None and not self._over:
            delay = self._interval if self._session.streaming else min(self._interval, _HEARTBEAT_CHECK)
            self._timer = self._loop.call_later(delay, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._say(self._session.tick(self._now_ms()))
        self._schedule()

    def _say(self, messages: list[Send | Close]) -> None:
        for message in messages:
            if self._over:
                return
            if isinstance(message, Close):
                self._stop()
                self._endpoint.close(message.code, message.reason)
            else:
                self._endpoint.send((message.text,))

    def _stop(self) -> None:
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
