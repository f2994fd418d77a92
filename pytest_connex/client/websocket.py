"""A WebSocket client of Connex: authenticate, subscribe, read typed frames, reconnect.

The connection is that of ``websockets``, or of whatever stands in for its ``connect``; this class adds what
Connex says and expects.
"""

from __future__ import annotations

import asyncio
import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

from websockets.asyncio.client import connect as websockets_connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from ..config import API_KEY, API_SECRET, WS_URL, ConnexConfig, mask_key
from ..errors import AuthenticationError, ConfigError, ConnectionLost, DataFormatError, LoopScopeError
from ..model import JSON, Authenticated, ErrorEvent, Frame, Pong, Subscribed, Unsubscribed
from ..protocol import NONCE_WINDOW_MS, Dialect, excerpt

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

_NORMAL = (1000, 1001)
_FAREWELL = 1.0  # seconds
_NONCES_KEPT = 10_000
"""So many nonces of a key are remembered, those of the latest moments."""
REJECTED = 4001
"""The close code after rejected credentials [S]."""
_Answer = TypeVar("_Answer", Authenticated, Subscribed, Unsubscribed, Pong)


class Nonces:
    """Makes nonces: the time in epoch milliseconds, but always above the last one of the same key.

    What was used far ahead of the clock, half as far as a gateway lets a nonce be from its own, belongs to another
    clock, as tests have that freeze time, and does not count as the last. So nonces rise as long as the clock is not
    set back by more than that (15 s), and none is used twice where a clock comes to a moment again.
    """

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._used: dict[str, list[int]] = {}
        self._lock = threading.Lock()

    def next(self, api_key: str) -> str:
        """Return a nonce for ``api_key``, in decimal digits."""
        with self._lock:
            now = self._now_ms()
            used = self._used.setdefault(api_key, [])
            place = bisect_left(used, now + NONCE_WINDOW_MS // 2)
            nonce = max(now, used[place - 1] + 1) if place else now
            while place < len(used) and used[place] == nonce:
                place, nonce = place + 1, nonce + 1
            used.insert(place, nonce)
            del used[:-_NONCES_KEPT]
        return str(nonce)


NONCES = Nonces(lambda: time.time_ns() // 1_000_000)
"""The nonces of this process: a key's nonces must rise over all its connections."""


class _Subscription(NamedTuple):
    symbol: str
    depth: int
    exchange: str | None


class ConnexWebSocket:
    """One WebSocket session, over as many connections as it takes.

    Args:
        config: Where, who, time-outs and retries.
        dialect: What is said.
        connect: Stands in for ``websockets.connect``.
        nonces: Makes nonces.
        sleep: Waits between attempts to reconnect; an asynchronous callable that takes seconds.

    Attributes:
        connections: How many it has opened so far.

    Raises:
        ConfigError: The URL is not set.
    """

    def __init__(
        self,
        config: ConnexConfig,
        dialect: Dialect | None = None,
        connect: Callable[..., Awaitable[ClientConnection]] | None = None,
        nonces: Nonces = NONCES,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        config.require(WS_URL)
        self.config = config
        self.dialect = dialect or Dialect()
        self.connections = 0
        self._connect = connect or websockets_connect
        self._nonces = nonces
        self._sleep = sleep
        self._connection: ClientConnection | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: deque[Frame] = deque()
        self._subscriptions: dict[_Subscription, None] = {}  # in their order

    def __repr__(self) -> str:
        state = "open" if self._connection is not None else "not open"
        return f"ConnexWebSocket({self.config.ws_url!r}, {state}, key={mask_key(self.config.api_key)!r})"

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    # the connection

    async def open(self) -> None:
        """Connect, and authenticate when there are credentials.

        Raises:
            ConfigError: Exactly one of key and secret is set.
            AuthenticationError: The credentials were rejected.
            ConnectionLost: There is no connection to be had, or it closed.
        """
        if absent := self.config.half_credentials():
            raise ConfigError(f"{API_KEY} and {API_SECRET} must both be set or both be unset: {absent[0]} is not set")
        self._connection = await self._dial()
        self.connections += 1
        self._loop = asyncio.get_running_loop()
        if self.config.api_key and self.config.api_secret:
            try:
                await self._authenticate(self.config.api_key, self.config.api_secret)
            except AuthenticationError:
                await self._let_it_close(self._connection)
                await self.close()
                raise
            except BaseException:
                await self.close()
                raise

    async def close(self) -> None:
        """Close the connection; closing again does nothing."""
        if self._connection is None:
            return
        connection = self._usable()
        self._connection = None
        await connection.close()

    async def reconnect(self) -> None:
        """Open another connection in place of this one, and subscribe again to what was subscribed.

        Raises:
            AuthenticationError: The credentials were rejected; at once.
            ConnectionLost: Every attempt failed.
        """
        attempts = max(1, self.config.max_retries)
        for attempt in range(1, attempts + 1):
            self._waiting.clear()  # what an earlier connection said is of no use to the next
            try:
                await self.close()
                await self.open()
                for subscription in self._subscriptions:
                    await self._subscribe(subscription)
                return
            except (ConnectionLost, TimeoutError):
                if attempt == attempts:
                    raise
                await self._sleep(self.config.retry_delay * attempt)

    # what is said

    async def subscribe(self, symbol: str, depth: int = 50, exchange: str | None = None) -> Subscribed:
        """Subscribe to an order book with ``depth`` levels a side, and return the answer.

        A symbol may be subscribed to on several exchanges and at several depths. Frames that arrive before the answer
        are kept and come next.

        Args:
            symbol: For example ``ETH/USDT``.
            depth: The levels a side.
            exchange: Whose book it is; without it the gateway chooses.

        Raises:
            SubscriptionError: The gateway refused.
        """
        subscription = _Subscription(symbol, depth, exchange)
        answer = await self._subscribe(subscription)
        self._subscriptions[subscription] = None
        return answer

    async def unsubscribe(self, symbol: str, depth: int | None = None, exchange: str | None = None) -> Unsubscribed:
        """End a subscription, and return the answer; depth and exchange say which, where there are several.

        Raises:
            SubscriptionError: The gateway refused.
        """
        named: dict[str, JSON] = {"exchange": exchange, "depth": depth}
        told = {name: value for name, value in named.items() if value is not None}
        await self.send(self.dialect.unsubscribe(symbol, **told))
        answer = await self._answer(Unsubscribed)
        self._forget(symbol, depth or answer.depth, exchange or answer.exchange)
        return answer

    async def ping(self, id: JSON) -> Pong:
        """Send an application-level ping, and return its pong."""
        await self.send(self.dialect.ping(id))
        return await self._answer(Pong)

    async def send(self, message: dict[str, JSON]) -> None:
        """Send any message."""
        connection = self._usable()
        try:
            await connection.send(self.dialect.encode(message))
        except ConnectionClosed as exc:
            raise _lost(exc) from exc

    # what is heard

    async def recv(self, timeout: float | None = None) -> Frame:
        """Return the next frame.

        Args:
            timeout: How long to wait, in seconds; the configured time where it is None.

        Raises:
            DataFormatError: It is no frame; the connection stays usable.
            TimeoutError: None came in time.
            ConnectionLost: The connection closed.
        """
        if self._waiting:
            return self._waiting.popleft()
        return self.dialect.parse(await self._recv(timeout))

    async def recv_text(self, timeout: float | None = None) -> str:
        """Return the next message as it came. Frames kept by :meth:`subscribe` are not seen here."""
        message = await self._recv(timeout)
        if isinstance(message, bytes):
            raise DataFormatError(f"a binary message of {len(message)} bytes, expected text")
        return message

    async def __aiter__(self) -> AsyncIterator[Frame]:
        """Yield frames until the connection closes normally (1000 or 1001)."""
        while True:
            try:
                frame = await self.recv()
            except ConnectionLost as exc:
                if exc.code in _NORMAL:
                    return
                raise
            yield frame

    async def frames(self) -> AsyncIterator[Frame]:
        """Yield frames for ever: a lost connection is opened and subscribed again."""
        while True:
            try:
                frame = await self.recv()
            except ConnectionLost:
                await self.reconnect()
            else:
                yield frame

    # inside

    async def _dial(self) -> ClientConnection:
        try:
            return await self._connect(
                self.config.ws_url,
                ping_interval=self.dialect.ping_interval,
                ping_timeout=self.dialect.ping_timeout,
            )
        except InvalidStatus as exc:
            status = exc.response.status_code
            if status in (401, 403):
                raise AuthenticationError(f"Connex rejected the WebSocket handshake with {status}") from exc
            raise ConnectionLost(f"Connex answered the WebSocket handshake with {status}", status) from exc
        except (OSError, InvalidHandshake, EOFError) as exc:
            raise ConnectionLost(f"no connection to {self.config.ws_url}: {exc}") from exc

    async def _let_it_close(self, connection: ClientConnection) -> None:
        """Leave the gateway the first word after a rejection: it closes with a code of its own [S]."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL):
                await connection.wait_closed()

    async def _authenticate(self, api_key: str, api_secret: str) -> None:
        nonce = self._nonces.next(api_key)
        try:
            await self.send(self.dialect.authenticate(api_key, api_secret, nonce))
            await self._answer(Authenticated)
        except ConnectionLost as exc:
            if exc.code == REJECTED:
                raise AuthenticationError(f"Connex rejected the credentials: {exc.reason}", exc.reason) from exc
            raise

    async def _subscribe(self, subscription: _Subscription) -> Subscribed:
        symbol, depth, exchange = subscription
        told = {} if exchange is None else {"exchange": exchange}
        await self.send(self.dialect.subscribe(symbol, depth, **told))
        return await self._answer(Subscribed)

    def _forget(self, symbol: str, depth: int | None, exchange: str | None) -> None:
        """Subscribe no more to what has ended: what fits best to what is known of it."""
        fitting = [held for held in self._subscriptions if held.symbol == symbol and depth in (None, held.depth)]
        exact = [held for held in fitting if held.exchange == exchange]
        for held in exact or [held for held in fitting if None in (exchange, held.exchange)]:
            del self._subscriptions[held]

    async def _answer(self, kind: type[_Answer]) -> _Answer:
        """Read until an answer of ``kind``, keeping the frames before it."""
        kept: list[Frame] = []
        try:
            while True:
                frame = self.dialect.parse(await self._recv(None))
                if isinstance(frame, kind):
                    return frame
                if isinstance(frame, ErrorEvent):
                    raise self.dialect.error_from(frame)
                kept.append(frame)
        finally:
            self._waiting.extend(kept)

    async def _recv(self, timeout: float | None) -> str | bytes:
        connection = self._usable()
        seconds = self.config.ws_timeout if timeout is None else timeout
        try:
            async with asyncio.timeout(seconds):
                return await connection.recv()
        except TimeoutError as exc:
            raise TimeoutError(f"no message from {self.config.ws_url} within {seconds:g} s") from exc
        except ConnectionClosed as exc:
            raise _lost(exc) from exc

    def _usable(self) -> ClientConnection:
        if self._connection is None:
            raise ConnectionLost("this WebSocket is not open: call open(), or use it as a context manager")
        if asyncio.get_running_loop() is not self._loop:
            raise LoopScopeError(
                "this WebSocket was opened on another event loop than the one it is used from. Fixture and test must "
                'share one: mark the test @pytest.mark.asyncio(loop_scope="function"), or set '
                "asyncio_default_fixture_loop_scope to the loop_scope of the test"
            )
        return self._connection


def _lost(exc: ConnectionClosed) -> ConnectionLost:
    frame: Any = exc.rcvd or exc.sent
    code = frame.code if frame is not None else 1006
    reason = frame.reason if frame is not None else ""
    return ConnectionLost(f"the WebSocket closed with {code}: {excerpt(reason) or 'no reason given'}", code, reason)
