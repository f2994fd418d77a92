"""``capture_orderbook``: the notebook's second function, grown up."""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from websockets.asyncio.client import connect as websockets_connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from ..config import API_KEY, API_SECRET, WS_URL, ConnexConfig, live_config, read_environment
from ..errors import AuthenticationError, ConfigError
from ..model import JSON, ErrorEvent
from ..protocol import Dialect, aggregate_summaries, decode_leniently, summarize
from .websocket import NONCES, REJECTED

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

logger = logging.getLogger("pytest_connex.capture")

_RAW_LIMIT = 2048
_EVENT_LIMIT = 1024


@dataclass(frozen=True)
class CaptureResult:
    """What a capture saw; the members are the keys of the notebook's dictionary.

    Attributes:
        status: Whether the wanted number of frames arrived.
        symbol: What was subscribed.
        ws_url: Where.
        attempts: How many connections it took.
        orderbook_messages: Order-book frames: when received, raw text, summary, parsed.
        control_frames: The others, in the same shape.
        events: What happened, in order: ``ts``, ``event``, and details.
        format_summary: Message classes and key sets, counted.
        last_error: The last failure, or None.
    """

    status: Literal["success", "failed"]
    symbol: str
    ws_url: str
    attempts: int
    orderbook_messages: list[dict[str, JSON]]
    control_frames: list[dict[str, JSON]]
    events: list[dict[str, JSON]]
    format_summary: dict[str, JSON]
    last_error: str | None

    def to_dict(self) -> dict[str, JSON]:
        """Return the dictionary that the notebook's ``test_websocket_connection`` returns."""
        return {item.name: getattr(self, item.name) for item in fields(self)}


@dataclass
class _Capture:
    """One capture under way."""

    config: ConnexConfig
    dialect: Dialect
    symbol: str
    depth: int
    goal: int
    timeout: float
    build_authentication: Callable[[str, str], dict[str, JSON]]
    build_subscription: Callable[[str, int], dict[str, JSON]]
    keep_control_frames: bool
    verbose: bool
    events: list[dict[str, JSON]] = field(default_factory=list)
    orderbook: list[dict[str, JSON]] = field(default_factory=list)
    control: list[dict[str, JSON]] = field(default_factory=list)

    def record(self, event: str, **details: JSON) -> None:
        self.events.append({"ts": _utc_now(), "event": event, **details})
        if self.verbose:
            logger.debug("Connex WS %s: %s", event, details or "")

    async def sample(self, connection: ClientConnection) -> None:
        """Authenticate, subscribe, and read until there are enough frames."""
        if self.config.api_key and self.config.api_secret:
            await self._authenticate(connection, self.config.api_key, self.config.api_secret)
        subscription = self.build_subscription(self.symbol, self.depth)
        await connection.send(json.dumps(subscription))
        self.record("subscription_sent", payload=subscription)
        await self._answer(connection, "subscription_response")
        while len(self.orderbook) < self.goal:
            async with asyncio.timeout(self.timeout):
                raw = await connection.recv()
            self._take(raw)
        self.record("sample_goal_reached", count=len(self.orderbook))

    async def _authenticate(self, connection: ClientConnection, api_key: str, api_secret: str) -> None:
        message = self.build_authentication(api_key, api_secret)
        nonce = message["data"].get("nonce")
        redacted = {**message, "data": {"apiKey": "***", "nonce": nonce, "signature": "***"}}
        await connection.send(json.dumps(message))
        self.record("auth_sent", payload=redacted)
        answer = await self._answer(connection, "auth_response")
        if isinstance(answer, dict) and answer.get("event") == "error":
            event = ErrorEvent(code=_text(answer.get("code")), message=_text(answer.get("message")))
            error = self.dialect.error_from(event)
            if isinstance(error, AuthenticationError):
                raise error

    async def _answer(self, connection: ClientConnection, event: str) -> JSON:
        try:
            async with asyncio.timeout(self.timeout):
                raw = await connection.recv()
        except TimeoutError:
            self.record(f"{event}_timeout")
            return None
        frame = self._keep(raw)
        self.record(event, summary=frame["summary"], raw=_truncate(raw, _EVENT_LIMIT))
        return frame["parsed"]

    def _take(self, raw: str | bytes) -> None:
        summary = self._keep(raw)["summary"]
        if summary["classification"] == "orderbook":
            lists = summary.get("list_fields", {})
            bids, asks = (lists.get(side, {}).get("length") for side in ("bids", "asks"))
            self.record("orderbook_frame", bid_depth=bids, ask_depth=asks)
        else:
            self.record("non_orderbook_frame", classification=summary["classification"])

    def _keep(self, raw: str | bytes) -> dict[str, JSON]:
        parsed = decode_leniently(raw)
        frame = {
            "received_at": _utc_now(),
            "raw": _truncate(raw, _RAW_LIMIT),
            "summary": summarize(parsed),
            "parsed": parsed,
        }
        if frame["summary"]["classification"] == "orderbook":
            self.orderbook.append(frame)
        elif self.keep_control_frames:
            self.control.append(frame)
        return frame


