"""REST on httpx: the asynchronous twin of :mod:`pytest_connex.client.rest`, behind the extra ``httpx``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from ..config import REST_URL, ConnexConfig, mask_key
from ..model import JSON, Snapshot
from ..protocol import Dialect
from .policy import Credentials, Patience, checked, patience, whole_book


class _Retrying(httpx.AsyncBaseTransport):
    """Tries again by urllib3's policy, so that both clients wait alike."""

    def __init__(self, policy: Patience, sleep: Callable[[float], Awaitable[object]]) -> None:
        self._inner = httpx.AsyncHTTPTransport()
        self._policy = policy
        self._sleep = sleep

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        left = self._policy
        while True:
            try:
                response = await self._inner.handle_async_request(request)
            except httpx.TransportError as exc:
                if left.total == 0 or not left.repeats(request.method):
                    raise
                left = left.increment(request.method, str(request.url), error=_as_read_error(exc))
                await self._rest(left.seconds())
                continue
            retry_after = "Retry-After" in response.headers
            if left.total == 0 or not left.is_retry(request.method, response.status_code, retry_after):
                return response
            await response.aread()
            await response.aclose()
            left = left.increment(request.method, str(request.url))
            await self._rest(left.seconds(response))

    async def _rest(self, seconds: float) -> None:
        if seconds:
            await self._sleep(seconds)

    async def aclose(self) -> None:
        await self._inner.aclose()


def _as_read_error(exc: Exception) -> Exception:
    from urllib3.exceptions import ProtocolError

    return ProtocolError(str(exc))


class ConnexRestAsync(httpx.AsyncClient):
    """An ``httpx.AsyncClient`` on Connex's REST API, with the behaviour of :class:`~.rest.ConnexRest`.

    Args:
        config: Where, who, time-out and retries.
        dialect: Paths and headers.
        sleep: Waits between retries; an asynchronous callable that takes seconds.

    Raises:
        ConfigError: The base URL is not set.
    """

    def __init__(
        self,
        config: ConnexConfig,
        dialect: Dialect | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        config.require(REST_URL)
        self.config = config
        self.dialect = dialect or Dialect()
        self._credentials = Credentials(config, self.dialect)
        super().__init__(
            base_url=config.rest_url,
            headers={"Accept": "application/json", "User-Agent": self.dialect.user_agent},
            timeout=config.timeout,
            follow_redirects=True,
            transport=_Retrying(patience(config, lambda seconds: None), sleep),
            event_hooks={"request": [self._authenticate]},
        )

    def __repr__(self) -> str:
        return f"ConnexRestAsync({self.config.rest_url!r}, key={mask_key(self.config.api_key)!r})"

    async def _authenticate(self, request: httpx.Request) -> None:
        """Runs before every request, that of a redirect too."""
        self._credentials.apply(str(request.url), request.headers)

    def check(self, response: httpx.Response) -> JSON:
        """Return the JSON of an answer; raises like :meth:`.rest.ConnexRest.check`."""
        retry_after = response.headers.get("Retry-After")
        return checked(response.status_code, response.text, retry_after, str(response.url), self.dialect)

    async def status(self) -> JSON:
        """Return the gateway's status."""
        return self.check(await self.get(self.dialect.status_path))

    async def symbols(self, exchange: str | None = None) -> JSON:
        """Return what is traded, on one exchange or on all."""
        parameters: dict[str, Any] = {"exchange": exchange} if exchange else {}
        return self.check(await self.get(self.dialect.symbols_path, params=parameters))

    async def orderbook(self, exchange: str, symbol: str, depth: int = 20) -> Snapshot:
        """Return an order book with ``depth`` levels a side."""
        path = self.dialect.orderbook_path(exchange, symbol)
        return whole_book(self.check(await self.get(path, params={"depth": depth})), path, self.dialect)
