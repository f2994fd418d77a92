"""A dialect as a server needs it: what a client asks for, and how it is answered.

A sans-I/O core. :class:`~pytest_connex.protocol.Dialect` says how a client asks; everything here is read back from
that. What a server of a dialect cannot do is found when a :class:`Language` is made, before any client comes.
"""

from __future__ import annotations

import hashlib
import hmac
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import chain, product
from typing import NamedTuple, TypeAlias
from urllib.parse import parse_qsl, unquote, urlsplit

from ..errors import ConfigError, DataFormatError
from ..model import JSON, Authenticated, ErrorEvent, Frame, Level, Pong, Snapshot, Subscribed, Unsubscribed, Update
from ..protocol import Dialect
from .forms import Form, Leaf, Leaves, at, dotted, leaves

EXCHANGES = ("binance", "okx")
SYMBOLS = ("ETH/USDT", "ETH/USDC", "BTC/USDT")
MAX_DEPTH = 100
DEFAULT_DEPTH = 50
"""The depth of a subscription in a dialect whose message does not say it."""

_DEPTHS = (DEFAULT_DEPTH, *(depth for depth in range(1, MAX_DEPTH + 1) if depth != DEFAULT_DEPTH))
_NONCES = ("1700000000000", "1700000061000")  # told apart also by who counts in seconds or minutes


class Authentication(NamedTuple):
    """Somebody says who they are; ``given`` is the message. A key or nonce that is not there is None."""

    key: JSON
    nonce: JSON
    given: Leaves


class Subscription(NamedTuple):
    """A client wants a market's order book; the exchange is None where it did not say which."""

    channel: str
    symbol: str
    exchange: str | None
    depth: int


class Unsubscription(NamedTuple):
    """A client wants a subscription no more; what it did not say is None."""

    channel: str
    symbol: str
    exchange: str | None
    depth: int | None


class Ping(NamedTuple):
    """A client wants a pong."""

    id: JSON


class Misfit(NamedTuple):
    """What cannot be done: the code [S] and the message of the error that answers it."""

    code: str
    message: str


Request: TypeAlias = Authentication | Subscription | Unsubscription | Ping | Misfit


class Route(NamedTuple):
    """Where a REST request leads: ``status``, ``symbols``, or the ``book`` of a market."""

    name: str
    exchange: str = ""
    symbol: str = ""


