"""What both REST clients share: when to try again, and who may see the credentials."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

from urllib3.exceptions import InvalidHeader, MaxRetryError
from urllib3.util import Retry

from ..config import ConnexConfig, origin
from ..errors import DataFormatError
from ..model import JSON, Snapshot
from ..protocol import Dialect, decode_json

RETRIED_STATUSES = frozenset({429, 500, 502, 503, 504})


class Patience(Retry):
    """urllib3's retry policy, with the sleep as a parameter, waits that grow evenly, and no repeated ``POST``."""

    def __init__(self, *args: Any, wait: Callable[[float], object], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.wait = wait

    def new(self, **kwargs: Any) -> Self:
        """Return a copy with some values changed, as urllib3 asks after each attempt."""
        return super().new(wait=self.wait, **kwargs)

    def increment(self, method: str | None = None, url: str | None = None, *args: Any, **kwargs: Any) -> Self:
        """Count an attempt; urllib3 itself repeats any method after a failed connection.

        Raises:
            MaxRetryError: There is no attempt left, or the method may have had an effect.
        """
        error = kwargs.get("error") or (args[1] if len(args) > 1 else None)
        if error is not None and not self.repeats(method):
            pool: Any = kwargs.get("_pool")
            raise MaxRetryError(pool, url or "", error)
        return super().increment(method, url, *args, **kwargs)

    def repeats(self, method: str | None) -> bool:
        """Tell whether requests with ``method`` may be sent again."""
        return (method or "").upper() in (self.allowed_methods or ())

    def sleep(self, response: Any = None) -> None:
        """Wait as long as the answer or the back-off says."""
        if seconds := self.seconds(response):
            self.wait(seconds)

    def seconds(self, response: Any = None) -> float:
        """Return how long to wait before the next attempt; what ``Retry-After`` says comes first."""
        named = None
        if response is not None and self.respect_retry_after_header:
            with suppress(InvalidHeader, ValueError):  # or it has more digits than Python reads
                named = self.get_retry_after(response)
        return self.get_backoff_time() if named is None else named

    def get_backoff_time(self) -> float:
        """Return the wait after the last attempt, in seconds: attempt *k* is followed by *k* times the factor."""
        return self.backoff_factor * len(self.history)


def patience(config: ConnexConfig, wait: Callable[[float], object]) -> Patience:
    """Return the retry policy of a client: idempotent methods only, ``Retry-After`` honoured."""
    return Patience(
        total=config.max_retries,
        status_forcelist=RETRIED_STATUSES,
        backoff_factor=config.retry_delay,
        raise_on_status=False,
        wait=wait,
    )


class Credentials:
    """Puts the authentication headers on requests to the configured origin, and takes them off all others."""

    def __init__(self, config: ConnexConfig, dialect: Dialect) -> None:
        self._origin = origin(config.rest_url)
        self._headers = (
            dialect.rest_headers(config.api_key, config.api_secret) if config.api_key and config.api_secret else {}
        )
        self._names = (dialect.key_header, dialect.secret_header, *self._headers)

    def apply(self, url: str, headers: Any) -> None:
        """Make ``headers`` of a request to ``url`` right."""
        for name in self._names:
            headers.pop(name, None)
        if origin(url) == self._origin:
            headers.update(self._headers)


def checked(status: int, text: str, retry_after: str | None, url: str, dialect: Dialect) -> JSON:
    """Return the JSON of an answer.

    Raises:
        ConnexError: It is an error, or not JSON.
    """
    if status >= 400:
        raise dialect.rest_error(status, text, retry_after, url)
    return decode_json(text)


def whole_book(payload: JSON, path: str, dialect: Dialect) -> Snapshot:
    """Return the order book that ``path`` answered with.

    Raises:
        DataFormatError: It is none, or an update to one.
    """
    if not isinstance(payload, dict):
        raise DataFormatError(f"{path} answered with something else than a JSON object")
    book = dialect.parse_orderbook(payload)
    if not isinstance(book, Snapshot):
        raise DataFormatError(f"{path} answered with an update, expected a whole book")
    return book
