"""Order books: followed from their snapshot on, every frame held against every rule."""

from __future__ import annotations

from decimal import Decimal

import pytest

from pytest_connex.book.orderbook import OrderBook
from pytest_connex.errors import SubscriptionError
from pytest_connex.model import Update


async def test_a_book_is_there_as_soon_as_it_is_subscribed(connex_orderbook):
    book = await connex_orderbook("ETH/USDT", depth=50)

    assert (len(book.bids), len(book.asks)) == (50, 50)
    assert (book.symbol, book.exchange, book.frames) == ("ETH/USDT", "binance", 1)


async def test_a_followed_book_keeps_every_rule(connex_orderbook):
    book = await connex_orderbook("ETH/USDT", depth=20)
    first = book.sequence
    await book.follow(20)

    assert (book.frames, book.sequence - first) == (21, 20)
    assert (len(book.bids), len(book.asks)) == (20, 20)
    assert book.spread > 0


async def test_each_update_is_seen_when_it_has_been_applied(connex_orderbook):
    book = await connex_orderbook("ETH/USDT", depth=5)
    async for frame in book:
        assert isinstance(frame, Update)
        assert (book.sequence, book.timestamp) == (frame.sequence, frame.timestamp)
        assert book.best_bid.price < book.mid < book.best_ask.price
        if book.frames == 10:
            break


async def test_the_cumulative_depth_never_falls(connex_orderbook):
    book = await connex_orderbook("ETH/USDT", depth=20)
    sums = [level.quantity for level in book.cumulative("bids")]

    assert sums == sorted(sums)
    assert sums[-1] == sum((level.quantity for level in book.bids), Decimal(0))


@pytest.mark.connex(clock="virtual")  # the same messages in between, however slow the machine
async def test_two_books_share_a_connection(connex_orderbook):
    one = await connex_orderbook("ETH/USDT", depth=5)
    other = await connex_orderbook("ETH/USDC", depth=10)
    await one.follow(5)
    await other.follow(5)

    assert (len(one.bids), len(other.bids)) == (5, 10)
    assert (one.synchronized, other.synchronized) == (True, True)


@pytest.mark.connex(clock="virtual")
async def test_after_a_new_connection_a_snapshot_replaces_the_book(connex_orderbook, connex_ws):
    book = await connex_orderbook("ETH/USDT", depth=5)
    await book.follow(3)
    await connex_ws.reconnect()
    await book.follow(3)

    assert (book.frames, book.synchronized) == (7, True)


async def test_a_symbol_that_is_not_traded_has_no_book(connex_orderbook):
    with pytest.raises(SubscriptionError):
        await connex_orderbook("NO/SUCH")


def test_a_book_over_rest_keeps_every_rule_too(connex_rest):
    book = OrderBook("ETH/USDT", "binance", depth=20)
    book.bridge(connex_rest.orderbook("binance", "ETH/USDT", depth=20))

    assert (len(book.bids), len(book.asks)) == (20, 20)
