"""The exchange behind the sandbox: credentials, sessions, subscriptions, and the REST answers.

A sans-I/O core: it takes a client's messages, requests and clock ticks, and returns what to send. The time
is always given, in epoch milliseconds; the exchange's own clock may be ahead of it or behind. How things are written
is the dialect's business (:mod:`~pytest_connex.sandbox.language`). What Connex's users have not confirmed is marked
[D] (a draft) or [S] (this sandbox's choice) in :mod:`pytest_connex.protocol`'s terms.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from ..errors import ConfigError
from ..model import (
    JSON,
    Authenticated,
    ErrorEvent,
    Frame,
    Heartbeat,
    Level,
    Pong,
    Snapshot,
    Subscribed,
    Unsubscribed,
    Update,
)
from ..protocol import NONCE_WINDOW_MS, Dialect
from .language import (
    EXCHANGES,
    MAX_DEPTH,
    SYMBOLS,
    Authentication,
    Language,
    Misfit,
    Ping,
    Subscription,
    Unsubscription,
    name_subscription,
)
from .limits import RATE_LIMIT, RateLimits
from .market import Market

HEARTBEAT_MS = 5_000
REJECTED = 4001


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
        dialect: What is said, and how.
        rate_limit: REST requests a minute that each key may make.
        clock_skew: Seconds by which the exchange's clock is ahead; below zero it is behind.

    Raises:
        ConfigError: The dialect cannot be served, the limit is below 1, or the skew is no number of seconds.
    """

    def __init__(
        self,
        seed: int = 7,
        dialect: Dialect | None = None,
        rate_limit: int = RATE_LIMIT,
        clock_skew: float = 0.0,
    ) -> None:
        self.seed = seed
        self.clock_skew = clock_skew
        self.rate_limit = rate_limit
        self.dialect = dialect or Dialect()
        self._secrets: dict[str, str] = {}
        self._nonces: dict[str, set[int]] = {}

    @property
    def dialect(self) -> Dialect:
        """What is said, and how. Another one counts for requests and connections from then on."""
        return self._language.dialect

    @dialect.setter
    def dialect(self, dialect: Dialect) -> None:
        self._language = Language(dialect)

    @property
    def rate_limit(self) -> int:
        """REST requests a minute that each key may make; setting it begins every count anew."""
        return self._limits.limit

    @rate_limit.setter
    def rate_limit(self, limit: int) -> None:
        if type(limit) is not int or limit < 1:
            raise ConfigError(f"a rate limit must be a whole number of requests above zero, not {limit!r}")
        self._limits = RateLimits(limit)

    @property
    def clock_skew(self) -> float:
        """Seconds by which the exchange's clock is ahead; below zero it is behind. It may be set at any time."""
        return self._skew_ms / 1000

    @clock_skew.setter
    def clock_skew(self, seconds: float) -> None:
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not math.isfinite(seconds):
            raise ConfigError(f"a clock skew must be a number of seconds, not {seconds!r}")
        self._skew_ms = round(seconds * 1000)

    def new_credentials(self) -> Credentials:
        """Make another key; the first is the same for every exchange of this seed."""
        made = hashlib.sha512(f"{self.seed} {len(self._secrets)}".encode()).hexdigest()
        credentials = Credentials(made[:24], made[24:72])
        # Replaced, not changed: a thread that serves may be looking through it.
        self._secrets = {**self._secrets, credentials.api_key: credentials.api_secret}
        return credentials

    def open_session(self, now_ms: int) -> Session:
        """Accept a WebSocket connection."""
        return Session(self, self._language, now_ms)

    def clock(self, now_ms: int) -> int:
        """Return what the exchange's clock shows."""
        return now_ms + self._skew_ms

    def reject(self, claim: Authentication, language: Language, now_ms: int) -> Misfit | None:
        """Return why an authentication is rejected [S], or None when it is valid."""
        if message := language.incomplete(claim):
            return Misfit("bad_request", message)
        if language.names_key and not (isinstance(claim.key, str) and claim.key in self._secrets):
            return Misfit("unknown_key", "this key is not known")
        keys = [claim.key] if language.names_key else list(self._secrets)
        key = next((key for key in keys if language.proves(claim, key, self._secrets[key])), None)
        if key is None:
            return Misfit("invalid_signature", "the signature is not that of nonce and key")
        return self._reject_nonce(key, str(claim.nonce), now_ms) if language.has_nonce else None

    def _reject_nonce(self, key: str, nonce: str, now_ms: int) -> Misfit | None:
        if not (nonce.isascii() and nonce.isdecimal()) or abs(int(nonce[:20]) - self.clock(now_ms)) > NONCE_WINDOW_MS:
            return Misfit("stale_nonce", "the nonce is more than 30 s from the server's clock")
        used = self._nonces.setdefault(key, set())
        if int(nonce) in used:
            return Misfit("reused_nonce", "the nonce was used before")
        used.add(int(nonce))
        return None

    # REST

    def rest(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], now_ms: int
    ) -> RestAnswer:
        """Answer a REST request. Books are the opening ones, before the first update [S].

        Requests whose credentials are rejected share one rate limit [S].
        """
        language = self._language
        key = language.identify(headers, self._secrets)
        limits, wait = self._count(key or "", now_ms)
        if wait is not None:
            seconds = {"Retry-After": str(wait)}
            return _error(429, "rate_limited", f"too many requests: try again in {wait} s", limits | seconds)
        if key is None:
            return _error(401, "unauthorized", "the credentials were rejected", limits)
        if method != "GET":
            return _error(405, "method_not_allowed", f"{method} is not supported", limits)
        route = language.route(path, query)
        if route is None:
            return _error(404, "not_found", f"there is nothing at {path}", limits)
        if route.name == "status":
            return RestAnswer(200, limits, json.dumps(_status(self.clock(now_ms))))
        if route.name == "symbols":
            return self._symbols(query.get("exchange"), limits)
        return self._book(route.exchange, route.symbol, query.get("depth", "20"), self.clock(now_ms), limits)

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

    def _book(self, exchange: str, symbol: str, depth: str, clock_ms: int, limits: dict[str, str]) -> RestAnswer:
        if not (depth.isascii() and depth.isdecimal() and 1 <= int(depth[:9]) <= MAX_DEPTH):
            return _error(400, "invalid_depth", f"depth must be a whole number from 1 to {MAX_DEPTH}", limits)
        market = Market(self.seed, exchange, symbol)
        bids, asks = market.snapshot(int(depth))
        book = {
            "symbol": symbol,
            "exchange": exchange,
            "timestamp": clock_ms,
            "lastUpdateId": market.sequence,
            "bids": [{"price": price, "quantity": quantity} for price, quantity in bids],
            "asks": [{"price": price, "quantity": quantity} for price, quantity in asks],
        }
        return RestAnswer(200, limits, json.dumps(book))

    def _count(self, key: str, now_ms: int) -> tuple[dict[str, str], int | None]:
        """Count a request; return the headers that say what is left, and the seconds to wait where nothing was."""
        granted, remaining, ends_ms = self._limits.count(key, now_ms)
        headers = {
            "X-RateLimit-Limit": str(self.rate_limit),
            "X-RateLimit-Remaining": str(remaining),
            "X-RateLimit-Reset": str(_seconds(self.clock(ends_ms))),
        }
        return headers, None if granted else _seconds(ends_ms - now_ms)


