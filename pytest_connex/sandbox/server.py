"""The sandbox on a port: REST and WebSocket of one exchange, for tests in a thread, for the shell in front.

What is said is :mod:`~pytest_connex.sandbox.exchange`'s business, what goes wrong is that of
:mod:`~pytest_connex.faults`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote
from weakref import WeakSet

from ..background import BackgroundLoop
from ..config import ConnexConfig
from ..faults import Faults
from ..protocol import Dialect
from ..proxy.endpoint import Behaviour
from ..proxy.http import Answering, Asked, Refusal, refusal
from ..proxy.messages import phrase
from ..proxy.port import Port
from .exchange import Credentials, Exchange
from .limits import RATE_LIMIT
from .seat import Seat

if TYPE_CHECKING:
    from ..virtual import StandIn

WEBSOCKET_PATH = "/ws"

_NO_REST = Refusal(400, "this is a WebSocket endpoint")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class SandboxServer:
    """An exchange on a host and port, within the running event loop.

    Args:
        exchange: Answers.
        faults: Says what goes wrong instead.
        interval: Seconds between two updates of a subscription.
        host: Where to listen.
        port: On which port; 0 takes a free one.
    """

    def __init__(
        self, exchange: Exchange, faults: Faults, interval: float, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self._exchange = exchange
        self._interval = interval
        self._port = Port(self._rest, self._websocket, faults, host, port)

    async def start(self) -> int:
        """Listen, and return the port.

        Raises:
            ConfigError: The port cannot be had.
        """
        return await self._port.start()

    async def stop(self) -> None:
        """Stop listening and drop what is connected."""
        await self._port.stop()

    def drop(self) -> None:
        """Abort every WebSocket connection, without a close frame."""
        self._port.drop()

    async def _rest(self, asked: Asked, answering: Answering) -> None:
        path = unquote(asked.path)
        if path == WEBSOCKET_PATH:
            answering.refuse(_NO_REST)
            return
        # Of a name that is there twice, the first value counts.
        query = dict(reversed(parse_qsl(asked.query, keep_blank_values=True)))
        headers = {name: _as_utf_8(value) for name, value in reversed(asked.headers)}
        answer = self._exchange.rest(asked.method, path, query, headers, _now_ms())
        written = [*answer.headers.items(), ("Content-Type", "application/json; charset=utf-8")]
        await answering.whole(answer.status, phrase(answer.status), written, answer.body.encode())

    def _websocket(self, asked: Asked) -> Behaviour | Refusal:
        if unquote(asked.path) != WEBSOCKET_PATH:
            return refusal(404, f"the WebSocket is at {WEBSOCKET_PATH}")
        return Seat(self._exchange, self._interval)


def _as_utf_8(value: str) -> str:
    """Return a header as UTF-8 has it, with surrogates for what is none."""
    return value.encode("latin-1").decode("utf-8", "surrogateescape")


class Sandbox:
    """An exchange of a test's own, served from a background thread.

    Args:
        seed: Makes keys and markets.
        interval: Seconds between two updates.
        dialect: What is said, and how.
        rate_limit: REST requests a minute that each key may make.
        clock_skew: Seconds by which its clock is ahead; below zero it is behind.

    Attributes:
        exchange: What it says.
        faults: What it does wrong.
        interval: Seconds between two updates.

    Raises:
        ConfigError: The dialect cannot be served, the limit is below 1, or the skew is no number of seconds.
    """

    def __init__(
        self,
        seed: int = 7,
        interval: float = 0.05,
        dialect: Dialect | None = None,
        rate_limit: int = RATE_LIMIT,
        clock_skew: float = 0.0,
    ) -> None:
        self.seed = seed
        self.interval = interval
        self.faults = Faults(seed)
        self.exchange = Exchange(seed, dialect, rate_limit, clock_skew)
        self._credentials = self.exchange.new_credentials()
        self._server = SandboxServer(self.exchange, self.faults, interval)
        self._stand_ins: WeakSet[SandboxServer] = WeakSet()
        self._background = BackgroundLoop("connex-sandbox")
        self._port = 0

    def __repr__(self) -> str:
        return f"Sandbox(seed={self.seed}, interval={self.interval}, port={self._port or 'not started'})"

    @property
    def rest_url(self) -> str:
        """Base URL of its REST API."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def ws_url(self) -> str:
        """URL of its WebSocket."""
        return f"ws://127.0.0.1:{self._port}{WEBSOCKET_PATH}"

    @property
    def api_key(self) -> str:
        """A key it knows."""
        return self._credentials.api_key

    @property
    def api_secret(self) -> str:
        """The key's secret."""
        return self._credentials.api_secret

    @property
    def config(self) -> ConnexConfig:
        """Where it is and whom it knows."""
        return ConnexConfig(
            mode="sandbox",
            rest_url=self.rest_url,
            ws_url=self.ws_url,
            api_key=self.api_key,
            api_secret=self.api_secret,
        )

    @property
    def dialect(self) -> Dialect:
        """What is said, and how. Another one counts for requests and connections from then on."""
        return self.exchange.dialect

    @dialect.setter
    def dialect(self, dialect: Dialect) -> None:
        self.exchange.dialect = dialect

    @property
    def rate_limit(self) -> int:
        """REST requests a minute that each key may make; setting it begins every count anew."""
        return self.exchange.rate_limit

    @rate_limit.setter
    def rate_limit(self, limit: int) -> None:
        self.exchange.rate_limit = limit

    @property
    def clock_skew(self) -> float:
        """Seconds by which its clock is ahead; below zero it is behind. It may be set at any time."""
        return self.exchange.clock_skew

    @clock_skew.setter
    def clock_skew(self, seconds: float) -> None:
        self.exchange.clock_skew = seconds

    def new_credentials(self) -> Credentials:
        """Make another key, for a client whose nonces must not meet those of others."""
        return self.exchange.new_credentials()

    def stand_ins(self) -> dict[int, Callable[[], StandIn]]:
        """Return what serves its port on the loop of a virtual clock, in the time of that loop."""

        def made() -> SandboxServer:
            server = SandboxServer(self.exchange, self.faults, self.interval)
            self._stand_ins.add(server)
            return server

        return {self._port: made}

    def drop_connections(self) -> None:
        """Abort every WebSocket connection, without a close frame."""
        self._background.call(self._server.drop)
        for server in list(self._stand_ins):
            server.drop()

    def start(self) -> Sandbox:
        """Start serving on a free port of 127.0.0.1."""
        self._background.start()
        self._port = self._background.run(self._server.start())
        return self

    def stop(self) -> None:
        """Stop serving. Calling it again does nothing."""
        if self._port:
            self._background.run(self._server.stop())
            self._port = 0
        self._background.stop()

    def __enter__(self) -> Sandbox:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()
