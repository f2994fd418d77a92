"""The exchange behind the sandbox: credentials, sessions, subscriptions, and the REST answers.

A sans-I/O core: it takes a client's messages, requests and clock ticks, and returns what to send. The time
is always given, in epoch milliseconds. What Connex's users have not confirmed is marked [D] (a draft) or [S]
(this sandbox's choice) in :mod:`pytest_connex.protocol`'s terms.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ..errors import DataFormatError
from ..model import JSON
from ..protocol import NONCE_WINDOW_MS, Dialect, decode_json
from .market import Market

EXCHANGES = ("binance", "okx")
SYMBOLS = ("ETH/USDT", "ETH/USDC", "BTC/USDT")
MAX_DEPTH = 100
HEARTBEAT_MS = 5_000
REJECTED = 4001

_RATE_LIMIT = 1_200
_MINUTE_MS = 60_000


class Send(NamedTuple):
    """Send this text."""

    text: str


class Close(NamedTuple):
    """Close the connection."""

    code: int
    reason: str


@dataclass(frozen=True)
class Credentials:
    """A key and a secret that the exchange knows."""

    api_key: str
    api_secret: str = field(repr=False)


class RestAnswer(NamedTuple):
    """An HTTP answer with a JSON body."""

    status: int
    headers: dict[str, str]
    body: str


class Exchange:
    """One exchange: its keys, its markets, its sessions.

    Args:
        seed: Makes keys and markets; two exchanges with the same seed behave alike.
        dialect: How messages are signed and what headers are called.
    """

    def __init__(self, seed: int = 7, dialect: Dialect | None = None) -> None:
        self.seed = seed
        self.dialect = dialect or Dialect()
        self._secrets: dict[str, str] = {}
        self._nonces: dict[str, set[int]] = {}
        self._requests: dict[tuple[str, int], int] = {}

    def new_credentials(self) -> Credentials:
        """Make another key; the first is the same for every exchange of this seed."""
        made = hashlib.sha512(f"{self.seed} {len(self._secrets)}".encode()).hexdigest()
        credentials = Credentials(made[:24], made[24:72])
        self._secrets[credentials.api_key] = credentials.api_secret
        return credentials

    def open_session(self, now_ms: int) -> Session:
        """Accept a WebSocket connection."""
        return Session(self, now_ms)

    def reject(self, data: Mapping[str, JSON], now_ms: int) -> tuple[str, str] | None:
        """Return code and message with which an authentication is rejected [S], or None when it is valid."""
        key, nonce, signature = (data.get(name) for name in ("apiKey", "nonce", "signature"))
        if not (isinstance(key, str) and isinstance(nonce, str) and isinstance(signature, str)):
            return "bad_request", "data must hold apiKey, nonce and signature, each a string"
        secret = self._secrets.get(key)
        if secret is None:
            return "unknown_key", "this key is not known"
        if not hmac.compare_digest(self.dialect.sign(key, secret, nonce).encode(), signature.encode()):
            return "invalid_signature", "the signature is not that of nonce and key"
        if not (nonce.isascii() and nonce.isdecimal()) or abs(int(nonce[:20]) - now_ms) > NONCE_WINDOW_MS:
            return "stale_nonce", "the nonce is more than 30 s from the server's clock"
        used = self._nonces.setdefault(key, set())
        if int(nonce) in used:
            return "reused_nonce", "the nonce was used before"
        used.add(int(nonce))
        return None

    # REST

    def rest(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], now_ms: int
    ) -> RestAnswer:
        """Answer a REST request. Books are the opening ones, before the first update [S]."""
        given = {name.lower(): value for name, value in headers.items()}
        key = given.get(self.dialect.key_header.lower(), "")
        secret = given.get(self.dialect.secret_header.lower(), "")
        known = self._secrets.get(key)
        limits = self._limits(key, now_ms)
        if known is None or not hmac.compare_digest(known.encode(), secret.encode("utf-8", "surrogateescape")):
            return _error(401, "unauthorized", "the credentials were rejected", limits)
        if method != "GET":
            return _error(405, "method_not_allowed", f"{method} is not supported", limits)
        parts = path.strip("/").split("/")
        if path.rstrip("/") == self.dialect.status_path:
            return RestAnswer(200, limits, json.dumps(_status(now_ms)))
        if path.rstrip("/") == self.dialect.symbols_path:
            return self._symbols(query.get("exchange"), limits)
        if parts[:2] == ["v1", "orderbook"] and len(parts) == 4:
            return self._book(parts[2], parts[3], query.get("depth", "20"), now_ms, limits)
        return _error(404, "not_found", f"there is nothing at {path}", limits)

    def _symbols(self, exchange: str | None, limits: dict[str, str]) -> RestAnswer:
        if exchange is not None and exchange not in EXCHANGES:
            return _error(404, "not_found", f"the exchange {exchange} is not known", limits)
        listed = [
            {
                "symbol": symbol,
                "exchange": name,
                "status": "active",
                "minQuantity": "0.0001",
                "maxQuantity": "9000",
                "tickSize": "0.01",
            }
            for name in EXCHANGES
            if exchange in (None, name)
            for symbol in SYMBOLS
        ]
        return RestAnswer(200, limits, json.dumps({"symbols": listed}))

    def _book(self, exchange: str, name: str, depth: str, now_ms: int, limits: dict[str, str]) -> RestAnswer:
        symbol = next((symbol for symbol in SYMBOLS if symbol.replace("/", "") == name), None)
        if exchange not in EXCHANGES or symbol is None:
            return _error(404, "not_found", f"{name} is not traded on {exchange}", limits)
        if not (depth.isascii() and depth.isdecimal() and 1 <= int(depth[:9]) <= MAX_DEPTH):
            return _error(400, "invalid_depth", f"depth must be a whole number from 1 to {MAX_DEPTH}", limits)
        market = Market(self.seed, exchange, symbol)
        bids, asks = market.snapshot(int(depth))
        book = {
            "symbol": symbol,
            "exchange": exchange,
            "timestamp": now_ms,
            "lastUpdateId": market.sequence,
            "bids": [{"price": price, "quantity": quantity} for price, quantity in bids],
            "asks": [{"price": price, "quantity": quantity} for price, quantity in asks],
        }
        return RestAnswer(200, limits, json.dumps(book))

    def _limits(self, key: str, now_ms: int) -> dict[str, str]:
        minute = now_ms // _MINUTE_MS
        self._requests = {known: count for known, count in self._requests.items() if known[1] == minute}
        used = self._requests[key, minute] = self._requests.get((key, minute), 0) + 1
        return {
            "X-RateLimit-Limit": str(_RATE_LIMIT),
            "X-RateLimit-Remaining": str(max(0, _RATE_LIMIT - used)),
            "X-RateLimit-Reset": str((minute + 1) * _MINUTE_MS // 1000),
        }


@dataclass
class _Subscription:
    market: Market
    exchange: str
    depth: int


class Session:
    """One WebSocket connection. After a :class:`Close` was returned, nothing may be called any more."""

    def __init__(self, exchange: Exchange, now_ms: int) -> None:
        self._exchange = exchange
        self._subscriptions: dict[str, _Subscription] = {}
        self._spoke_at = now_ms

    @property
    def streaming(self) -> bool:
        """Whether there is a subscription to tick for."""
        return bool(self._subscriptions)

    def receive(self, message: str | bytes, now_ms: int, wall_ms: int | None = None) -> list[Send | Close]:
        """Take a message of the client; nonces are held against ``wall_ms`` where it is not ``now_ms``."""
        self._spoke_at = now_ms
        try:
            payload = decode_json(message)
        except DataFormatError as exc:
            return [_refusal("bad_request", str(exc))]
        if not isinstance(payload, dict):
            return [_refusal("bad_request", "a message must be a JSON object")]
        action = payload.get("action")
        if action == "authenticate":
            return self._authenticate(payload, now_ms, now_ms if wall_ms is None else wall_ms)
        if action == "subscribe":
            return self._subscribe(payload, now_ms)
        if action == "unsubscribe":
            return [self._unsubscribe(payload)]
        if action == "ping":
            return [Send(json.dumps({"event": "pong", "id": payload.get("id")}, default=str))]
        return [_refusal("unknown_action", f"{action!r} is not an action")]

    def tick(self, now_ms: int) -> list[Send | Close]:
        """Let one interval pass: an update of each subscription, or a heartbeat after 5 s of silence."""
        if not self._subscriptions:
            if now_ms - self._spoke_at < HEARTBEAT_MS:
                return []
            self._spoke_at = now_ms
            return [Send(json.dumps({"event": "heartbeat", "timestamp": now_ms}))]
        self._spoke_at = now_ms
        return [self._update(symbol, held, now_ms) for symbol, held in self._subscriptions.items()]

    def _authenticate(self, payload: Mapping[str, JSON], now_ms: int, wall_ms: int) -> list[Send | Close]:
        data = payload.get("data")
        rejection = self._exchange.reject(data if isinstance(data, dict) else {}, wall_ms)
        if rejection is None:
            return [Send(json.dumps({"event": "authenticated", "timestamp": now_ms}))]
        code, message = rejection
        return [_refusal(code, message), *([] if code == "bad_request" else [Close(REJECTED, code)])]

    def _subscribe(self, payload: Mapping[str, JSON], now_ms: int) -> list[Send | Close]:
        channel, symbol, depth = (payload.get(name) for name in ("channel", "symbol", "depth"))
        exchange = payload.get("exchange", EXCHANGES[0])
        if not (isinstance(channel, str) and isinstance(symbol, str) and isinstance(exchange, str)):
            return [_refusal("bad_request", "subscribe needs channel, symbol and depth")]
        if channel != "orderbook":
            return [_refusal("unknown_channel", f"the channel {channel} is not known")]
        if symbol not in SYMBOLS or exchange not in EXCHANGES:
            return [_refusal("unknown_symbol", f"{symbol} is not traded on {exchange}")]
        if type(depth) is not int or not 1 <= depth <= MAX_DEPTH:
            return [_refusal("invalid_depth", f"depth must be a whole number from 1 to {MAX_DEPTH}")]
        market = Market(self._exchange.seed, exchange, symbol)
        self._subscriptions[symbol] = _Subscription(market, exchange, depth)
        bids, asks = market.snapshot(depth)
        answer = {"event": "subscribed", "channel": channel, "symbol": symbol, "depth": depth}
        snapshot = {
            "type": "snapshot",
            "symbol": symbol,
            "exchange": exchange,
            "timestamp": now_ms,
            "sequence": market.sequence,
            "bids": bids,
            "asks": asks,
        }
        return [Send(json.dumps(answer)), Send(json.dumps(snapshot))]

    def _unsubscribe(self, payload: Mapping[str, JSON]) -> Send:
        symbol = payload.get("symbol")
        if not isinstance(symbol, str) or self._subscriptions.pop(symbol, None) is None:
            return _refusal("not_subscribed", "there is no such subscription")
        return Send(json.dumps({"event": "unsubscribed", "channel": "orderbook", "symbol": symbol}))

    def _update(self, symbol: str, held: _Subscription, now_ms: int) -> Send:
        previous = held.market.sequence
        bids, asks = held.market.step(held.depth)
        update = {
            "type": "update",
            "symbol": symbol,
            "exchange": held.exchange,
            "timestamp": now_ms,
            "sequence": held.market.sequence,
            "previousSequence": previous,
            "bids": bids,
            "asks": asks,
        }
        return Send(json.dumps(update))


def _refusal(code: str, message: str) -> Send:
    return Send(json.dumps({"event": "error", "code": code, "message": message}))


def _status(now_ms: int) -> dict[str, JSON]:
    exchanges = {name: {"status": "healthy", "latency": 12 + 3 * index} for index, name in enumerate(EXCHANGES)}
    return {"status": "healthy", "exchanges": exchanges, "timestamp": now_ms}


def _error(status: int, error: str, message: str, headers: dict[str, str]) -> RestAnswer:
    body = {"error": error, "message": message, "code": status, "details": {}}
    return RestAnswer(status, headers, json.dumps(body))