class _Stream:
    """One subscription: a market of its own, from the opening book on."""

    def __init__(self, seed: int, exchange: str, symbol: str, depth: int) -> None:
        self._market = Market(seed, exchange, symbol)
        self._exchange = exchange
        self._symbol = symbol
        self._depth = depth

    def snapshot(self, clock_ms: int, named: bool) -> Snapshot:
        """Return the book; ``named`` says its depth."""
        bids, asks = self._market.snapshot(self._depth)
        return Snapshot(**self._common(clock_ms, named, bids, asks))

    def update(self, clock_ms: int, named: bool) -> Update:
        """Move the book, and return what changed."""
        previous = self._market.sequence
        bids, asks = self._market.step(self._depth)
        return Update(**self._common(clock_ms, named, bids, asks), previous_sequence=previous)

    def _common(self, clock_ms: int, named: bool, bids: list[list[str]], asks: list[list[str]]) -> dict[str, JSON]:
        return {
            "symbol": self._symbol,
            "exchange": self._exchange,
            "timestamp": clock_ms,
            "sequence": self._market.sequence,
            "depth": self._depth if named else None,
            "bids": _levels(bids),
            "asks": _levels(asks),
        }


class Session:
    """One WebSocket connection. After a :class:`Close` was returned, nothing may be called any more.

    A connection may hold any number of subscriptions, one for each exchange, symbol and depth. Where it has asked for
    a market at more than one depth, the frames of that market say whose they are in ``depth`` [S].
    """

    def __init__(self, exchange: Exchange, language: Language, now_ms: int) -> None:
        self._exchange = exchange
        self._language = language
        self._streams: dict[tuple[str, str, int], _Stream] = {}
        self._depths: dict[tuple[str, str], set[int]] = {}
        self._spoke_at = now_ms

    @property
    def streaming(self) -> bool:
        """Whether there is a subscription to tick for."""
        return bool(self._streams)

    def receive(self, message: str | bytes, now_ms: int, wall_ms: int | None = None) -> list[Send | Close]:
        """Take a message of the client; nonces are held against ``wall_ms`` where it is not ``now_ms``."""
        self._spoke_at = now_ms
        clock_ms = self._exchange.clock(now_ms)
        request = self._language.read(message)
        if isinstance(request, Authentication):
            return self._authenticate(request, clock_ms, now_ms if wall_ms is None else wall_ms)
        if isinstance(request, Subscription):
            return self._subscribe(request, clock_ms)
        if isinstance(request, Unsubscription):
            return [self._say(self._unsubscribe(request))]
        if isinstance(request, Ping):
            return [self._say(Pong(id=json.loads(json.dumps(request.id, default=str))))]
        return [self._refuse(request)]

    def tick(self, now_ms: int) -> list[Send | Close]:
        """Let one interval pass: an update of each subscription, or a heartbeat after 5 s of silence."""
        clock_ms = self._exchange.clock(now_ms)
        if not self._streams:
            if now_ms - self._spoke_at < HEARTBEAT_MS:
                return []
            self._spoke_at = now_ms
            return [self._say(Heartbeat(timestamp=clock_ms))]
        self._spoke_at = now_ms
        return [self._say(stream.update(clock_ms, self._names_depth(*key))) for key, stream in self._streams.items()]

    def _authenticate(self, claim: Authentication, clock_ms: int, wall_ms: int) -> list[Send | Close]:
        rejection = self._exchange.reject(claim, self._language, wall_ms)
        if rejection is None:
            return [self._say(Authenticated(timestamp=clock_ms))]
        closing = [] if rejection.code == "bad_request" else [Close(REJECTED, rejection.code)]
        return [self._refuse(rejection), *closing]

    def _subscribe(self, wanted: Subscription, clock_ms: int) -> list[Send | Close]:
        exchange = wanted.exchange or EXCHANGES[0]
        key = exchange, wanted.symbol, wanted.depth
        if key in self._streams:
            name = name_subscription(wanted.symbol, exchange, wanted.depth)
            return [self._refuse(Misfit("already_subscribed", f"{name}: it is subscribed already, and goes on"))]
        stream = self._streams[key] = _Stream(self._exchange.seed, *key)
        self._depths.setdefault(key[:2], set()).add(wanted.depth)
        answer = Subscribed(
            channel=wanted.channel, symbol=wanted.symbol, depth=wanted.depth, exchange=wanted.exchange
        )
        return [self._say(answer), self._say(stream.snapshot(clock_ms, self._names_depth(*key)))]

    def _unsubscribe(self, wanted: Unsubscription) -> Frame:
        """End the subscription that is meant.

        An exchange that is left out is the first one, as it is for a subscription, or the only one there is; a depth
        that is left out is the only one there is [S].
        """
        fitting = [key for key in self._streams if key[1] == wanted.symbol and wanted.depth in (None, key[2])]
        exchange = wanted.exchange
        if exchange is None and len(fitting) > 1:
            exchange = EXCHANGES[0]
        meant = [key for key in fitting if exchange in (None, key[0])]
        if len(meant) != 1:
            return _unmeant(wanted, meant)
        del self._streams[meant[0]]
        told = len(fitting) > 1
        return Unsubscribed(
            channel=wanted.channel,
            symbol=wanted.symbol,
            depth=meant[0][2] if told else wanted.depth,
            exchange=meant[0][0] if told else wanted.exchange,
        )

    def _names_depth(self, exchange: str, symbol: str, depth: int) -> bool:
        return len(self._depths[exchange, symbol]) > 1

    def _refuse(self, misfit: Misfit) -> Send:
        return self._say(ErrorEvent(code=misfit.code, message=misfit.message))

    def _say(self, frame: Frame) -> Send:
        return Send(self._language.say(frame))


