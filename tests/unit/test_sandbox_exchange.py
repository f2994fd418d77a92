"""The sandbox's exchange: answers by value, without a server."""

from __future__ import annotations

import json

import pytest

from pytest_connex.errors import ConfigError
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


def statuses(exchange, credentials, *times: int) -> list[int]:
    headers = {"X-CONNEX-API-KEY": credentials.api_key, "X-CONNEX-API-SECRET": credentials.api_secret}
    return [exchange.rest("GET", "/v1/status", {}, headers, now).status for now in times]


def test_the_remaining_requests_count_down(exchange, credentials):
    remaining = [int(rest(exchange, credentials, "/v1/status")[2]["X-RateLimit-Remaining"]) for _ in range(3)]
    assert remaining == [99_999, 99_998, 99_997]


def test_when_nothing_remains_the_answer_is_429_and_says_how_long_to_wait(credentials):
    exchange = Exchange(seed=7, rate_limit=2)
    exchange.new_credentials()
    answers = [rest(exchange, credentials, "/v1/status") for _ in range(4)]
    reset = str((NOW + 60_000) // 1000 + 1)

    assert [status for status, _, _ in answers] == [200, 200, 429, 429]
    assert answers[3][1] == {
        "error": "rate_limited",
        "message": "too many requests: try again in 60 s",
        "code": 429,
        "details": {},
    }
    limits = {"X-RateLimit-Limit": "2", "X-RateLimit-Reset": reset}
    assert answers[1][2] == {**limits, "X-RateLimit-Remaining": "0"}
    assert answers[3][2] == {**limits, "X-RateLimit-Remaining": "0", "Retry-After": "60"}


def test_a_window_begins_with_the_first_request_and_ends_after_a_minute():
    exchange = Exchange(seed=7, rate_limit=1)
    credentials = exchange.new_credentials()
    assert statuses(exchange, credentials, NOW, NOW + 59_999, NOW + 60_000, NOW + 60_001) == [200, 429, 200, 429]


def test_the_wait_is_whole_seconds_until_the_window_ends():
    exchange = Exchange(seed=7, rate_limit=1)
    credentials = exchange.new_credentials()
    statuses(exchange, credentials, NOW)
    headers = {"X-CONNEX-API-KEY": credentials.api_key, "X-CONNEX-API-SECRET": credentials.api_secret}
    waits = [
        exchange.rest("GET", "/", {}, headers, NOW + later).headers["Retry-After"] for later in (1, 58_001, 59_999)
    ]
    assert waits == ["60", "2", "1"]


def test_each_key_has_a_limit_of_its_own_and_strangers_share_one():
    exchange = Exchange(seed=7, rate_limit=1)
    one, other = exchange.new_credentials(), exchange.new_credentials()
    nobody, stranger = Exchange(8).new_credentials(), Exchange(9).new_credentials()
    assert [statuses(exchange, who, NOW)[0] for who in (one, other, nobody, stranger, one)] == [
        200,
        200,
        401,
        429,
        429,
    ]


def test_setting_the_limit_begins_every_count_anew(exchange, credentials):
    exchange.rate_limit = 1
    assert statuses(exchange, credentials, NOW, NOW) == [200, 429]
    exchange.rate_limit = 1
    assert statuses(exchange, credentials, NOW, NOW) == [200, 429]


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "9"])
def test_a_limit_that_is_no_number_of_requests_is_refused(limit):
    with pytest.raises(ConfigError, match="a rate limit must be a whole number of requests above zero"):
        Exchange(rate_limit=limit)


