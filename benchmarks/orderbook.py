"""How many updates a second an order book takes: ours, exact and fully checked, beside ccxt's in floats.

    python benchmarks/orderbook.py --depths 10 50 1000 --updates 5000 --rounds 25

Both get the same updates of a seeded market, parsed beforehand: one to six levels each, most of them near the top.
Ours checks every rule of ``pytest_connex.book.orderbook`` on each, but for freshness, which is for live runs, and the
checksum, which has lines of its own. ccxt's (``pip install 'pytest-connex[bench]'``) stores the levels and limits
the depth, as its exchanges do, and checks nothing. The two take turns; at the end their books must be the same.
Parsing is measured by itself: with ``Dialect.parse``, and with ``json.loads`` and ``float``, as ccxt does.

Figures are medians of ``--rounds``.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import msgspec

from pytest_connex.book.checksum import CHECKSUMS
from pytest_connex.book.orderbook import OrderBook
from pytest_connex.model import Snapshot, Update
from pytest_connex.protocol import Dialect

Frame: TypeAlias = Snapshot | Update

SYMBOL, EXCHANGE = "ETH/USDT", "binance"
START_MS = 1_700_000_000_000
MIDDLE = 250_000


class Market:
    """One side: its levels in ticks, at most ``depth`` of them, and how it moves."""

    def __init__(self, chance: random.Random, depth: int, away: int) -> None:
        self._chance = chance
        self._depth = depth
        self._away = away
        self.levels = {MIDDLE + away * tick: self._quantity() for tick in range(1, 2 * depth, 2)}

    def view(self) -> list[list[str]]:
        return [_text(tick, self.levels[tick]) for tick in self._best_first()]

    def change(self) -> list[str]:
        """Change, add or delete one level, and return it as it travels."""
        near = min(int(self._chance.expovariate(8 / self._depth)), len(self.levels) - 1)
        tick = self._best_first()[near]
        action = self._chance.random()
        if action < 0.15 and len(self.levels) > self._depth - 3:
            del self.levels[tick]
            return _text(tick, 0)
        if action < 0.3 and (between := tick + self._away) not in self.levels:
            tick = between
        self.levels[tick] = self._quantity()
        if len(self.levels) > self._depth:
            del self.levels[self._best_first()[-1]]
        return _text(tick, self.levels.get(tick, 0))

    def _best_first(self) -> list[int]:
        return sorted(self.levels, reverse=self._away < 0)

    def _quantity(self) -> int:
        return self._chance.randint(1, 90_000)


def _text(tick: int, quantity: int) -> list[str]:
    return [f"{tick // 100}.{tick % 100:02d}", f"{quantity // 10_000}.{quantity % 10_000:04d}" if quantity else "0"]


def conversation(depth: int, count: int) -> list[str]:
    """Return a snapshot and ``count`` updates as they travel."""
    chance = random.Random(depth)
    bids, asks = Market(chance, depth, -1), Market(chance, depth, 1)
    common = {"symbol": SYMBOL, "exchange": EXCHANGE}
    sides: dict[str, Any] = {"bids": bids.view(), "asks": asks.view()}
    texts = [json.dumps({"type": "snapshot", **common, "timestamp": START_MS, "sequence": 0, **sides})]
    for number in range(1, count + 1):
        sides = {"bids": [], "asks": []}
        for _ in range(chance.randint(1, 6)):
            name, side = chance.choice((("bids", bids), ("asks", asks)))
            price, quantity = side.change()
            sides[name] = [level for level in sides[name] if level[0] != price] + [[price, quantity]]
        linked = {"timestamp": START_MS + number, "sequence": number, "previousSequence": number - 1}
        texts.append(json.dumps({"type": "update", **common, **linked, **sides}))
    return texts


def ours(frames: Sequence[Frame], depth: int, checksum: str | None = None) -> tuple[float, OrderBook]:
    book = OrderBook(SYMBOL, EXCHANGE, depth=depth, checksum=CHECKSUMS[checksum] if checksum else None)
    book.apply(frames[0])
    return timed(lambda: _apply_all(book, frames[1:])), book


def _apply_all(book: OrderBook, frames: Sequence[Frame]) -> None:
    apply = book.apply
    for frame in frames:
        apply(frame)


def theirs(payloads: Sequence[dict[str, Any]], depth: int) -> tuple[float, Any]:
    from ccxt.async_support.base.ws.order_book import OrderBook as TheirBook

    fresh = [_in_floats(payload) for payload in payloads]  # their book keeps the lists it is given, and changes them
    book = TheirBook({}, depth)
    book.reset(fresh[0])
    return timed(lambda: _store_all(book, fresh[1:])), book


def _store_all(book: Any, payloads: Sequence[dict[str, Any]]) -> None:
    bids, asks = book["bids"], book["asks"]
    for payload in payloads:
        for level in payload["asks"]:
            asks.storeArray(level)
        for level in payload["bids"]:
            bids.storeArray(level)
        book["nonce"] = payload["sequence"]
        book["timestamp"] = payload["timestamp"]
        book.limit()


def _in_floats(payload: dict[str, Any]) -> dict[str, Any]:
    sides = {
        name: [[float(price), float(quantity)] for price, quantity in payload[name]] for name in ("bids", "asks")
    }
    return payload | sides


def timed(work: Callable[[], object]) -> float:
    gc.collect()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def same(ours: OrderBook, theirs: Any) -> bool:
    return all(
        [[float(price), float(quantity)] for price, quantity in levels] == list(theirs[name])
        for name, levels in (("bids", ours.bids), ("asks", ours.asks))
    )


def compare(depth: int, count: int, rounds: int) -> None:
    texts = conversation(depth, count)
    parse = Dialect().parse
    frames: list[Frame] = [parse(text) for text in texts]
    payloads = [json.loads(text) for text in texts]
    ccxt = importlib.util.find_spec("ccxt") is not None
    pairs: list[tuple[float, float]] = []
    for _ in range(rounds):
        seconds, book = ours(frames, depth)
        other, their_book = theirs(payloads, depth) if ccxt else (0.0, None)
        if ccxt and not same(book, their_book):
            raise SystemExit(f"depth {depth}: the two books differ")
        pairs.append((seconds, other))
    line = f"depth {depth:>5,}: ours {count / statistics.median(one for one, _ in pairs):9,.0f}/s"
    if ccxt:
        line += f"   ccxt {count / statistics.median(other for _, other in pairs):9,.0f}/s"
        line += f"   ratio {spread([other / one for one, other in pairs])}"
    print(line)
    for name in CHECKSUMS:
        summed = with_checksums(frames, depth, name)
        seconds = statistics.median(ours(summed, depth, name)[0] for _ in range(rounds))
        print(f"             with the checksum of {name}: {count / seconds:9,.0f}/s")
    exact = statistics.median(timed(lambda: [parse(text) for text in texts[1:]]) for _ in range(rounds))
    floats = statistics.median(timed(lambda: [_in_floats(json.loads(t)) for t in texts[1:]]) for _ in range(rounds))
    print(f"             parsing alone: ours {count / exact:9,.0f}/s   json and float {count / floats:9,.0f}/s")


def with_checksums(frames: Sequence[Frame], depth: int, name: str) -> list[Frame]:
    book = OrderBook(depth=depth)
    summed = []
    for frame in frames:
        book.apply(frame)
        summed.append(msgspec.structs.replace(frame, checksum=CHECKSUMS[name].of(book.bids, book.asks)))
    return summed


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depths", type=int, nargs="+", default=[10, 50, 1000], help="levels a side")
    parser.add_argument("--updates", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=25)
    given = parser.parse_args()
    for depth in given.depths:
        compare(depth, given.updates, given.rounds)


if __name__ == "__main__":
    main()
