"""How Connex is spoken to: bytes and values in, bytes and values out.

Everything the gateway's users have not confirmed is a member of :class:`Dialect`, so that a project which
knows better replaces it by overriding the session fixture ``connex_dialect``. In the comments **[N]** marks
what the research notebook says, **[D]** what a user's draft contract says, and **[S]** what the sandbox had
to choose. Numbers never pass through a binary float: they become ``int`` or :class:`~decimal.Decimal` from
their text.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from decimal import Decimal, DecimalException
from typing import NoReturn
from urllib.parse import quote

from msgspec.structs import asdict

from .errors import AuthenticationError, ConnexError, DataFormatError, RateLimitError, RequestError, SubscriptionError
from .model import (
    JSON,
    Authenticated,
    ErrorEvent,
    Frame,
    Heartbeat,
    Level,
    OtherFrame,
    Pong,
    Snapshot,
    Subscribed,
    Unsubscribed,
    Update,
)

MAX_NESTING = 100
NONCE_WINDOW_MS = 30_000
"""Milliseconds that a nonce may be from the gateway's clock [S]."""

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_STRUCTURE = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)


# --- JSON ------------------------------------------------------------------------------------------------


def decode_json(text: str | bytes) -> JSON:
    """Read one JSON document exactly.

    Integers become ``int``, other numbers ``Decimal``.

    Raises:
        DataFormatError: The text is not JSON (``NaN`` and ``Infinity`` are not), an object has the same
            key twice, or values are nested more than 100 deep.
    """
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError as exc:
            raise DataFormatError(f"not JSON: the bytes are not UTF-8 at offset {exc.start}") from exc
    _check_nesting(text)
    try:
        return json.loads(
            text,
            parse_int=_integer,
            parse_float=_decimal,
            parse_constant=_refuse_constant,
            object_pairs_hook=_unique_keys,
        )
    except json.JSONDecodeError as exc:
        raise DataFormatError(f"not JSON: {exc.msg} at character {exc.pos}: {excerpt(text)}") from exc


def decode_leniently(text: str | bytes) -> JSON:
    """Read JSON as the notebook does: what is not JSON is returned as it is.

    Like the notebook's reader it takes the last of duplicate keys and accepts ``NaN``; unlike it, no
    number passes through a float.
    """
    try:
        return json.loads(text, parse_int=_integer, parse_float=Decimal, parse_constant=Decimal)
    except (ValueError, RecursionError, DecimalException):
        return text


def decimal_from(value: JSON) -> Decimal:
    """Return a price or quantity, given as a JSON string or number, as a ``Decimal`` of exactly its digits.

    Raises:
        DataFormatError: The value is no number by JSON's grammar: ``NaN``, ``1_000`` and ``" 1"`` are not.
    """
    if isinstance(value, Decimal):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return _decimal(value)
    raise DataFormatError(f"not a number by JSON's grammar: {excerpt(repr(value))}")


def excerpt(text: str, limit: int = 80) -> str:
    """Return the beginning of ``text``, for a message."""
    return text if len(text) <= limit else f"{text[:limit]}... (+{len(text) - limit} characters)"


def _check_nesting(text: str) -> None:
    if text.count("[") + text.count("{") <= MAX_NESTING:
        return
    depth = 0
    for token in _STRUCTURE.finditer(text):
        first = token[0][0]
        if first in "[{":
            depth += 1
            if depth > MAX_NESTING:
                raise DataFormatError(f"nested more than {MAX_NESTING} deep")
        elif first in "]}":
            depth -= 1


def _integer(text: str) -> int | Decimal:
    """``int``, except where Python's digit limit for conversions would refuse a valid JSON number."""
    return int(text) if len(text) <= 4000 else Decimal(text)


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except DecimalException as exc:
        raise DataFormatError(f"a number no computer holds: {excerpt(text)}") from exc


def _refuse_constant(name: str) -> NoReturn:
    raise DataFormatError(f"{name} is not JSON")