# --- The clock ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("skew", [45, -45, 0.5])
def test_everything_the_exchange_dates_is_by_its_own_clock(exchange, credentials, skew):
    exchange.clock_skew = skew
    clock = NOW + round(skew * 1000)
    session = exchange.open_session(NOW)
    [accepted] = ask(session, authentication(credentials, str(clock)))
    _, snapshot = ask(session, DIALECT.subscribe("ETH/USDT", 3))
    [update] = [json.loads(out.text) for out in session.tick(NOW)]
    _, status, headers = rest(exchange, credentials, "/v1/status")
    _, book, _ = rest(exchange, credentials, "/v1/orderbook/binance/ETHUSDT")

    assert {each["timestamp"] for each in (accepted, snapshot, update, status, book)} == {clock}
    assert headers["X-RateLimit-Reset"] == str(-((clock + 60_000) // -1000))


@pytest.mark.parametrize(
    ("skew", "answer"),
    [(30, "authenticated"), (-30, "authenticated"), (30.001, "stale_nonce"), (-30.001, "stale_nonce")],
)
def test_nonces_are_held_against_the_clock_of_the_exchange(exchange, credentials, skew, answer):
    exchange.clock_skew = skew
    said = ask(exchange.open_session(NOW), authentication(credentials))[0]
    assert said.get("code", said["event"]) == answer


def test_a_clock_that_is_set_while_a_client_is_silent_brings_no_heartbeat(exchange):
    session = exchange.open_session(NOW)
    exchange.clock_skew = 3_600
    assert session.tick(NOW + 4_999) == []
    assert json.loads(session.tick(NOW + 5_000)[0].text)["timestamp"] == NOW + 3_605_000


@pytest.mark.parametrize("skew", [float("nan"), float("inf"), True, "1"])
def test_a_skew_that_is_no_number_of_seconds_is_refused(exchange, skew):
    with pytest.raises(ConfigError, match="a clock skew must be a number of seconds"):
        exchange.clock_skew = skew


# --- Several subscriptions of a symbol -----------------------------------------------------------------------

MARKETS = [("binance", 3), ("binance", 20), ("okx", 3), ("okx", 20)]


def told(out) -> list[tuple]:
    messages = [json.loads(each.text) for each in out]
    return [(each["exchange"], each.get("depth"), each["sequence"]) for each in messages]


def crowded(exchange):
    session = exchange.open_session(NOW)
    for name, depth in MARKETS:
        answer, snapshot = ask(session, DIALECT.subscribe("ETH/USDT", depth, exchange=name))
        assert answer == {
            "event": "subscribed",
            "channel": "orderbook",
            "symbol": "ETH/USDT",
            "depth": depth,
            "exchange": name,
        }
        assert (snapshot["exchange"], len(snapshot["bids"])) == (name, depth)
        yield snapshot["sequence"]
    yield session


def test_a_symbol_may_be_subscribed_to_on_each_exchange_and_at_each_depth(exchange):
    *sequences, session = crowded(exchange)
    for step in (1, 2):
        expected = [(*market, sequence + step) for market, sequence in zip(MARKETS, sequences, strict=True)]
        assert told(session.tick(NOW)) == expected


def test_the_stream_of_a_subscription_is_the_same_alone_and_among_others(exchange):
    *_, session = crowded(exchange)
    alone = exchange.open_session(NOW)
    ask(alone, DIALECT.subscribe("ETH/USDT", 20, exchange="okx"))
    for _ in range(20):
        [single], among = alone.tick(NOW), session.tick(NOW)[3]
        assert {**json.loads(single.text), "depth": 20} == json.loads(among.text)


def test_frames_name_their_depth_from_the_second_depth_of_a_market_on(exchange):
    session = exchange.open_session(NOW)
    _, first = ask(session, DIALECT.subscribe("ETH/USDT", 3))
    _, other = ask(session, DIALECT.subscribe("ETH/USDC", 20))
    before = [depth for _, depth, _ in told(session.tick(NOW))]
    _, second = ask(session, DIALECT.subscribe("ETH/USDT", 20))
    after = [depth for _, depth, _ in told(session.tick(NOW))]
    ask(session, DIALECT.unsubscribe("ETH/USDT", depth=3))
    left = [depth for _, depth, _ in told(session.tick(NOW))]
    assert ("depth" in first, "depth" in other, second["depth"]) == (False, False, 20)
    assert (before, after, left) == ([None, None], [3, None, 20], [None, 20])


@pytest.mark.parametrize(
    ("ended", "answer", "left"),
    [
        ({"exchange": "okx", "depth": 20}, {"depth": 20, "exchange": "okx"}, [MARKETS[0], MARKETS[1], MARKETS[2]]),
        ({"depth": 3}, {"depth": 3, "exchange": "binance"}, MARKETS[1:]),
    ],
)
def test_an_unsubscription_leaves_the_others(exchange, ended, answer, left):
    *_, session = crowded(exchange)
    assert ask(session, DIALECT.unsubscribe("ETH/USDT", **ended)) == [
        {"event": "unsubscribed", "channel": "orderbook", "symbol": "ETH/USDT", **answer}
    ]
    assert [(name, depth) for name, depth, _ in told(session.tick(NOW))] == left


@pytest.mark.parametrize(
    ("asked", "code", "message"),
    [
        (
            DIALECT.subscribe("ETH/USDT", 20, exchange="okx"),
            "already_subscribed",
            "ETH/USDT on okx at depth 20: it is subscribed already, and goes on",
        ),
        (
            DIALECT.subscribe("ETH/USDT", 20),
            "already_subscribed",
            "ETH/USDT on binance at depth 20: it is subscribed already, and goes on",
        ),
        (
            DIALECT.subscribe("ETH/USDT", 101, exchange="okx"),
            "invalid_depth",
            "ETH/USDT on okx at depth 101: depth must be a whole number from 1 to 100",
        ),
        (
            DIALECT.subscribe("ETH/USDT", 3, exchange="kraken"),
            "unknown_symbol",
            "ETH/USDT on kraken at depth 3: there is no such market",
        ),
        (
            DIALECT.unsubscribe("ETH/USDT", exchange="okx"),
            "bad_request",
            "ETH/USDT on okx: say which depth is meant, of 3, 20",
        ),
        (
            DIALECT.unsubscribe("ETH/USDT", exchange="okx", depth=7),
            "not_subscribed",
            "ETH/USDT on okx at depth 7: there is no such subscription",
        ),
        (
            DIALECT.unsubscribe("BTC/USDT"),
            "not_subscribed",
            "BTC/USDT on binance: there is no such subscription",
        ),
    ],
)
def test_an_error_says_which_subscription_it_is_about_and_ends_none(exchange, asked, code, message):
    *_, session = crowded(exchange)
    assert ask(session, asked) == [{"event": "error", "code": code, "message": message}]
    assert [(name, depth) for name, depth, _ in told(session.tick(NOW))] == MARKETS


def test_the_only_subscription_of_a_symbol_needs_no_exchange_to_be_ended(exchange):
    session = exchange.open_session(NOW)
    ask(session, DIALECT.subscribe("ETH/USDT", 3, exchange="okx"))
    assert ask(session, DIALECT.unsubscribe("ETH/USDT")) == [
        {"event": "unsubscribed", "channel": "orderbook", "symbol": "ETH/USDT"}
    ]
    assert not session.streaming


def test_what_was_unsubscribed_from_may_be_subscribed_to_again(exchange):
    *_, session = crowded(exchange)
    first = told(session.tick(NOW))[3]
    ask(session, DIALECT.unsubscribe("ETH/USDT", exchange="okx", depth=20))
    _, again = ask(session, DIALECT.subscribe("ETH/USDT", 20, exchange="okx"))
    assert again["sequence"] == first[2] - 1


def test_credentials_are_those_of_the_seed_and_hide_their_secret():
    first, again, other = Exchange(7).new_credentials(), Exchange(7).new_credentials(), Exchange(8).new_credentials()
    assert first == again != other
    assert first.api_secret not in repr(first)
