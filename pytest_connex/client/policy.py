"""What both REST clients share: when to try again, and who may see the credentials."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from urllib3.util import Retry

from ..config import ConnexConfig, origin
from ..model import JSON
from ..protocol import Dialect, decode_json

RETRIED_STATUSES = frozenset({429, 500, 502, 503, 504})


class Patience(Retry):
    """urllib3's retry policy, with the sleep as a parameter."""

    def __init__(self, *args: Any, wait: Callable[[float], object], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.wait = wait

    def new(self, **kwargs: Any) -> Self:
        """Return a copy with some values changed, as urllib3 asks after each attempt."""
        return super().new(wait=self.wait, **kwargs)

    def sleep(self, response: Any = None) -> None:
        """Wait as long as the answer or the back-off says."""
        if seconds := self.seconds(response):
            self.wait(seconds)

    def seconds(self, response: Any = None) -> float:
        """Return how long to wait before the next attempt."""
        named = self.get_retry_after(response) if response is not None and self.respect_retry_after_header else None
        return named or self.get_backoff_time()


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
        self._names = (dialect.key_header, dialect.secret_header)
        self._headers = (
            dialect.rest_headers(config.api_key, config.api_secret) if config.api_key and config.api_secret else {}
        )

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
