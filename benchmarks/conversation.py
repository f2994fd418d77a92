"""What the benchmarks of recordings replay and record: one subscription, then N updates of about 300 bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import cycle, islice

from pytest_connex.sandbox.market import Market

URL = "wss://ws.connex.invalid/"
SUBSCRIBE = json.dumps({"action": "subscribe", "channel": "orderbook", "symbol": "ETH/USDT"})

_DISTINCT = 1000


def frames(count: int) -> Iterator[str]:
    """Yield the updates of a market; after a thousand they repeat."""
    market = Market(7, "binance", "ETH/USDT")
    return islice(cycle([_update(market, number) for number in range(_DISTINCT)]), count)


def _update(market: Market, number: int) -> str:
    bids, asks = market.snapshot(5)
    return json.dumps({"type": "update", "symbol": "ETH/USDT", "sequence": number, "bids": bids, "asks": asks})
