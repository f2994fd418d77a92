"""REST on requests: a session that knows where Connex is, who is asking, and when to try again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

from ..config import REST_URL, ConnexConfig, mask_key
from ..model import JSON, Snapshot
from ..protocol import Dialect
from .policy import Credentials, checked, patience, whole_book

_POSITION_OF_TIMEOUT = 6
"""Where ``requests.Session.request`` takes it, behind method and URL."""


class _OriginAuth(AuthBase):
    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        self._credentials.apply(request.url or "", request.headers)
        return request


class ConnexRest(requests.Session):
    """A ``requests.Session`` on Connex's REST API.

    URLs may be paths: they are joined to the configured base. The credentials travel to the configured origin
    only, also across redirects. Requests with idempotent methods are tried again after 429, 500, 502, 503,
    504 and failed connections, as long as ``Retry-After`` or the back-off says; the last answer is returned.

    Args:
        config: Where, who, time-out and retries.
        dialect: Paths and headers.
        sleep: Waits between retries; takes seconds.

    Raises:
        ConfigError: The base URL is not set.
    """

    def __init__(
        self,
        config: ConnexConfig,
        dialect: Dialect | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        super().__init__()
        config.require(REST_URL)
        self.config = config
        self.dialect = dialect or Dialect()
        self._credentials = Credentials(config, self.dialect)
        self.auth = _OriginAuth(self._credentials)
        self.headers.update({"Accept": "application/json", "User-Agent": self.dialect.user_agent})
        adapter = HTTPAdapter(max_retries=patience(config, sleep))
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    def __repr__(self) -> str:
        return f"ConnexRest({self.config.rest_url!r}, key={mask_key(self.config.api_key)!r})"

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a request; ``url`` may be a path, ``timeout`` defaults to the configured one."""
        target = url.decode() if isinstance(url, bytes) else url
        if not urlsplit(target).scheme:
            target = f"{self.config.rest_url}/{target.lstrip('/')}"
        if len(args) <= _POSITION_OF_TIMEOUT:
            kwargs.setdefault("timeout", self.config.timeout)
        return super().request(method, target, *args, **kwargs)

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """Keep the credentials at their origin when a redirect leads elsewhere."""
        super().rebuild_auth(prepared_request, response)  # type: ignore[no-untyped-call]
        self._credentials.apply(prepared_request.url or "", prepared_request.headers)

    def check(self, response: requests.Response) -> JSON:
        """Return the JSON of an answer.

        Raises:
            AuthenticationError: The credentials were rejected (401).
            RateLimitError: Too many requests (429).
            RequestError: Any other error status.
            DataFormatError: The body is not JSON.
        """
        retry_after = response.headers.get("Retry-After")
        return checked(response.status_code, response.text, retry_after, response.url, self.dialect)

    def status(self) -> JSON:
        """Return the gateway's status."""
        return self.check(self.get(self.dialect.status_path))

    def symbols(self, exchange: str | None = None) -> JSON:
        """Return what is traded, on one exchange or on all."""
        return self.check(self.get(self.dialect.symbols_path, params={"exchange": exchange} if exchange else None))

    def orderbook(self, exchange: str, symbol: str, depth: int = 20) -> Snapshot:
        """Return an order book with ``depth`` levels a side."""
        path = self.dialect.orderbook_path(exchange, symbol)
        return whole_book(self.check(self.get(path, params={"depth": depth})), path, self.dialect)