async def capture_orderbook(
    *,
    symbol: str = "ETH/USDT",
    depth: int = 50,
    sample_messages: int = 5,
    max_retries: int = 3,
    base_retry_delay: float = 5.0,
    timeout: float = 30.0,
    auth_message_builder: Callable[[str, str], dict[str, JSON]] | None = None,
    subscription_builder: Callable[[str, int], dict[str, JSON]] | None = None,
    capture_control_frames: bool = True,
    verbose: bool = True,
    config: ConnexConfig | None = None,
    dialect: Dialect | None = None,
    connect: Callable[..., Any] = websockets_connect,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> CaptureResult:
    """Subscribe to an order book and collect messages [N].

    It is the notebook's function with one difference: credentials that the gateway rejects raise at once and
    are not tried again, where the notebook cannot tell a rejection from other answers and goes on.

    Args:
        symbol: What to subscribe to.
        depth: How many levels a side.
        sample_messages: How many order-book messages to collect.
        max_retries: How many connections to try.
        base_retry_delay: Seconds; attempt *k* is followed by *k* times this.
        timeout: How long to wait for one message, in seconds.
        auth_message_builder: Makes the authentication message from key and secret.
        subscription_builder: Makes the subscription message from symbol and depth.
        capture_control_frames: Whether to keep other messages too.
        verbose: Whether to log events, at DEBUG.
        config: Where and who; from the environment and ``.env`` where it is None.
        dialect: What is said.
        connect: Stands in for ``websockets.connect``.
        sleep: Waits between attempts.

    Returns:
        What was seen; ``status`` is ``"failed"`` when every attempt was used up.

    Raises:
        ConfigError: A variable or an argument cannot be used; all are named.
        AuthenticationError: The credentials were rejected.
    """
    config = config or live_config(read_environment(Path(".env")))
    dialect = dialect or Dialect()
    _check_arguments(depth, sample_messages, max_retries, base_retry_delay, timeout)
    config.require(WS_URL)
    if config.half_credentials():
        raise ConfigError(f"{API_KEY} and {API_SECRET} must both be set or both be empty")
    capture = _Capture(
        config=config,
        dialect=dialect,
        symbol=symbol,
        depth=depth,
        goal=sample_messages,
        timeout=timeout,
        build_authentication=auth_message_builder
        or (lambda key, secret: dialect.authenticate(key, secret, NONCES.next(key))),
        build_subscription=subscription_builder or dialect.subscribe,
        keep_control_frames=capture_control_frames,
        verbose=verbose,
    )
    capture.record("start", symbol=symbol, depth=depth, requires_auth=config.has_credentials)
    status: Literal["success", "failed"] = "failed"
    last_error: str | None = None
    attempt = 0
    for attempt in range(1, max_retries + 1):
        failure = await _attempt(capture, connect, attempt)
        if failure is None:
            status = "success"
            break
        last_error = failure
        if attempt < max_retries:
            delay = base_retry_delay * attempt
            capture.record("reconnect_scheduled", attempt=attempt, delay_seconds=delay)
            await sleep(delay)
    capture.record(
        "completed",
        status=status,
        orderbook_frames=len(capture.orderbook),
        control_frames=len(capture.control),
        last_error=last_error,
    )
    return CaptureResult(
        status=status,
        symbol=symbol,
        ws_url=config.ws_url,
        attempts=attempt,
        orderbook_messages=capture.orderbook,
        control_frames=capture.control,
        events=capture.events,
        format_summary=aggregate_summaries(capture.orderbook),
        last_error=last_error,
    )


async def _attempt(capture: _Capture, connect: Callable[..., Any], attempt: int) -> str | None:
    """Try one connection; return what went wrong, or None."""
    dialect, url = capture.dialect, capture.config.ws_url
    try:
        capture.record("connecting", attempt=attempt, url=url)
        async with connect(url, ping_interval=dialect.ping_interval, ping_timeout=dialect.ping_timeout) as connection:
            capture.record("connected", attempt=attempt)
            await capture.sample(connection)
    except ConnectionClosed as exc:
        if exc.rcvd is not None and exc.rcvd.code == REJECTED:
            raise AuthenticationError(f"Connex rejected the credentials: {exc.rcvd.reason}", exc.rcvd.reason) from exc
        capture.record("connection_closed", attempt=attempt, reason=str(exc))
        return f"connection_closed: {exc}"
    except TimeoutError as exc:
        capture.record("timeout", attempt=attempt, message=str(exc))
        return f"timeout: {exc}"
    except AuthenticationError:
        raise
    except InvalidStatus as exc:
        if exc.response.status_code == HTTPStatus.UNAUTHORIZED:
            raise AuthenticationError("Connex rejected the WebSocket handshake with 401") from exc
        capture.record("error", attempt=attempt, error=repr(exc))
        return repr(exc)
    except Exception as exc:  # noqa: BLE001  (the notebook counts any failure as one of the attempt)
        capture.record("error", attempt=attempt, error=repr(exc))
        return repr(exc)
    return None


def _check_arguments(depth: int, sample_messages: int, max_retries: int, delay: float, timeout: float) -> None:
    counts = {"depth": depth, "sample_messages": sample_messages, "max_retries": max_retries}
    seconds = {"base_retry_delay": delay, "timeout": timeout}
    problems = [
        f"{name} must be a whole number above zero, not {value!r}"
        for name, value in counts.items()
        if type(value) is not int or value < 1
    ]
    problems += [
        f"{name} must be a number of seconds, zero or more, not {value!r}"
        for name, value in seconds.items()
        if type(value) not in (int, float) or not math.isfinite(value) or value < 0
    ]
    if problems:
        raise ConfigError("capture_orderbook cannot run:\n  " + "\n  ".join(problems))


def _text(value: JSON) -> str | None:
    return value if isinstance(value, str) else None


def _truncate(value: str | bytes, limit: int) -> str | bytes:
    if len(value) <= limit:
        return value
    return f"{value[:limit]!s}... (+{len(value) - limit} chars)"


def _utc_now() -> str:
    return datetime.now(UTC).isoformat()
