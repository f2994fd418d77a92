"""The sandbox's exchange: answers by value, without a server."""

from __future__ import annotations

import json

import pytest

from pytest_connex.protocol import Dialect
from pytest_connex.sandbox.exchange import Close, Exchange, Send

NOW = 1_737_158_400_123
DIALECT = Dialect()


@pytest.fixture
def exchange() -> Exchange:
    return Exchange(seed=7)


@pytest.fixture
def credentials(exchange):
    return exchange.new_credentials()


def ask(session, message, now=NOW) -> list:
    text = message if isinstance(message, (str, bytes)) else json.dumps(message)
    return [json.loads(out.text) if isinstance(out, Send) else out for out in session.receive(text, now)]


def authentication(credentials, nonce: str = str(NOW), **changed) -> dict:
    message = DIALECT.authenticate(credentials.api_key, credentials.api_secret, nonce)
    message["data"].update(changed)
    return message


def test_a_valid_signature_is_accepted(exchange, credentials):
    answers = ask(exchange.open_session(NOW), authentication(credentials))
    assert answers == [{"event": "authenticated", "timestamp": NOW}]


@pytest.mark.parametrize(
    ("nonce", "changed", "code"),
    [
        (str(NOW), {"signature": "0" * 64}, "invalid_signature"),
        (str(NOW), {"signature": "ü"}, "invalid_signature"),
        (str(NOW), {"apiKey": "nobody"}, "unknown_key"),
        (str(NOW - 30_001), {}, "stale_nonce"),
        (str(NOW + 30_001), {}, "stale_nonce"),
        ("yesterday", {}, "stale_nonce"),
        ("9" * 5000, {}, "stale_nonce"),
    ],
)
def test_a_rejected_authentication_closes(exchange, credentials, nonce, changed, code):
    error, close = ask(exchange.open_session(NOW), authentication(credentials, nonce, **changed))
    assert (error["event"], error["code"]) == ("error", code)
    assert close == Close(4001, code)


def test_a_nonce_is_good_once_for_each_key(exchange, credentials):
    other = exchange.new_credentials()
    assert ask(exchange.open_session(NOW), authentication(credentials))[0]["event"] == "authenticated"
    assert ask(exchange.open_session(NOW), authentication(credentials))[0]["code"] == "reused_nonce"
    assert ask(exchange.open_session(NOW), authentication(other))[0]["event"] == "authenticated"


@pytest.mark.parametrize("message", [{"action": "authenticate"}, {"action": "authenticate", "data": {"apiKey": 7}}])
def test_an_incomplete_authentication_leaves_the_connection_up(exchange, message):
    [error] = ask(exchange.open_session(NOW), message)
    assert error["code"] == "bad_request"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("not JSON", "bad_request"),
        (b"\xff\xfe", "bad_request"),
        ("[1]", "bad_request"),
        ('{"a": NaN}', "bad_request"),
        ('{"action": 1, "action": 2}', "bad_request"),
        ({}, "unknown_action"),
        ({"action": "dance"}, "unknown_action"),
        ({"action": "subscribe"}, "bad_request"),
        ({"action": "subscribe", "channel": "trades", "symbol": "ETH/USDT", "depth": 5}, "unknown_channel"),
        ({"action": "subscribe", "channel": "orderbook", "symbol": "NO/NO", "depth": 5}, "unknown_symbol"),
        ({"action": "subscribe", "channel": "orderbook", "symbol": "ETH/USDT"}, "invalid_depth"),
        ({"action": "subscribe", "channel": "orderbook", "symbol": "ETH/USDT", "depth": 0}, "invalid_depth"),
        ({"action": "subscribe", "channel": "orderbook", "symbol": "ETH/USDT", "depth": True}, "invalid_depth"),
        ({"action": "subscribe", "channel": "orderbook", "symbol": "ETH/USDT", "depth": 5.0}, "invalid_depth"),
        ({"action": "unsubscribe", "symbol": "ETH/USDT"}, "not_subscribed"),
    ],
    ids=str,
)
def test_what_cannot_be_done_gets_an_error_event(exchange, message, code):
    [error] = ask(exchange.open_session(NOW), message)
    assert error == {"event": "error", "code": code, "message": error["message"]}


def test_a_subscription_is_answered_with_a_snapshot_and_linked_updates(exchange):
    session = exchange.open_session(NOW)
    answer, snapshot = ask(session, DIALECT.subscribe("ETH/USDT", 3))
    [update] = [json.loads(out.text) for out in session.tick(NOW + 50)]

    assert answer == {"event": "subscribed", "channel": "orderbook", "symbol": "ETH/USDT", "depth": 3}
    assert (snapshot["type"], snapshot["exchange"], len(snapshot["bids"])) == ("snapshot", "binance", 3)
    assert (update["type"], update["timestamp"]) == ("update", NOW + 50)
    assert (update["previousSequence"], update["sequence"]) == (snapshot["sequence"], snapshot["sequence"] + 1)


