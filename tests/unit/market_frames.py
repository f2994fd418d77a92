"""Frames of the sandbox's markets, seed by seed, for the tests of schemas."""

from __future__ import annotations

import json
from collections.abc import Iterable

from pytest_connex.sandbox.exchange import Exchange, Send

START_MS = 1_737_158_400_000
SUBSCRIPTIONS = (("ETH/USDT", "binance"), ("ETH/USDC", "okx"), ("BTC/USDT", "binance"))


def market_frames(seeds: Iterable[int], count: int) -> list[str]:
    """``count`` frames: as many of each seed, snapshots and updates of three books, and what is answered besides."""
    seeds = list(seeds)
    each = count // len(seeds)
    assert each * len(seeds) == count
    return [text for seed in seeds for text in _of_seed(seed, each)]


def _of_seed(seed: int, count: int) -> list[str]:
    exchange = Exchange(seed)
    session = exchange.open_session(START_MS)
    texts: list[str] = []

    def take(sent: Iterable[object]) -> None:
        texts.extend(one.text for one in sent if isinstance(one, Send))

    for number, (symbol, name) in enumerate(SUBSCRIPTIONS):
        message = {"action": "subscribe", "channel": "orderbook", "symbol": symbol, "exchange": name, "depth": 20}
        take(session.receive(json.dumps({"action": "ping", "id": number}), START_MS))
        take(session.receive(json.dumps(message), START_MS))
    now = START_MS
    while len(texts) < count:
        now += 50 + seed
        take(session.tick(now))
    return texts[:count]
