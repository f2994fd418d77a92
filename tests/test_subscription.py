"""Subscriptions: answers, snapshots, linked updates, refusals; and books over REST."""

from __future__ import annotations

import pytest

from pytest_connex import capture_orderbook
from pytest_connex.errors import RequestError, SubscriptionError
from pytest_connex.model import ErrorEvent, Pong, Snapshot, Subscribed, Unsubscribed, Update


async def test_the_answer_repeats_the_subscription(connex_ws):
    answer = await connex_ws.subscribe("ETH/USDT", depth=50)

    assert answer == Subscribed(channel="orderbook", symbol="ETH/USDT", depth=50)


async def test_the_first_book_frame_is_a_snapshot_of_the_symbol(connex_ws):
    await connex_ws.subscribe("ETH/USDT", depth=50)
    frame = await connex_ws.recv()

    assert isinstance(frame, Snapshot)
    assert frame.symbol == "ETH/USDT"


@pytest.mark.parametrize("depth", [1, 20, 100])
async def test_a_snapshot_has_the_subscribed_depth(connex_ws, depth):
    await connex_ws.subscribe("ETH/USDT", depth=depth)
    frame = await connex_ws.recv()

    assert (len(frame.bids), len(frame.asks)) == (depth, depth)


@pytest.mark.parametrize("symbol", ["ETH/USDT", "ETH/USDC"])
async def test_updates_link_to_their_predecessors(connex_ws, symbol):
    await connex_ws.subscribe(symbol)
    snapshot, *updates = [await connex_ws.recv() for _ in range(4)]

    assert isinstance(snapshot, Snapshot)
    assert all(isinstance(update, Update) and update.symbol == symbol for update in updates)
    expected = [snapshot.sequence, *(update.sequence for update in updates)][:-1]
    assert [update.previous_sequence for update in updates] == expected


@pytest.mark.connex(clock="virtual")  # the same messages in between, however slow the machine
async def test_two_symbols_share_a_connection(connex_ws):
    await connex_ws.subscribe("ETH/USDT", depth=5)
    await connex_ws.subscribe("ETH/USDC", depth=5)
    seen = {(await connex_ws.recv()).symbol for _ in range(6)}

    assert seen == {"ETH/USDT", "ETH/USDC"}


async def test_an_unknown_symbol_is_refused_and_the_connection_stays_up(connex_ws):
    with pytest.raises(SubscriptionError) as caught:
        await connex_ws.subscribe("NO/SUCH")

    assert caught.value.code == "unknown_symbol"
    assert await connex_ws.ping(1) == Pong(id=1)


@pytest.mark.parametrize("depth", [0, 101, -1])
async def test_a_depth_out_of_range_is_refused(connex_ws, depth):
    with pytest.raises(SubscriptionError) as caught:
        await connex_ws.subscribe("ETH/USDT", depth=depth)

    assert caught.value.code == "invalid_depth"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"action": "subscribe", "channel": "weather", "symbol": "ETH/USDT", "depth": 5}, "unknown_channel"),
        ({"action": "subscribe", "channel": "orderbook"}, "bad_request"),
        ({"action": "dance"}, "unknown_action"),
    ],
    ids=["unknown channel", "missing member", "unknown action"],
)
async def test_a_bad_request_gets_an_error_event(connex_ws, message, code):
    await connex_ws.send(message)
    event = await connex_ws.recv()

    assert isinstance(event, ErrorEvent)
    assert event.code == code


async def test_what_is_not_json_gets_an_error_event_and_the_connection_stays_up(connex_config, connex_connect):
    async with connex_connect(connex_config.ws_url) as ws:
        await ws.send("this is not JSON")
        assert '"bad_request"' in await ws.recv()
        await ws.send('{"action": "ping", "id": 2}')
        assert '"pong"' in await ws.recv()


@pytest.mark.connex(clock="virtual")  # no update comes in between, however slow the machine
async def test_after_unsubscribing_the_connection_still_answers(connex_ws):
    await connex_ws.subscribe("ETH/USDT", depth=5)
    answer = await connex_ws.unsubscribe("ETH/USDT")

    assert answer == Unsubscribed(channel="orderbook", symbol="ETH/USDT")
    assert await connex_ws.ping("after") == Pong(id="after")


async def test_a_capture_collects_the_frames_it_was_asked_for(connex_config, connex_connect):
    result = await capture_orderbook(sample_messages=3, config=connex_config, connect=connex_connect)

    assert (result.status, result.attempts, len(result.orderbook_messages)) == ("success", 1, 3)
    assert [event["event"] for event in result.events] == [
        "start",
        "connecting",
        "connected",
        "auth_sent",
        "auth_response",
        "subscription_sent",
        "subscription_response",
        "orderbook_frame",
        "orderbook_frame",
        "orderbook_frame",
        "sample_goal_reached",
        "completed",
    ]


async def test_a_capture_has_the_keys_of_the_notebook(connex_config, connex_connect):
    result = await capture_orderbook(sample_messages=1, config=connex_config, connect=connex_connect)

    assert list(result.to_dict()) == [
        "status",
        "symbol",
        "ws_url",
        "attempts",
        "orderbook_messages",
        "control_frames",
        "events",
        "format_summary",
        "last_error",
    ]
    assert result.format_summary["by_classification"] == {"orderbook": 1}


@pytest.mark.parametrize("exchange", ["binance", "okx"])
def test_rest_serves_the_book_to_the_depth_asked(connex_rest, exchange):
    book = connex_rest.orderbook(exchange, "ETH/USDT", depth=20)

    assert (book.symbol, book.exchange) == ("ETH/USDT", exchange)
    assert (len(book.bids), len(book.asks)) == (20, 20)


def test_rest_does_not_know_every_symbol(connex_rest):
    with pytest.raises(RequestError) as caught:
        connex_rest.orderbook("binance", "NO/SUCH")

    assert caught.value.status == 404


def test_rest_refuses_a_depth_out_of_range(connex_rest):
    with pytest.raises(RequestError) as caught:
        connex_rest.orderbook("binance", "ETH/USDT", depth=101)

    assert caught.value.status == 400


def test_rest_lists_the_symbols_of_one_exchange(connex_rest):
    listed = connex_rest.symbols(exchange="okx")["symbols"]

    assert {item["exchange"] for item in listed} == {"okx"}
    assert {"ETH/USDT", "ETH/USDC"} <= {item["symbol"] for item in listed}