def test_the_frames_of_a_subscription_do_not_depend_on_others(exchange):
    alone, crowded = exchange.open_session(NOW), exchange.open_session(NOW)
    ask(crowded, DIALECT.subscribe("ETH/USDC", 3))
    crowded.tick(NOW)
    frames = [ask(session, DIALECT.subscribe("ETH/USDT", 3)) + session.tick(NOW)[-1:] for session in (alone, crowded)]
    assert frames[0] == frames[1]


def test_the_other_exchange_can_be_asked_for(exchange):
    _, snapshot = ask(exchange.open_session(NOW), {**DIALECT.subscribe("ETH/USDT", 3), "exchange": "okx"})
    assert snapshot["exchange"] == "okx"


def test_an_unsubscribed_symbol_is_silent(exchange):
    session = exchange.open_session(NOW)
    ask(session, DIALECT.subscribe("ETH/USDT", 3))
    assert ask(session, DIALECT.unsubscribe("ETH/USDT")) == [
        {"event": "unsubscribed", "channel": "orderbook", "symbol": "ETH/USDT"}
    ]
    assert (session.streaming, session.tick(NOW + 50)) == (False, [])


@pytest.mark.parametrize("id", [7, "seven", None, [1]])
def test_a_pong_carries_the_id_of_the_ping(exchange, id):
    assert ask(exchange.open_session(NOW), DIALECT.ping(id)) == [{"event": "pong", "id": id}]


def test_five_seconds_of_silence_bring_a_heartbeat(exchange):
    session = exchange.open_session(NOW)
    assert session.tick(NOW + 4_999) == []
    assert session.tick(NOW + 5_000) == [Send(json.dumps({"event": "heartbeat", "timestamp": NOW + 5_000}))]
    assert session.tick(NOW + 9_999) == []


def rest(exchange, credentials, path, query=None, method="GET"):
    headers = {"x-connex-api-key": credentials.api_key, "X-Connex-Api-Secret": credentials.api_secret}
    answer = exchange.rest(method, path, query or {}, headers, NOW)
    return answer.status, json.loads(answer.body), answer.headers


@pytest.mark.parametrize(
    ("method", "path", "query", "status", "error"),
    [
        ("GET", "/v1/nothing", {}, 404, "not_found"),
        ("GET", "/v1/orderbook/kraken/ETHUSDT", {}, 404, "not_found"),
        ("GET", "/v1/orderbook/binance/XXX", {}, 404, "not_found"),
        ("GET", "/v1/orderbook/binance/ETHUSDT", {"depth": "0"}, 400, "invalid_depth"),
        ("GET", "/v1/orderbook/binance/ETHUSDT", {"depth": "101"}, 400, "invalid_depth"),
        ("GET", "/v1/orderbook/binance/ETHUSDT", {"depth": "-1"}, 400, "invalid_depth"),
        ("GET", "/v1/orderbook/binance/ETHUSDT", {"depth": "9" * 6000}, 400, "invalid_depth"),
        ("GET", "/v1/symbols", {"exchange": "kraken"}, 404, "not_found"),
        ("POST", "/v1/status", {}, 405, "method_not_allowed"),
    ],
)
def test_rest_errors(exchange, credentials, method, path, query, status, error):
    given, body, _ = rest(exchange, credentials, path, query, method)
    assert (given, body["code"], body["error"]) == (status, status, error)


def test_rest_rejects_who_it_does_not_know(exchange, credentials):
    for key, secret in (
        (credentials.api_key, "wrong"),
        ("wrong", credentials.api_secret),
        (credentials.api_key, "ü"),
    ):
        headers = {"X-CONNEX-API-KEY": key, "X-CONNEX-API-SECRET": secret}
        assert exchange.rest("GET", "/v1/status", {}, headers, NOW).status == 401
    assert exchange.rest("GET", "/v1/status", {}, {}, NOW).status == 401


def test_the_rest_book_is_the_one_a_subscription_starts_from(exchange, credentials):
    _, snapshot = ask(exchange.open_session(NOW), DIALECT.subscribe("ETH/USDT", 20))
    _, book, _ = rest(exchange, credentials, "/v1/orderbook/binance/ETHUSDT")
    assert book["lastUpdateId"] == snapshot["sequence"]
    assert [[level["price"], level["quantity"]] for level in book["bids"]] == snapshot["bids"]


def test_the_remaining_requests_count_down_within_a_minute(exchange, credentials):
    remaining = [int(rest(exchange, credentials, "/v1/status")[2]["X-RateLimit-Remaining"]) for _ in range(3)]
    assert remaining == [99_999, 99_998, 99_997]


def test_credentials_are_those_of_the_seed_and_hide_their_secret():
    first, again, other = Exchange(7).new_credentials(), Exchange(7).new_credentials(), Exchange(8).new_credentials()
    assert first == again != other
    assert first.api_secret not in repr(first)
