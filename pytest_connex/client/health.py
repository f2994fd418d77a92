"""``check_health``: the notebook's first function, grown up."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..config import API_KEY, API_SECRET, REST_URL, ConnexConfig, live_config, mask_key, mask_secret, read_environment
from ..errors import DataFormatError
from ..model import JSON
from ..protocol import Dialect, decode_json

if TYPE_CHECKING:
    import requests


@dataclass(frozen=True)
class HealthResult:
    """What the status endpoint answered.

    Attributes:
        timestamp: When, in UTC, ISO 8601.
        url: What was asked.
        latency_ms: How long it took, in milliseconds.
        status_code: The HTTP status.
        payload_type: Whether the body was JSON.
        payload: The body: JSON, or text.
        sanitized_auth_headers: The authentication headers, masked.
    """

    timestamp: str
    url: str
    latency_ms: float
    status_code: int
    payload_type: Literal["json", "text"]
    payload: JSON
    sanitized_auth_headers: dict[str, str]

    def to_dict(self) -> dict[str, JSON]:
        """Return the dictionary that the notebook's ``test_connex_health`` returns."""
        return asdict(self)


def check_health(
    session: requests.Session | None = None,
    timeout: float = 10.0,
    *,
    config: ConnexConfig | None = None,
    dialect: Dialect | None = None,
) -> HealthResult:
    """Ask the status endpoint [N].

    Args:
        session: Sends the request, as it is; one that keeps credentials at their origin is made where there
            is none. A session of the caller's does not follow redirects, which could carry the credentials
            elsewhere. There is one request, as in the notebook: ``latency_ms`` is that of the gateway.
        timeout: How long the request may take, in seconds.
        config: Where and who; from the environment and ``.env`` where it is None.
        dialect: Path and headers.

    Raises:
        ConfigError: A variable is not set or cannot be used; all are named.
        AuthenticationError: The gateway answered 401.
        RequestError: It answered another error status.
        requests.RequestException: It did not answer.
    """
    config = config or live_config(read_environment(Path(".env")))
    dialect = dialect or Dialect()
    config.require(REST_URL, API_KEY, API_SECRET)
    url = f"{config.rest_url}{dialect.status_path}"
    start = time.perf_counter()
    response = _ask(session, url, timeout, config, dialect)
    latency_ms = (time.perf_counter() - start) * 1000.0
    if response.status_code >= 400:
        raise dialect.rest_error(response.status_code, response.text, response.headers.get("Retry-After"), url)
    payload_type, payload = _read(response.text)
    return HealthResult(
        timestamp=datetime.now(UTC).isoformat(),
        url=url,
        latency_ms=round(latency_ms, 2),
        status_code=response.status_code,
        payload_type=payload_type,
        payload=payload,
        sanitized_auth_headers={
            dialect.key_header: mask_key(config.api_key),
            dialect.secret_header: mask_secret(config.api_secret),
        },
    )


def _ask(
    session: requests.Session | None, url: str, timeout: float, config: ConnexConfig, dialect: Dialect
) -> requests.Response:
    if session is None:
        from .rest import ConnexRest

        with ConnexRest(replace(config, max_retries=0), dialect) as client:
            return client.get(url, timeout=timeout)
    headers: dict[str, str | bytes] = {"Accept": "application/json", "User-Agent": dialect.user_agent}
    headers.update(dialect.rest_headers(config.api_key or "", config.api_secret or ""))
    return session.get(url, headers=headers, timeout=timeout, allow_redirects=False)


def _read(text: str) -> tuple[Literal["json", "text"], JSON]:
    try:
        return "json", decode_json(text)
    except DataFormatError:
        return "text", text