def _unique_keys(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
    members = dict(pairs)
    if len(members) != len(pairs):
        repeated = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise DataFormatError(f"the key {excerpt(repr(repeated))} stands twice in one object")
    return members


# --- The notebook's summaries ------------------------------------------------------------------------------


def classify(payload: JSON) -> str:
    """Name the class of a message [N].

    An object with ``bids``, ``asks``, ``orderbook`` or ``orderBook`` is ``"orderbook"``; otherwise the first
    string among ``event``, ``type``, ``action`` and ``op`` names it; anything else is named by its type.
    """
    if isinstance(payload, dict):
        if any(key in payload for key in ("bids", "asks", "orderbook", "orderBook")):
            return "orderbook"
        for key in ("event", "type", "action", "op"):
            if isinstance(payload.get(key), str):
                return str(payload[key])
        return "dict"
    return _type_name(payload)


def summarize(payload: JSON) -> dict[str, JSON]:
    """Describe the shape of a message [N]: its class, its keys, and what kind of value each holds."""
    summary: dict[str, JSON] = {"classification": classify(payload)}
    if not isinstance(payload, dict):
        return summary
    summary["top_level_keys"] = sorted(payload)
    lists = {k: {"length": len(v), "sample": v[:2]} for k, v in payload.items() if isinstance(v, list)}
    objects = {k: sorted(v) for k, v in payload.items() if isinstance(v, dict)}
    scalars = {k: _type_name(v) for k, v in payload.items() if not isinstance(v, (list, dict))}
    for name, part in (("list_fields", lists), ("dict_fields", objects), ("scalar_types", scalars)):
        if part:
            summary[name] = part
    return summary


def aggregate_summaries(samples: Iterable[Mapping[str, JSON]]) -> dict[str, JSON]:
    """Count message classes and key sets over ``samples``, each with a ``summary`` of :func:`summarize` [N]."""
    by_keys: Counter[tuple[str, ...]] = Counter()
    by_classification: Counter[str] = Counter()
    for sample in samples:
        summary = sample.get("summary", {})
        by_keys[tuple(summary.get("top_level_keys") or [])] += 1
        by_classification[summary.get("classification", "unknown")] += 1
    return {
        "by_classification": dict(by_classification),
        "top_level_key_sets": [{"keys": list(keys), "count": count} for keys, count in by_keys.items()],
    }


def _type_name(value: JSON) -> str:
    """The notebook's type names: where it has a float, this package has a ``Decimal``."""
    return "float" if isinstance(value, Decimal) else type(value).__name__


# --- The dialect -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dialect:
    """Every choice about Connex's API that its public material does not settle.

    Subclass it and set what differs, or construct it with other values, and return it from a session fixture
    named ``connex_dialect``.

    The sandbox speaks it too. It reads a client's messages, paths and headers back from what the methods here build,
    so whoever changes how something is asked need not say it twice. Three methods say what only a server does:

    - :meth:`compose` goes with :meth:`parse`: who overrides one of them overrides the other;
    - :meth:`decode` goes with :meth:`encode`;
    - :meth:`read_authentication` is wanted where key and nonce do not stand in the authentication as they are.

    Attributes:
        volatile_paths: Dotted paths of members whose values differ in every run; a recording matches a sent
            message without regard to them.
        echoed_paths: Members and parameters that the gateway repeats in its answers; a recorded answer is given the
            value that the client sent in this run.
        secret_fields: Names of members whose values never reach a recording, at any depth.
        volatile_query: Names of query parameters of REST, and of the URL of a dial, that differ in every run.
        volatile_body: Dotted paths of members of REST bodies, and names of parameters of forms, that do.
    """

    status_path: str = "/v1/status"  # [N]
    symbols_path: str = "/v1/symbols"  # [D]
    key_header: str = "X-CONNEX-API-KEY"  # [N]
    secret_header: str = "X-CONNEX-API-SECRET"  # noqa: S105  [N]
    user_agent: str = "connex-health-check/0.1"  # [N]
    ping_interval: float = 20.0  # seconds [N]
    ping_timeout: float = 20.0  # seconds [N]
    volatile_paths: tuple[str, ...] = ("data.apiKey", "data.nonce", "data.signature", "id", "timestamp")
    echoed_paths: tuple[str, ...] = ("id",)
    volatile_query: tuple[str, ...] = ("nonce", "signature", "timestamp")
    volatile_body: tuple[str, ...] = ("nonce", "signature", "timestamp")
    secret_fields: tuple[str, ...] = ("signature", "listenKey", "token", "passphrase")
    authentication_codes: tuple[str, ...] = (
        "invalid_signature",
        "unknown_key",
        "stale_nonce",
        "reused_nonce",
    )  # [S]

    def __post_init__(self) -> None:
        """Let what a subclass sets in its body count, where the constructor was given nothing else."""
        for item in fields(self):
            own = getattr(type(self), item.name)
            if getattr(self, item.name) == item.default and own != item.default:
                object.__setattr__(self, item.name, own)

    def orderbook_path(self, exchange: str, symbol: str) -> str:
        """Return the REST path of an order book [D]: the symbol without its slash."""
        return f"/v1/orderbook/{quote(exchange, safe='')}/{quote(symbol.replace('/', ''), safe='')}"

    def rest_headers(self, api_key: str, api_secret: str) -> dict[str, bytes]:
        """Return the headers that authenticate a REST request [N]."""
        return {self.key_header: api_key.encode(), self.secret_header: api_secret.encode()}

    def sign(self, api_key: str, api_secret: str, nonce: str) -> str:
        """Return the WebSocket signature [N].

        Lowercase hex HMAC-SHA256; the key is the secret in UTF-8, the message the nonce followed by the API key.
        """
        return hmac.new(api_secret.encode(), f"{nonce}{api_key}".encode(), hashlib.sha256).hexdigest()

    def authenticate(self, api_key: str, api_secret: str, nonce: str) -> dict[str, JSON]:
        """Return the authentication message [N]; ``nonce`` is epoch milliseconds in decimal digits."""
        signature = self.sign(api_key, api_secret, nonce)
        return {
            "action": "authenticate",
            "data": {"apiKey": api_key, "nonce": nonce, "signature": signature},
        }

    def subscribe(
        self, symbol: str, depth: int = 50, channel: str = "orderbook", exchange: str | None = None
    ) -> dict[str, JSON]:
        """Return the subscription message [N]; ``depth`` counts the levels a side, ``exchange`` is optional [S]."""
        message = {"action": "subscribe", "channel": channel, "symbol": symbol, "depth": depth}
        return message if exchange is None else {**message, "exchange": exchange}

    def unsubscribe(
        self, symbol: str, channel: str = "orderbook", exchange: str | None = None, depth: int | None = None
    ) -> dict[str, JSON]:
        """Return the message that ends a subscription [S]; exchange and depth tell it from others of the symbol."""
        message = {"action": "unsubscribe", "channel": channel, "symbol": symbol}
        told = {"exchange": exchange, "depth": depth}
        return message | {name: value for name, value in told.items() if value is not None}

    def ping(self, id: JSON) -> dict[str, JSON]:
        """Return an application-level ping [S]; the pong carries the same ``id``."""
        return {"action": "ping", "id": id}

    def encode(self, message: Mapping[str, JSON]) -> str:
        """Return a message as it travels."""
        return json.dumps(message)

    def decode(self, text: str | bytes) -> JSON:
        """Return the message that travelled as ``text``: the inverse of :meth:`encode`.

        Recordings ask it how a binary message reads that is neither JSON nor compressed JSON (MessagePack, protobuf,
        SBE): what it returns is compared, given back to the client with its own values, and searched for members
        that are secret. The recording keeps the bytes.

        Raises:
            DataFormatError: It is none.
        """
        return decode_json(text)

    def read_authentication(self, message: Mapping[str, JSON]) -> tuple[str, str] | None:
        """Return key and nonce of an authentication message, for the sandbox.

        None leaves it to the sandbox to find them where :meth:`authenticate` writes them. Override it where that does
        not write them as they are, for example the nonce in seconds. The sandbox signs anew, by :meth:`authenticate`
        with this key and nonce, and compares.
        """
        return None

    def parse(self, text: str | bytes) -> Frame:
        """Read one WebSocket message.

        Raises:
            DataFormatError: It is not a JSON object, or an order-book frame does not hold what it must.
        """
        payload = self.decode(text)
        if not isinstance(payload, dict):
            raise DataFormatError(f"a frame must be a JSON object, not {_type_name(payload)}")
        name = classify(payload)
        if name == "orderbook" or "updates" in payload:
            return self.parse_orderbook(payload)
        if name in _EVENTS:
            return _EVENTS[name](payload)
        return OtherFrame(name=name, payload=payload)

    def parse_orderbook(self, payload: Mapping[str, JSON]) -> Snapshot | Update:
        """Read an order-book message in any shape: the sides at the top, or under ``updates`` [D], ``orderbook`` or
        ``orderBook`` [N].

        The REST answer, whose levels are objects and whose sequence is ``lastUpdateId``, is read too.

        Raises:
            DataFormatError: A side or a level is malformed, or there is no side; the message says which.
        """
        nested = payload.get("updates")
        places = (nested, payload.get("orderbook"), payload.get("orderBook"), payload)
        sides: Mapping[str, JSON] = next(place for place in places if isinstance(place, dict))
        if "bids" not in sides and "asks" not in sides:
            raise DataFormatError("an order-book frame must hold bids or asks, found neither")
        symbol = payload.get("symbol")
        if not isinstance(symbol, str):
            raise DataFormatError(f"an order-book frame must name its symbol, found {excerpt(repr(symbol))}")
        depth = payload.get("depth")
        common = {
            "symbol": symbol,
            "depth": depth if type(depth) is int else None,
            "exchange": _member(payload, "exchange", str),
            "timestamp": _member(payload, "timestamp", int),
            "checksum": _member(payload, "checksum", int),
            "bids": _levels(sides, "bids"),
            "asks": _levels(sides, "asks"),
        }
        sequence = _member(payload, "sequence", int)
        if sequence is None:
            sequence = _member(payload, "lastUpdateId", int)
        if payload.get("type") == "update" or isinstance(nested, dict):
            previous, first = (_member(payload, name, int) for name in ("previousSequence", "firstSequence"))
            return Update(**common, sequence=sequence, previous_sequence=previous, first_sequence=first)
        return Snapshot(**common, sequence=sequence)

    def compose(self, frame: Frame) -> dict[str, JSON]:
        """Return the message with which the sandbox says ``frame`` [D, S]: :meth:`parse` reads it.

        What is None is left out, except from a pong.
        """
        if isinstance(frame, OtherFrame):
            return frame.payload
        if isinstance(frame, Snapshot | Update):
            return self.compose_orderbook(frame)
        name = next(name for name, kind in _KINDS.items() if isinstance(frame, kind))
        told = {key: value for key, value in asdict(frame).items() if value is not None or name == "pong"}
        return {"event": name, **told}

    def compose_orderbook(self, frame: Snapshot | Update) -> dict[str, JSON]:
        """Return the message with which the sandbox says an order-book frame [D]: the sides at the top, as text."""
        message: dict[str, JSON] = {
            "type": "update" if isinstance(frame, Update) else "snapshot",
            "symbol": frame.symbol,
            "exchange": frame.exchange,
            "timestamp": frame.timestamp,
            "sequence": frame.sequence,
            "previousSequence": frame.previous_sequence if isinstance(frame, Update) else None,
            "firstSequence": frame.first_sequence if isinstance(frame, Update) else None,
            "depth": frame.depth,
            "checksum": frame.checksum,
        }
        told = {name: value for name, value in message.items() if value is not None}
        return {**told, "bids": _written(frame.bids), "asks": _written(frame.asks)}

    def error_from(self, event: ErrorEvent) -> ConnexError:
        """Return the exception an error event stands for: which codes concern credentials is [S]."""
        text = f"Connex answered {event.code or 'an error'}: {event.message or 'no message'}"
        if event.code in self.authentication_codes:
            return AuthenticationError(text, event.code)
        return SubscriptionError(text, event.code)

    def rest_error(self, status: int, body: str, retry_after: str | None, url: str) -> ConnexError:
        """Return the exception a REST error answer stands for.

        Args:
            status: The HTTP status.
            body: The body, as text [D]: ``{"error": ..., "message": ..., "code": ...}``, or anything else.
            retry_after: The ``Retry-After`` header, in seconds [S].
            url: What was asked, for the message.
        """
        payload = decode_leniently(body)
        code = payload.get("error") if isinstance(payload, dict) else None
        detail = payload.get("message") if isinstance(payload, dict) else excerpt(body)
        text = f"Connex answered {status} to {url}: {detail or 'no message'}"
        if status == 401:
            return AuthenticationError(text, code)
        if status == 429:
            return RateLimitError(text, code, _seconds(retry_after))
        return RequestError(text, status, code)


def _seconds(retry_after: str | None) -> float | None:
    """Return the seconds that ``Retry-After`` names (RFC 9110, 10.2.3); None where it names a date, or nothing."""
    digits = (retry_after or "").strip()
    return float(digits) if digits.isascii() and digits.isdecimal() else None


def _member(payload: Mapping[str, JSON], name: str, kind: type) -> JSON:
    value = payload.get(name)
    if value is None or (isinstance(value, kind) and not isinstance(value, bool)):
        return value
    wanted = {"str": "a string", "int": "a whole number", "dict": "an object"}[kind.__name__]
    raise DataFormatError(f"{name} must be {wanted}, found {excerpt(repr(value))}")


def _levels(sides: Mapping[str, JSON], side: str) -> tuple[Level, ...]:
    levels = sides.get(side, [])
    if not isinstance(levels, list):
        raise DataFormatError(f"{side} must be an array of levels, found {excerpt(repr(levels))}")
    return tuple(_level(level, f"{side}[{index}]") for index, level in enumerate(levels))


def _level(level: JSON, where: str) -> Level:
    if isinstance(level, dict) and {"price", "quantity"} <= level.keys():
        price, quantity = level["price"], level["quantity"]
    elif isinstance(level, list) and len(level) >= 2:
        price, quantity = level[0], level[1]
    else:
        raise DataFormatError(f"{where} must be [price, quantity], found {excerpt(repr(level))}")
    try:
        parsed = Level(decimal_from(price), decimal_from(quantity))
    except DataFormatError as exc:
        raise DataFormatError(f"{where}: {exc}") from exc
    if parsed.price <= 0 or parsed.quantity < 0:
        raise DataFormatError(
            f"{where}: the price must be above zero and the quantity not below it, found {price} and {quantity}"
        )
    return parsed


def _written(levels: Iterable[Level]) -> list[list[str]]:
    return [[format(price, "f"), format(quantity, "f")] for price, quantity in levels]


def _error_event(payload: Mapping[str, JSON]) -> ErrorEvent:
    return ErrorEvent(code=_member(payload, "code", str), message=_member(payload, "message", str))


def _subscription(payload: Mapping[str, JSON]) -> dict[str, JSON]:
    kinds = {"channel": str, "symbol": str, "depth": int, "exchange": str}
    return {name: _member(payload, name, kind) for name, kind in kinds.items()}


_EVENTS: dict[str, Callable[[Mapping[str, JSON]], Frame]] = {
    "authenticated": lambda p: Authenticated(timestamp=_member(p, "timestamp", int)),
    "subscribed": lambda p: Subscribed(**_subscription(p)),
    "unsubscribed": lambda p: Unsubscribed(**_subscription(p)),
    "pong": lambda p: Pong(id=p.get("id")),
    "heartbeat": lambda p: Heartbeat(timestamp=_member(p, "timestamp", int)),
    "error": _error_event,
}

_KINDS: dict[str, type[Frame]] = {
    "authenticated": Authenticated,
    "subscribed": Subscribed,
    "unsubscribed": Unsubscribed,
    "pong": Pong,
    "heartbeat": Heartbeat,
    "error": ErrorEvent,
}
"""How the events are called that :data:`_EVENTS` reads."""
