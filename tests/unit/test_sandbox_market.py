"""The sandbox's market."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

import pytest

from pytest_connex.sandbox.market import Market


def as_decimals(side: list[list[str]]) -> list[tuple[Decimal, Decimal]]:
    return [(Decimal(price), Decimal(quantity)) for price, quantity in side]


@pytest.mark.parametrize(("symbol", "ticks"), [("ETH/USDT", 20_000), ("BTC/USDT", 5_000), ("NEW/COIN", 5_000)])
def test_a_book_stays_sorted_uncrossed_and_deep(symbol, ticks):
    market = Market(7, "binance", symbol)
    for step in range(ticks):
        market.step(1)
        if step % 100:
            continue
        bids, asks = map(as_decimals, market.snapshot(100))
        prices = [price for price, _ in reversed(bids)] + [price for price, _ in asks]
        assert len(prices) == 200
        assert all(low < high for low, high in pairwise(prices))
        assert all(quantity > 0 for _, quantity in (*bids, *asks))


@pytest.mark.parametrize("depth", [1, 20, 100])
def test_applied_changes_are_the_book(depth):
    market = Market(3, "okx", "ETH/USDC")
    books = [dict(map(tuple, side)) for side in market.snapshot(depth)]
    for _ in range(500):
        changes = market.step(depth)
        assert changes[0] or changes[1]
        for book, changed in zip(books, changes, strict=True):
            for price, quantity in changed:
                if quantity == "0":
                    del book[price]
                else:
                    book[price] = quantity
        assert books == [dict(map(tuple, side)) for side in market.snapshot(depth)]


def test_the_sequence_rises_by_one():
    market = Market(7, "binance", "ETH/USDT")
    before = market.sequence
    for _ in range(5):
        market.step(5)
    assert market.sequence == before + 5


def test_a_market_depends_on_its_seed_exchange_and_symbol():
    def run(*key) -> list:
        market = Market(*key)
        return [market.snapshot(10), *(market.step(10) for _ in range(20))]

    base = (7, "binance", "ETH/USDT")
    assert run(*base) == run(*base)
    for other in ((8, "binance", "ETH/USDT"), (7, "okx", "ETH/USDT"), (7, "binance", "ETH/USDC")):
        assert run(*base) != run(*other)