class Language:
    """What a dialect means to a server.

    Args:
        dialect: The dialect.

    Raises:
        ConfigError: No server can be made of it; the message says why, and which method to override.
    """

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        try:
            self._learn()
            self._check_requests()
            self._check_frames()
        except Exception as exc:
            why = exc if isinstance(exc, ConfigError) else _named_error(exc)
            raise ConfigError(f"the sandbox cannot speak the dialect {type(dialect).__name__}: {why}") from exc

    # what a client says

    def read(self, message: str | bytes) -> Request:
        """Return what a WebSocket message asks for."""
        try:
            payload = self.dialect.decode(message)
        except Exception as exc:  # noqa: BLE001  (a project's own code may raise anything)
            return Misfit("bad_request", str(exc) if isinstance(exc, DataFormatError) else _named_error(exc))
        if not isinstance(payload, dict):
            return Misfit("bad_request", "a message must be a JSON object")
        given = leaves(payload)
        form = max(self._readers, key=lambda form: form.fit(given))
        if not form.fit(given):
            return Misfit("unknown_action", f"{', '.join(form.name for form in self._readers)}: it is none of these")
        return self._readers[form](payload, given)

    def proves(self, authentication: Authentication, key: str, secret: str) -> bool:
        """Tell whether an authentication is signed as the dialect signs with a key and its secret."""
        nonce = {"nonce": str(authentication.nonce)} if self.has_nonce else {}
        try:
            built = self._authenticate.built(key=key, secret=secret, **nonce)
        except ConfigError:
            return False  # the dialect cannot sign such a nonce
        return all(
            hmac.compare_digest(_text(built.get(place)), _text(authentication.given.get(place)))
            for place in self._authenticate.places["secret"]
        )

    @property
    def names_key(self) -> bool:
        """Whether an authentication says whose it is."""
        return self._reads_by_hand or self._key is not None

    @property
    def has_nonce(self) -> bool:
        """Whether an authentication has a nonce that can be read."""
        return self._reads_by_hand or self._nonce is not None

    def incomplete(self, authentication: Authentication) -> str | None:
        """Return what an authentication must hold, where it does not."""
        named = {*self._authenticate.places["secret"], *filter(None, (self._key, self._nonce))}
        sample, given = self._authenticate.sample(), authentication.given
        places = [place for place in sample if place in named]
        if all(place in given and given[place].kind is sample[place].kind for place in places):
            return None
        return f"an authentication must hold {', '.join(map(dotted, places))}, each of its type"

    def _read_authentication(self, payload: Mapping[str, JSON], given: Leaves) -> Request:
        if self._reads_by_hand:
            try:
                by_hand = self.dialect.read_authentication(payload)
            except Exception as exc:  # noqa: BLE001  (a project's own code may raise anything)
                return Misfit("bad_request", f"this authentication cannot be read: {_named_error(exc)}")
            key, nonce = by_hand or (None, None)
            return Authentication(key, nonce, given)
        key, nonce = (None if place is None else at(payload, place) for place in (self._key, self._nonce))
        return Authentication(key, nonce, given)

    def _read_subscription(self, payload: Mapping[str, JSON], given: Leaves) -> Request:
        found = self._subscribe.solve(given, _markets(self._subscribe, given, _DEPTHS))
        if found is None:
            return self._fault(given)
        channel = self._subscribe.shown(given, "channel") or "orderbook"
        return Subscription(channel, found["symbol"], found["exchange"], found["depth"])

    def _read_unsubscription(self, payload: Mapping[str, JSON], given: Leaves) -> Request:
        depths = (None, *_DEPTHS) if self._unsubscribe.places["depth"] else (None,)
        channel = self._unsubscribe.shown(given, "channel")
        passed = self._unsubscribe.places["channel"] if channel is None else ()
        found = self._unsubscribe.solve(given, _markets(self._unsubscribe, given, depths), passed)
        if found is None:
            asked = self._named(self._unsubscribe, given)
            return Misfit("not_subscribed", f"{asked}: there is no such subscription")
        return Unsubscription(channel or "orderbook", found["symbol"], found["exchange"], found["depth"])

    def _read_ping(self, payload: Mapping[str, JSON], given: Leaves) -> Request:
        places = self._ping.places["id"]
        return Ping(at(payload, places[0]) if places else None)

    def _fault(self, given: Leaves) -> Misfit:
        """Return what is wrong with a subscription that asks for nothing there is."""
        form, asked = self._subscribe, self._named(self._subscribe, given)
        for name in ("channel", "symbol"):
            if form.places[name] and form.shown(given, name) is None:
                return Misfit("bad_request", f"a subscription must hold {dotted(form.places[name][0])}")
        apart = set(form.places["channel"]).isdisjoint(form.places["symbol"])
        if apart and not form.knows(given, "channel", (None,)):
            return Misfit("unknown_channel", f"the channel {form.shown(given, 'channel')} is not known")
        if not form.knows(given, "symbol", SYMBOLS) or not form.knows(given, "exchange", (None, *EXCHANGES)):
            return Misfit("unknown_symbol", f"{asked}: there is no such market")
        return Misfit("invalid_depth", f"{asked}: depth must be a whole number from 1 to {MAX_DEPTH}")

    def _named(self, form: Form, given: Leaves) -> str:
        symbol, exchange, depth = (form.shown(given, name) for name in ("symbol", "exchange", "depth"))
        return name_subscription(symbol or "no symbol", exchange or EXCHANGES[0], depth)

    # what a client asks over REST

    def route(self, path: str, query: Mapping[str, str]) -> Route | None:
        """Return where a request with a decoded path leads, or None where there is nothing."""
        fitting = [
            (len(wanted), route)
            for wanted, route in self._routes.get(path.strip("/"), ())
            if wanted.items() <= dict(query).items()
        ]
        return max(fitting, key=lambda found: found[0])[1] if fitting else None

    def identify(self, headers: Mapping[str, str], secrets: Mapping[str, str]) -> str | None:
        """Return whose credentials a request carries, or None where it carries none of ``secrets``.

        It is an empty string in a dialect that sends no credentials over REST.

        Args:
            headers: The request's headers; undecodable bytes as surrogates.
            secrets: The secret of each known key.
        """
        if not self._credential_headers:
            return ""
        given = {name.lower(): value.encode("utf-8", "surrogateescape") for name, value in headers.items()}
        for key, secret in secrets.items():
            wanted = self._headers(key, secret)
            pairs = [(given.get(name, b""), wanted.get(name, b"")) for name in self._credential_headers]
            if all(hmac.compare_digest(*pair) for pair in pairs):
                return key
        return None

    # what the server says

    def say(self, frame: Frame) -> str:
        """Return a frame as it travels."""
        return self.dialect.encode(self.dialect.compose(frame))

    # learning

    def _learn(self) -> None:
        dialect, volatile = self.dialect, self.dialect.volatile_paths
        (key, secret), (other_key, other_secret) = (_probe(number) for number in (1, 2))
        self._authenticate = Form(
            "authenticate",
            lambda key, secret, nonce: dialect.authenticate(key, secret, nonce),
            {"key": key, "secret": secret, "nonce": _NONCES[0]},
            {"key": other_key, "secret": other_secret, "nonce": _NONCES[1]},
            volatile,
        )
        if not self._authenticate.places["secret"]:
            raise ConfigError(
                "authenticate() must give the same signature for the same key, secret and nonce, and another one for "
                "another secret, so that it can be compared"
            )
        self._key, self._nonce = self._authenticate.verbatim("key"), self._authenticate.verbatim("nonce")
        self._reads_by_hand = type(dialect).read_authentication is not Dialect.read_authentication
        markets = {"symbol": SYMBOLS[0], "channel": None, "exchange": None}
        others = {"symbol": SYMBOLS[2], "channel": "probe", "exchange": EXCHANGES[1]}
        self._subscribe = Form(
            "subscribe",
            _tolerant(dialect.subscribe),
            {**markets, "depth": DEFAULT_DEPTH},
            {**others, "depth": 3},
            volatile,
        )
        self._unsubscribe = Form(
            "unsubscribe",
            _tolerant(dialect.unsubscribe),
            {**markets, "depth": None},
            {**others, "depth": 3},
            volatile,
        )
        self._ping = Form("ping", lambda id: dialect.ping(id), {"id": 7_919}, {"id": 104_729}, volatile)
        self._readers: dict[Form, Callable[[Mapping[str, JSON], Leaves], Request]] = {
            self._authenticate: self._read_authentication,
            self._subscribe: self._read_subscription,
            self._unsubscribe: self._read_unsubscription,
            self._ping: self._read_ping,
        }
        one, two = self._headers(key, secret), self._headers(other_key, other_secret)
        self._credential_headers = [name for name in one if one[name] != two.get(name)]
        self._routes = self._learn_routes()

    def _headers(self, key: str, secret: str) -> dict[str, bytes]:
        headers: Mapping[str, bytes | str] = self.dialect.rest_headers(key, secret)
        return {name.lower(): v.encode() if isinstance(v, str) else v for name, v in headers.items()}

    def _learn_routes(self) -> dict[str, list[tuple[dict[str, str], Route]]]:
        dialect = self.dialect
        routes = {Route("status"): dialect.status_path, Route("symbols"): dialect.symbols_path} | {
            Route("book", exchange, symbol): dialect.orderbook_path(exchange, symbol)
            for exchange, symbol in product(EXCHANGES, SYMBOLS)
        }
        learned: dict[str, list[tuple[dict[str, str], Route]]] = {}
        for route, target in routes.items():
            parts = urlsplit(target)
            learned.setdefault(unquote(parts.path).strip("/"), []).append((dict(parse_qsl(parts.query)), route))
        return learned

    # what would not work

    def _check_requests(self) -> None:
        dialect, (key, secret) = self.dialect, _probe(3)
        message = dialect.authenticate(key, secret, _NONCES[1])
        unread = bool(self._authenticate.places["nonce"]) and not self.has_nonce
        found = self.read(self._travelled("authenticate", message))
        if (
            unread
            or not isinstance(found, Authentication)
            or (found.key, str(found.nonce))
            != (
                key if self.names_key else None,
                _NONCES[1] if self.has_nonce else "None",
            )
        ):
            raise ConfigError(
                "what authenticate() builds is not understood: override read_authentication() so that it returns the "
                "key and the nonce"
            )
        if self.incomplete(found) or not self.proves(found, key, secret):
            raise ConfigError("what authenticate() builds is not the same for the same key, secret and nonce")
        for symbol in SYMBOLS:
            self._expect("subscribe", dialect.subscribe(symbol, 20), Subscription, symbol)
            self._expect("unsubscribe", dialect.unsubscribe(symbol), Unsubscription, symbol)
        if not isinstance(self.read(self._travelled("ping", dialect.ping(7))), Ping):
            raise ConfigError("what ping() builds cannot be told from other messages")

    def _expect(
        self, name: str, message: Mapping[str, JSON], kind: type[Subscription | Unsubscription], symbol: str
    ) -> None:
        found = self.read(self._travelled(name, message))
        if not isinstance(found, kind) or found.symbol != symbol:
            raise ConfigError(
                f"what {name}({symbol!r}) builds cannot be told from other messages: it must say what it asks for, "
                "and which symbol"
            )

    def _travelled(self, name: str, message: Mapping[str, JSON]) -> str:
        text = self.dialect.encode(message)
        try:
            back = self.dialect.decode(text)
        except DataFormatError as exc:
            raise ConfigError(f"decode() does not read what encode() writes of {name}(): {exc}") from exc
        if leaves(back) != leaves(message):
            raise ConfigError(
                f"decode() reads something else than encode() writes of {name}(): override both or neither"
            )
        return text

    def _check_frames(self) -> None:
        for frame in _FRAMES:
            name = type(frame).__name__
            try:
                back = self.dialect.parse(self.say(frame))
            except DataFormatError as exc:
                raise ConfigError(f"parse() does not read what compose() writes for {name}: {exc}") from exc
            if not _same(frame, back):
                raise ConfigError(
                    f"parse() reads what compose() writes for {name} as {type(back).__name__}: override compose() "
                    "too, so that it writes what parse() reads"
                )


