"""Schemas: what the fields of frames and answers hold, exactly."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest

from pytest_connex import Dialect
from pytest_connex.model import Snapshot, Update
from pytest_connex.protocol import classify, decode_json, summarize

DECIMAL = re.compile(r"(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")


@pytest.fixture
async def texts(connex_ws) -> list[str]:
    """A snapshot and four updates of ETH/USDT, as they came."""
    await connex_ws.subscribe("ETH/USDT", depth=20)
    return [await connex_ws.recv_text() for _ in range(5)]


@pytest.fixture
def frames(texts) -> list[Snapshot | Update]:
    return [Dialect().parse(text) for text in texts]


def prices(levels) -> list[Decimal]:
    return [level.price for level in levels]


async def test_a_snapshot_is_sorted_best_level_first(frames):
    snapshot = frames[0]

    assert prices(snapshot.bids) == sorted(set(prices(snapshot.bids)), reverse=True)
    assert prices(snapshot.asks) == sorted(set(prices(snapshot.asks)))


async def test_a_snapshot_is_not_crossed(frames):
    assert frames[0].bids[0].price < frames[0].asks[0].price


async def test_a_snapshot_holds_no_empty_level(frames):
    assert all(level.quantity > 0 for level in (*frames[0].bids, *frames[0].asks))


async def test_prices_and_quantities_are_the_text_on_the_wire(texts, frames):
    for text, frame in zip(texts, frames, strict=True):
        levels = decode_json(text)["bids"]
        assert [[str(level.price), str(level.quantity)] for level in frame.bids] == levels


async def test_prices_and_quantities_travel_as_decimal_strings(texts):
    for text in texts:
        payload = decode_json(text)
        for price, quantity in (*payload["bids"], *payload["asks"]):
            assert DECIMAL.fullmatch(price), price
            assert DECIMAL.fullmatch(quantity), quantity


async def test_sequences_are_whole_numbers_that_rise_by_one(frames):
    sequences = [frame.sequence for frame in frames]

    assert sequences == list(range(sequences[0], sequences[0] + 5))


async def test_timestamps_are_epoch_milliseconds_that_do_not_run_backwards(frames):
    stamps = [frame.timestamp for frame in frames]

    assert stamps == sorted(stamps)
    assert 1_600_000_000_000 < stamps[0] <= stamps[-1] < 4_000_000_000_000


async def test_applying_the_updates_keeps_the_book_in_shape(frames):
    snapshot, *updates = frames
    book = {"bids": dict(snapshot.bids), "asks": dict(snapshot.asks)}
    for update in updates:
        for side in ("bids", "asks"):
            for price, quantity in getattr(update, side):
                book[side].pop(price, None)
                if quantity:
                    book[side][price] = quantity

    assert max(book["bids"]) < min(book["asks"])
    assert {len(book["bids"]), len(book["asks"])} == {20}


async def test_every_update_changes_something(frames):
    assert all(update.bids or update.asks for update in frames[1:])


async def test_book_frames_are_classified_as_the_notebook_does(texts):
    assert {classify(decode_json(text)) for text in texts} == {"orderbook"}


async def test_a_summary_names_the_members_of_a_snapshot(texts):
    summary = summarize(decode_json(texts[0]))

    assert summary["top_level_keys"] == [
        "asks",
        "bids",
        "exchange",
        "sequence",
        "symbol",
        "timestamp",
        "type",
    ]
    assert summary["list_fields"]["bids"]["length"] == 20
    assert summary["scalar_types"] == {
        "type": "str",
        "symbol": "str",
        "exchange": "str",
        "timestamp": "int",
        "sequence": "int",
    }


def test_a_rest_book_holds_decimal_strings(connex_rest):
    payload = connex_rest.check(connex_rest.get("/v1/orderbook/binance/ETHUSDT", params={"depth": 5}))

    assert payload.keys() == {"symbol", "exchange", "timestamp", "lastUpdateId", "bids", "asks"}
    for level in (*payload["bids"], *payload["asks"]):
        assert level.keys() == {"price", "quantity"}
        assert DECIMAL.fullmatch(level["price"])
        assert DECIMAL.fullmatch(level["quantity"])


def test_a_listed_symbol_says_how_it_trades(connex_rest):
    for listed in connex_rest.symbols()["symbols"]:
        assert listed.keys() == {"symbol", "exchange", "status", "minQuantity", "maxQuantity", "tickSize"}
        assert Decimal(listed["minQuantity"]) < Decimal(listed["maxQuantity"])
        assert Decimal(listed["tickSize"]) > 0


def test_an_error_body_has_a_code_and_a_message(connex_rest):
    response = connex_rest.get("/v1/orderbook/binance/NOSUCH")
    body = decode_json(response.text)

    assert response.status_code == 404
    assert body["code"] == 404
    assert body.keys() == {"error", "message", "code", "details"}