def _unmeant(wanted: Unsubscription, meant: list[tuple[str, str, int]]) -> ErrorEvent:
    """Return the error for an unsubscription that means no subscription, or several."""
    asked = name_subscription(wanted.symbol, wanted.exchange or EXCHANGES[0], wanted.depth)
    if not meant:
        return ErrorEvent(code="not_subscribed", message=f"{asked}: there is no such subscription")
    depths = ", ".join(str(depth) for _, _, depth in meant)
    return ErrorEvent(code="bad_request", message=f"{asked}: say which depth is meant, of {depths}")


def _levels(side: list[list[str]]) -> tuple[Level, ...]:
    return tuple(Level(Decimal(price), Decimal(quantity)) for price, quantity in side)


def _status(clock_ms: int) -> dict[str, JSON]:
    exchanges = {name: {"status": "healthy", "latency": 12 + 3 * index} for index, name in enumerate(EXCHANGES)}
    return {"status": "healthy", "exchanges": exchanges, "timestamp": clock_ms}


def _seconds(milliseconds: int) -> int:
    """Return whole seconds, rounded up."""
    return -(-milliseconds // 1000)


def _error(status: int, error: str, message: str, headers: dict[str, str]) -> RestAnswer:
    body = {"error": error, "message": message, "code": status, "details": {}}
    return RestAnswer(status, headers, json.dumps(body))