def name_subscription(symbol: str, exchange: str, depth: object = None) -> str:
    """Return how messages call a subscription."""
    return f"{symbol} on {exchange}" + ("" if depth is None else f" at depth {depth}")


_BOOK: dict[str, JSON] = {
    "symbol": SYMBOLS[0],
    "exchange": EXCHANGES[0],
    "timestamp": 1_700_000_000_000,
    "sequence": 2,
    "bids": (Level(Decimal("1.10"), Decimal("2.0")),),
    "asks": (Level(Decimal("1.20"), Decimal("0.5")),),
}
_FRAMES: tuple[Frame, ...] = (
    Authenticated(timestamp=1_700_000_000_000),
    Subscribed(channel="orderbook", symbol=SYMBOLS[0], depth=20),
    Unsubscribed(channel="orderbook", symbol=SYMBOLS[0]),
    Pong(id=7),
    ErrorEvent(code="unknown_symbol", message="it is not traded"),
    Snapshot(**_BOOK),
    Update(**_BOOK, previous_sequence=1),
)
"""What a client of the sandbox waits for."""


def _same(said: Frame, heard: Frame) -> bool:
    """Tell whether a frame arrives as what it was; what events hold besides is a dialect's own business."""
    if isinstance(said, Snapshot | Update):
        return isinstance(heard, type(said)) and (said.bids, said.asks) == (heard.bids, heard.asks)
    return isinstance(heard, type(said))


