"""What a dialect means to a server: everything that a dialect builds is understood, without being said again."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json

import pytest

from pytest_connex.errors import ConfigError, DataFormatError
from pytest_connex.model import Authenticated, OtherFrame
from pytest_connex.protocol import Dialect, decode_json
from pytest_connex.sandbox.exchange import Close, Exchange, Send
from pytest_connex.sandbox.language import Language, Misfit, Ping, Route, Subscription, Unsubscription

COUNT = itertools.count()
NOW = 1_737_158_400_123


class Login(Dialect):
    """Other members, an array, a number for the nonce, and another signature."""

    def sign(self, api_key, api_secret, nonce):
        signed = hmac.new(base64.b64decode(api_secret), nonce.encode(), hashlib.sha512).digest()
        return base64.b64encode(signed).decode()

    def authenticate(self, api_key, api_secret, nonce):
        signature = self.sign(api_key, api_secret, nonce)
        return {"op": "login", "args": [{"key": api_key, "at": int(nonce), "sign": signature}], "v": 1.5}


class Topics(Dialect):
    """Subscriptions as topics that hold the symbol without its slash, and the depth; no exchange."""

    def subscribe(self, symbol, depth=50, channel="orderbook"):
        return {"op": "sub", "topics": [f"{channel}.{depth}.{symbol.replace('/', '').lower()}"]}

    def unsubscribe(self, symbol, channel="orderbook"):
        return {"op": "unsub", "topics": [f"{channel}.{symbol.replace('/', '').lower()}"]}

    def ping(self, id):
        return {"op": "ping", "req": str(id)}


class Wrapped(Dialect):
    """Every message behind a prefix, and counted."""

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "_count", 0)

    def _counted(self, message):
        object.__setattr__(self, "_count", self._count + 1)
        return {**message, "seq": self._count}

    def authenticate(self, api_key, api_secret, nonce):
        return self._counted(super().authenticate(api_key, api_secret, nonce))

    def subscribe(self, symbol, depth=50, channel="orderbook", exchange=None):
        return self._counted(super().subscribe(symbol, depth, channel, exchange))

    def encode(self, message):
        return "42" + json.dumps(message)

    def decode(self, text):
        if not str(text).startswith("42"):
            raise DataFormatError("it begins with 42")
        return decode_json(text[2:])


class Seconds(Dialect):
    """A nonce in seconds, which needs a word about how it is read."""

    def authenticate(self, api_key, api_secret, nonce):
        seconds = str(int(nonce) // 1000)
        return {
            "action": "authenticate",
            "key": api_key,
            "at": seconds,
            "sign": self.sign(api_key, api_secret, seconds),
        }

    def read_authentication(self, message):
        return message["key"], message["at"] + "000"


class Token(Dialect):
    """The secret itself, and nothing else."""

    def authenticate(self, api_key, api_secret, nonce):
        return {"token": api_secret}


class Depthless(Dialect):
    """No depth, and no channel: the gateway chooses."""

    def subscribe(self, symbol, depth=50, exchange=None):
        return {"watch": f"{exchange or 'any'}:{symbol}"}

    def unsubscribe(self, symbol, exchange=None):
        return {"leave": f"{exchange or 'any'}:{symbol}"}


class Answers(Dialect):
    """Other events, which it reads and writes."""

    def parse(self, text):
        frame = super().parse(text)
        return Authenticated() if frame == OtherFrame(name="login", payload={"op": "login", "ok": True}) else frame

    def compose(self, frame):
        return {"op": "login", "ok": True} if isinstance(frame, Authenticated) else super().compose(frame)


DIALECTS = (Dialect, Login, Topics, Wrapped, Seconds, Token, Depthless, Answers)


def said(out) -> list:
    return [each if isinstance(each, Close) else each.text for each in out]


@pytest.mark.parametrize("kind", DIALECTS)
def test_a_client_of_a_dialect_is_accepted_and_its_book_is_sent(kind):
    dialect = kind()
    exchange = Exchange(7, dialect)
    credentials = exchange.new_credentials()
    session = exchange.open_session(NOW)

    def ask(message) -> list:
        return [dialect.parse(out.text) for out in session.receive(dialect.encode(message), NOW)]

    [accepted] = ask(dialect.authenticate(credentials.api_key, credentials.api_secret, str(NOW)))
    subscribed, snapshot = ask(dialect.subscribe("BTC/USDT", 50))
    [update] = [dialect.parse(out.text) for out in session.tick(NOW)]
    [pong] = ask(dialect.ping(7))
    [unsubscribed] = ask(dialect.unsubscribe("BTC/USDT"))

    names = [type(each).__name__ for each in (accepted, subscribed, snapshot, update, pong, unsubscribed)]
    assert names == ["Authenticated", "Subscribed", "Snapshot", "Update", "Pong", "Unsubscribed"]
    assert (snapshot.symbol, len(snapshot.bids), update.previous_sequence) == ("BTC/USDT", 50, snapshot.sequence)
    assert (subscribed.symbol, subscribed.depth, str(pong.id)) == ("BTC/USDT", 50, "7")


@pytest.mark.parametrize("kind", [Dialect, Login, Wrapped, Seconds, Token])
def test_another_secret_is_rejected_in_every_dialect(kind):
    dialect = kind()
    exchange = Exchange(7, dialect)
    credentials, other = exchange.new_credentials(), Exchange(8).new_credentials()
    message = dialect.encode(dialect.authenticate(credentials.api_key, other.api_secret, str(NOW)))
    error, close = exchange.open_session(NOW).receive(message, NOW)
    assert dialect.parse(error.text).code == "invalid_signature"
    assert close == Close(4001, "invalid_signature")


@pytest.mark.parametrize("kind", [Login, Seconds])
def test_nonces_are_read_where_the_dialect_writes_them(kind):
    dialect = kind()
    exchange = Exchange(7, dialect)
    credentials = exchange.new_credentials()

    def code(nonce: int) -> str | None:
        message = dialect.authenticate(credentials.api_key, credentials.api_secret, str(nonce))
        answer = exchange.open_session(NOW).receive(dialect.encode(message), NOW)[0]
        return getattr(dialect.parse(answer.text), "code", None)

    assert [code(NOW), code(NOW), code(NOW - 40_000)] == [None, "reused_nonce", "stale_nonce"]


@pytest.mark.parametrize(
    ("dialect", "message", "expected"),
    [
        (Dialect(), Dialect().subscribe("ETH/USDC", 3, exchange="okx"), ("ETH/USDC", "okx", 3)),
        (Topics(), {"op": "sub", "topics": ["orderbook.100.ethusdc"]}, ("ETH/USDC", None, 100)),
        (Topics(), {"op": "sub", "topics": ["orderbook.3.ethusdc"], "x": 1}, ("ETH/USDC", None, 3)),
        (Depthless(), {"watch": "okx:ETH/USDT"}, ("ETH/USDT", "okx", 50)),
    ],
)
def test_a_subscription_is_read_back_to_its_market(dialect, message, expected):
    found = Language(dialect).read(dialect.encode(message))
    assert isinstance(found, Subscription)
    assert found[1:] == expected


@pytest.mark.parametrize(
    ("dialect", "message", "code"),
    [
        (Topics(), {"op": "sub", "topics": ["orderbook.3.nosuch"]}, "unknown_symbol"),
        (Topics(), {"op": "sub", "topics": []}, "bad_request"),
        (Topics(), {"op": "sub"}, "bad_request"),
        (Topics(), {"op": "dance"}, "unknown_action"),
        (Topics(), {"action": "subscribe", "symbol": "ETH/USDT"}, "unknown_action"),
        (Topics(), {"op": "unsub", "topics": ["orderbook.nosuch"]}, "not_subscribed"),
        (Depthless(), {"watch": "kraken:ETH/USDT"}, "unknown_symbol"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Dialect) else str(value),
)
def test_what_a_dialect_does_not_say_is_an_error(dialect, message, code):
    found = Language(dialect).read(dialect.encode(message))
    assert isinstance(found, Misfit)
    assert found.code == code


def test_what_cannot_be_decoded_is_told_in_the_words_of_the_dialect():
    assert Language(Wrapped()).read("{}") == Misfit("bad_request", "it begins with 42")


def test_an_unsubscription_that_leaves_out_the_channel_is_read():
    found = Language(Dialect()).read('{"action": "unsubscribe", "symbol": "ETH/USDT"}')
    assert found == Unsubscription("orderbook", "ETH/USDT", None, None)


@pytest.mark.parametrize(
    ("text", "id"), [('{"action": "ping", "id": [1, {"a": 2}]}', [1, {"a": 2}]), ('{"action": "ping"}', None)]
)
def test_a_ping_is_read_with_whatever_id_it_has(text, id):
    assert Language(Dialect()).read(text) == Ping(id)


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        (
            {"parse": lambda self, text: OtherFrame(name="x", payload={})},
            "parse() reads what compose() writes for Authenticated as OtherFrame: override compose() too, so that it "
            "writes what parse() reads",
        ),
        (
            {"encode": lambda self, message: "42" + json.dumps(message)},
            "decode() does not read what encode() writes of authenticate(): ",
        ),
        (
            {"encode": lambda self, message: "{}"},
            "decode() reads something else than encode() writes of authenticate()",
        ),
        (
            {"authenticate": lambda self, key, secret, nonce: {"k": key, "s": self.sign(key, secret, nonce)}},
            "what authenticate() builds is not understood: override read_authentication()",
        ),
        (
            {"authenticate": lambda self, key, secret, nonce: {"k": key, "s": next(COUNT)}},
            "authenticate() must give the same signature for the same key, secret and nonce",
        ),
        (
            {"authenticate": lambda self, key, secret, nonce: bytes.fromhex("no hex")},
            "authenticate() failed: ValueError: non-hexadecimal number",
        ),
        ({"ping": lambda self, id: [id]}, "ping() must return an object, not list"),
        (
            {"subscribe": lambda self, symbol, depth=50: {"sub": "all"}},
            "what subscribe('ETH/USDC') builds cannot be told from other messages: it must say what it asks for, and "
            "which symbol",
        ),
        (
            {
                "unsubscribe": lambda self, symbol: {
                    "action": "subscribe",
                    "channel": "orderbook",
                    "symbol": symbol,
                    "depth": 50,
                }
            },
            "what unsubscribe('ETH/USDT') builds cannot be told from other messages",
        ),
        ({"compose": lambda self, frame: {}["none"]}, "KeyError: 'none'"),
        ({"rest_headers": lambda self, key, secret: 1 / 0}, "ZeroDivisionError: division by zero"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_a_dialect_that_cannot_be_served_is_refused_with_the_reason(members, problem):
    kind = type("Mine", (Dialect,), members)
    with pytest.raises(ConfigError) as caught:
        Exchange(7, kind())
    assert str(caught.value).startswith(f"the sandbox cannot speak the dialect Mine: {problem}")


# --- REST ------------------------------------------------------------------------------------------------


class Venue(Dialect):
    status_path = "v2/status/"
    key_header = "X-MY-KEY"

    def orderbook_path(self, exchange, symbol):
        return f"/v2/book?venue={exchange}&pair={symbol.replace('/', '-')}"

    def rest_headers(self, api_key, api_secret):
        return {"Authorization": f"Bearer {api_key}:{api_secret}".encode(), "X-Version": b"2"}


@pytest.mark.parametrize(
    ("path", "query", "route"),
    [
        ("/v2/status", {}, Route("status")),
        ("/v1/symbols/", {"exchange": "okx"}, Route("symbols")),
        ("/v2/book", {"venue": "okx", "pair": "ETH-USDC", "depth": "3"}, Route("book", "okx", "ETH/USDC")),
        ("/v2/book", {"venue": "okx", "pair": "NO-SUCH"}, None),
        ("/v1/status", {}, None),
    ],
)
def test_requests_lead_where_the_dialect_sends_them(path, query, route):
    assert Language(Venue()).route(path, query) == route


def test_symbols_that_a_path_escapes_are_found():
    kind = type(
        "Escaped", (Dialect,), {"orderbook_path": lambda self, exchange, symbol: f"/b/{exchange}/ETH%2FUSDT/{symbol}"}
    )
    assert Language(kind()).route("/b/okx/ETH/USDT/BTC/USDT", {}) == Route("book", "okx", "BTC/USDT")


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({"authorization": "Bearer k:s"}, "k"),
        ({"Authorization": "Bearer k:s", "X-Version": "1"}, "k"),
        ({"Authorization": "Bearer k:t"}, None),
        ({"Authorization": "Bearer other:s"}, None),
        ({"X-Version": "2"}, None),
        ({}, None),
    ],
)
def test_credentials_are_found_in_the_headers_of_the_dialect(headers, key):
    assert Language(Venue()).identify(headers, {"k": "s", "l": "t"}) == key


def test_a_dialect_without_credentials_over_rest_asks_for_none():
    kind = type("Open", (Dialect,), {"rest_headers": lambda self, key, secret: {}})
    answer = Exchange(7, kind()).rest("GET", "/v1/status", {}, {}, NOW)
    assert answer.status == 200


def test_another_dialect_counts_from_then_on_and_open_connections_keep_theirs():
    exchange = Exchange(7)
    before = exchange.open_session(NOW)
    exchange.dialect = Topics()
    after = exchange.open_session(NOW)
    topic = Topics().encode(Topics().subscribe("ETH/USDT", 3))
    assert "unknown_action" in said(before.receive(topic, NOW))[0]
    assert isinstance(after.receive(topic, NOW)[1], Send)
