"""The order book against one that is easy to believe: two dictionaries, sorted when asked, sums in fractions."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from pytest_connex.book.orderbook import OrderBook
from pytest_connex.errors import DataFormatError
from pytest_connex.model import Level, Snapshot, Update
from pytest_connex.protocol import Dialect

EXAMPLES, UPDATES = settings.default.max_examples // 2, 1000  # 100,000 updates where all is tried thoroughly


class NaiveBook:
    """Two dictionaries, sorted when asked."""

    def __init__(self, depth: int | None) -> None:
        self.depth = depth
        self.bids: dict[Decimal, Decimal] = {}
        self.asks: dict[Decimal, Decimal] = {}

    def apply(self, frame: Snapshot | Update) -> None:
        if isinstance(frame, Snapshot):
            self.bids, self.asks = {}, {}
        for side, levels in ((self.bids, frame.bids), (self.asks, frame.asks)):
            for price, quantity in levels:
                side[price] = quantity
                if not quantity:
                    del side[price]
        self.bids = dict(sorted(self.bids.items(), reverse=True)[: self.depth])
        self.asks = dict(sorted(self.asks.items())[: self.depth])


def agree(book: OrderBook, naive: NaiveBook) -> None:
    bids, asks = list(naive.bids.items()), list(naive.asks.items())
    assert list(book.bids) == bids
    assert list(book.asks) == asks
    assert book.best_bid == (bids[0] if bids else None)
    assert book.best_ask == (asks[0] if asks else None)
    if not (bids and asks):
        assert book.spread is book.mid is None
        return
    bid, ask = Fraction(bids[0][0]), Fraction(asks[0][0])
    assert Fraction(book.spread) == ask - bid
    assert Fraction(book.mid) == (ask + bid) / 2


def agree_on_sums(book: OrderBook, naive: NaiveBook) -> None:
    for name in ("bids", "asks"):
        total = Fraction(0)
        levels = book.cumulative(name)
        assert len(levels) == len(getattr(naive, name))
        for (price, quantity), (expected, more) in zip(levels, getattr(naive, name).items(), strict=True):
            total += Fraction(more)
            assert (price, Fraction(quantity)) == (expected, total)


class Maker:
    """Makes frames with ``chance``; a book of few prices, or of many, thin or crowded."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._digits = chance.choice((0, 1, 8))
        self._prices = chance.choice((3, 20, 300))
        self._deletions = chance.choice((0.1, 0.5, 0.9))
        self.depth = chance.choice((None, 1, 5, 50))

    def snapshot(self) -> Snapshot:
        count = self.depth or 50
        bids, asks = (sorted(self._side(count), reverse=down) for down in (True, False))
        return Snapshot(symbol="X", bids=tuple(bids), asks=tuple(asks))

    def updates(self, count: int) -> Iterator[Snapshot | Update]:
        for _ in range(count):
            if self._chance.random() < 0.002:
                yield self.snapshot()
            else:
                bids, asks = (self._side(self._chance.choice((0, 1, 1, 2, 3, 8))) for _ in range(2))
                yield Update(symbol="X", bids=tuple(bids), asks=tuple(asks))

    def _side(self, count: int) -> list[Level]:
        ticks = self._chance.sample(range(1, self._prices + 1), min(count, self._prices))
        return [Level(self._number(tick), self._quantity()) for tick in ticks]

    def _quantity(self) -> Decimal:
        if self._chance.random() < self._deletions:
            return Decimal(self._chance.choice(("0", "0.00", "-0", "0E-9")))
        return self._number(self._chance.randint(1, 10**12))

    def _number(self, steps: int) -> Decimal:
        """The same number in one of its spellings."""
        number = Decimal(steps).scaleb(-self._digits)
        return Decimal(f"{number}0" if self._digits and "E" not in str(number) else str(number))


@settings(max_examples=EXAMPLES, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(st.integers(0, 2**64))
def test_long_streams_of_updates_agree_at_every_step(seed: int) -> None:
    maker = Maker(random.Random(seed))
    book = OrderBook(depth=maker.depth, sequence=None, skip={"crossed"})
    naive = NaiveBook(maker.depth)
    for number, frame in enumerate((maker.snapshot(), *maker.updates(UPDATES))):
        book.apply(frame)
        naive.apply(frame)
        agree(book, naive)
        if number % 100 == 0:
            agree_on_sums(book, naive)


numbers = st.decimals(min_value=Decimal("1e-30"), max_value=Decimal("1e30"), allow_nan=False, allow_infinity=False)
prices = (
    st.sampled_from([Decimal(text) for text in ("1", "1.0", "2", "2.00", "3", "1e1", "10.0", "1e-400")]) | numbers
)
quantities = st.sampled_from([Decimal(text) for text in ("0", "0.0", "-0", "1", "1.50")]) | numbers
sides = st.lists(st.builds(Level, prices, quantities), max_size=5, unique_by=lambda level: level.price).map(tuple)
updates = st.builds(Update, symbol=st.just("X"), bids=sides, asks=sides)


@given(st.none() | st.integers(1, 4), st.lists(updates, max_size=12))
def test_any_updates_agree_at_every_step(depth: int | None, frames: list[Update]) -> None:
    book = OrderBook(depth=depth, sequence=None, skip={"crossed"})
    naive = NaiveBook(depth)
    for frame in (Snapshot(symbol="X", bids=(), asks=()), *frames):
        book.apply(frame)
        naive.apply(frame)
        agree(book, naive)
        agree_on_sums(book, naive)


spellings = st.sampled_from(
    ["10", "0.10", "1e-7", "1E+3", "-0", "-1", "0", "1_000", " 1", "NaN", "Infinity", "", "9" * 400, "1e999999999"]
)
values = st.none() | st.booleans() | st.integers() | spellings | st.floats() | st.text(max_size=4)
anything = st.recursive(
    values, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(spellings, inner), max_leaves=9
)
bad_sides = st.lists(st.lists(values, max_size=4) | anything, max_size=5) | anything
frames_of_any_kind = st.fixed_dictionaries(
    {"symbol": st.just("X"), "type": st.sampled_from(["snapshot", "update"])},
    optional={
        "bids": bad_sides,
        "asks": bad_sides,
        "timestamp": anything,
        "sequence": anything,
        "previousSequence": anything,
        "checksum": anything,
        "exchange": anything,
    },
)


@given(st.lists(frames_of_any_kind, max_size=4))
def test_whatever_a_frame_holds_is_a_book_or_one_error(payloads: list[dict[str, object]]) -> None:
    book = OrderBook()
    for payload in payloads:
        try:
            frame = Dialect().parse(json.dumps(payload))
            if isinstance(frame, Snapshot | Update):
                book.apply(frame)
            _ = book.spread, book.mid, book.cumulative("bids"), book.cumulative("asks")
        except DataFormatError as error:
            assert str(error)
        assert list(book.bids) == sorted(book.bids, reverse=True)
        assert list(book.asks) == sorted(book.asks)