def _probe(number: int) -> tuple[str, str]:
    """Return a key and a secret of the shape that the exchange gives out."""
    made = hashlib.sha512(f"probe {number}".encode()).hexdigest()
    return made[:24], made[24:72]


def _tolerant(build: Callable[..., Mapping[str, JSON]]) -> Callable[..., Mapping[str, JSON]]:
    """Let a function, perhaps an older one, be called with a symbol and arguments that it does not take."""
    parameters = inspect.signature(build).parameters.values()
    names = {parameter.name for parameter in parameters}
    anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)

    def called(symbol: str, **more: JSON) -> Mapping[str, JSON]:
        return build(symbol, **{k: v for k, v in more.items() if v is not None and (anything or k in names)})

    return called


def _named_error(exc: Exception) -> str:
    return f"{type(exc).__name__}: {exc}"


def _markets(form: Form, given: Leaves, depths: Sequence[int | None]) -> Iterator[Mapping[str, JSON]]:
    """Yield what a message may ask for; first what it seems to."""
    exchanges = (None, *EXCHANGES) if form.places["exchange"] else (None,)
    seems = [
        [value for value in values if value is not None and str(value) == form.shown(given, name)]
        for name, values in (("symbol", SYMBOLS), ("exchange", exchanges), ("depth", depths))
    ]
    guesses = product(seems[0] or SYMBOLS, seems[1] or exchanges[:1], seems[2] or depths[:1])
    names = ("symbol", "exchange", "depth")
    for market in chain(guesses, product(SYMBOLS, exchanges, depths)):
        yield dict(zip(names, market, strict=True))


def _text(leaf: Leaf | None) -> bytes:
    return repr(leaf).encode("utf-8", "surrogateescape")
