"""An order book that is kept from snapshots and updates, and the rules that they must follow.

A sans-I/O core. Prices and quantities are exact; every rule has a name, can be switched off by it, and is broken
with a :class:`BookError` that says by which frame, at which level, and what was expected. What a frame says of
itself is checked before it is applied, so that the book is still the one before; what only the book after it can
show (``crossed``, ``checksum``) is checked after.

A broken rule ends what is known of the book: it is no longer :attr:`~OrderBook.synchronized`, and updates are
followed but not applied, until a snapshot replaces it. Nothing is ever merged.

Well-formed frames are the rule, so each check first asks whether all is well, as cheaply as it can; only where it
is not, the level is looked for and the words are made.
"""

from __future__ import annotations

import sys
from bisect import bisect_left, insort
from collections.abc import Callable, Collection, Iterable, Sequence
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, Inexact, InvalidOperation
from itertools import pairwise
from typing import Literal

from ..errors import BookError, ConfigError, DataFormatError
from ..model import Level, Snapshot, Update
from .checksum import Checksum
from .rules import RULES, SEQUENCINGS, Sequencing

_FIRST_MS = 1_230_768_000_000  # 2009-01-01, before which nothing was traded
_LAST_MS = 4_102_444_800_000  # 2100-01-01
_DIGITS = 10_000
_EXACT = Context(prec=_DIGITS, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[Inexact])
_ZERO = Decimal(0)
_HALF = Decimal("0.5")
_FOREIGN = ("symbol", "exchange")  # rules by whose breaking a frame is another stream's


class _Side:
    """The levels of one side by price, and their prices in ascending order.

    Most updates change quantities, which takes no look at the order.
    """

    __slots__ = ("_best_is_last", "_depth", "levels", "prices")

    def __init__(self, depth: int | None, best_is_last: bool) -> None:
        self.levels: dict[Decimal, Level] = {}
        self.prices: list[Decimal] = []
        self._depth = sys.maxsize if depth is None else depth
        self._best_is_last = best_is_last

    def replace(self, levels: Iterable[Level]) -> None:
        self.levels.clear()
        self.prices.clear()
        self.apply(levels)

    def apply(self, changed: Iterable[Level]) -> None:
        levels, prices = self.levels, self.prices
        for level in changed:
            price, quantity = level
            if quantity:
                if price not in levels:
                    insort(prices, price)
                levels[price] = level
            elif price in levels:
                del levels[price], prices[bisect_left(prices, price)]
        if len(prices) > self._depth:
            beyond = slice(-self._depth) if self._best_is_last else slice(self._depth, None)
            for price in prices[beyond]:
                del levels[price]
            del prices[beyond]

    def best_first(self, count: int | None = None) -> tuple[Level, ...]:
        if self._best_is_last:
            prices = self.prices[::-1] if count is None else self.prices[-count:][::-1]
        else:
            prices = self.prices[:count]
        return tuple(map(self.levels.__getitem__, prices))


class OrderBook:
    """One book.

    Args:
        symbol: Which is expected; None takes that of the first frame.
        exchange: The same for the exchange.
        depth: How many levels a side were subscribed, and are kept; None keeps all.
        sequence: How sequences follow on each other, see :data:`SEQUENCINGS`; None does not look at them.
        checksum: Computes the checksum of the book; None does not look at that of frames.
        locked: Whether the best bid may be the best ask.
        skip: Rules that are not checked, see :data:`RULES`.
        max_age: How old a frame may be when it is applied, in milliseconds; needs ``clock``.
        clock: Returns the time, in epoch milliseconds.
        report: Is called with every broken rule in place of raising it. The frame is then taken as if the rule were
            skipped; only what is missing (``sequence``) or differs (``checksum``) still ends synchronization.

    Raises:
        ConfigError: There is no such rule or sequencing, or the depth is none.

    Attributes:
        frames: How many frames there were.
        sequence: Of the last frame, where it had one.
        timestamp: Of the last frame, where it had one; in epoch milliseconds.
        synchronized: Whether the book is what the frames say; not before the first snapshot, and not after a broken
            rule.
    """

    def __init__(
        self,
        symbol: str | None = None,
        exchange: str | None = None,
        *,
        depth: int | None = None,
        sequence: Sequencing | None = "linked",
        checksum: Checksum | None = None,
        locked: bool = False,
        skip: Collection[str] = (),
        max_age: int | None = None,
        clock: Callable[[], int] | None = None,
        report: Callable[[BookError], object] | None = None,
    ) -> None:
        if unknown := sorted(set(skip).difference(RULES)):
            raise ConfigError(f"there is no rule {unknown[0]!r}; there are {', '.join(RULES)}")
        if sequence is not None and sequence not in SEQUENCINGS:
            raise ConfigError(f"there is no sequencing {sequence!r}; there are {', '.join(SEQUENCINGS)}")
        if depth is not None and depth < 1:
            raise ConfigError(f"a depth is one level or more, not {depth}")
        if (max_age is None) != (clock is None):
            raise ConfigError("max_age and clock need each other")
        self.symbol = symbol
        self.exchange = exchange
        self.frames = 0
        self.sequence: int | None = None
        self.timestamp: int | None = None
        self.synchronized = False
        self._depth = depth
        self._sequencing = None if "sequence" in skip else sequence
        self._linked = self._sequencing == "linked"
        self._checksum = None if "checksum" in skip else checksum
        self._locked = locked
        self._skip = frozenset(skip)
        self._max_age = max_age
        self._clock = clock
        self._report = report
        self._bids = _Side(depth, best_is_last=True)
        self._asks = _Side(depth, best_is_last=False)
        self._bridging = False

    # what it is

    @property
    def bids(self) -> tuple[Level, ...]:
        """The bids, best first."""
        return self._bids.best_first()

    @property
    def asks(self) -> tuple[Level, ...]:
        """The asks, best first."""
        return self._asks.best_first()

    @property
    def best_bid(self) -> Level | None:
        """The highest bid; None where there is none."""
        side = self._bids
        return side.levels[side.prices[-1]] if side.prices else None

    @property
    def best_ask(self) -> Level | None:
        """The lowest ask; None where there is none."""
        side = self._asks
        return side.levels[side.prices[0]] if side.prices else None

    @property
    def spread(self) -> Decimal | None:
        """Best ask minus best bid, exact; None where a side is empty."""
        bid, ask = self.best_bid, self.best_ask
        return None if bid is None or ask is None else _exact(_EXACT.subtract, ask.price, bid.price)

    @property
    def mid(self) -> Decimal | None:
        """The middle between best bid and best ask, exact; None where a side is empty."""
        bid, ask = self.best_bid, self.best_ask
        if bid is None or ask is None:
            return None
        return _exact(_EXACT.multiply, _exact(_EXACT.add, bid.price, ask.price), _HALF)

    def cumulative(self, side: Literal["bids", "asks"]) -> tuple[Level, ...]:
        """Return the levels of a side, best first, each with the quantity of itself and all better ones."""
        total = _ZERO
        levels = []
        for price, quantity in self.bids if side == "bids" else self.asks:
            total = _exact(_EXACT.add, total, quantity)
            levels.append(Level(price, total))
        return tuple(levels)

    # what happens to it

    def apply(self, frame: Snapshot | Update) -> None:
        """Take the next frame of the stream: a snapshot replaces the book, an update changes it.

        Raises:
            BookError: The frame breaks a rule.
        """
        self.frames += 1
        try:
            if (frame.symbol != self.symbol or frame.exchange != self.exchange) and not self._is_ours(frame):
                return
            if isinstance(frame, Update):
                self._change(frame)
            else:
                self._replace(frame)
        except DataFormatError as exc:
            foreign = isinstance(exc, BookError) and exc.rule in _FOREIGN
            self.synchronized = self.synchronized and foreign
            raise

    def restart(self) -> None:
        """Expect another stream, as after a reconnection: it begins with a snapshot, and with a time of its own."""
        self.synchronized = False
        self.sequence = self.timestamp = None

    def bridge(self, snapshot: Snapshot, updates: Iterable[Update] = ()) -> None:
        """Start from a snapshot that is not of the stream, as REST gives one, with the updates buffered until then.

        Updates that the snapshot has in it already are passed over, here and in :meth:`apply`. The first that goes
        beyond it must begin no later than where it ends.

        Raises:
            BookError: A frame breaks a rule.
        """
        stream, self.timestamp = self.timestamp, None
        self.apply(snapshot)
        self.timestamp = stream
        self._bridging = True
        for update in updates:
            self.apply(update)

    def _replace(self, frame: Snapshot) -> None:
        self.synchronized = self._bridging = False
        self.sequence = frame.sequence
        if frame.timestamp is not None:
            self._check_time(frame.timestamp)
        for name, levels, descending in (("bids", frame.bids, True), ("asks", frame.asks, False)):
            self._check_levels(name, levels)
            self._check_snapshot(name, levels, descending)
        self._bids.replace(frame.bids)
        self._asks.replace(frame.asks)
        self.synchronized = True
        self._check_book(frame.checksum)

    def _change(self, frame: Update) -> None:
        last, now = self.sequence, frame.sequence
        if self._linked and frame.previous_sequence == last is not None is not now and not self._bridging:
            self.sequence = now
        elif not self._follows(frame):
            return
        before, timestamp = self.timestamp, frame.timestamp
        if self._clock is None and type(timestamp) is int and before is not None and before <= timestamp < _LAST_MS:
            self.timestamp = timestamp
        elif timestamp is not None:
            self._check_time(timestamp)
        bids, asks = frame.bids, frame.asks
        if bids and not _are_sound(bids):
            self._check_levels("bids", bids)
        if asks and not _are_sound(asks):
            self._check_levels("asks", asks)
        if not self.synchronized:
            return
        if bids:
            self._bids.apply(bids)
        if asks:
            self._asks.apply(asks)
        bid_prices, ask_prices = self._bids.prices, self._asks.prices
        if frame.checksum or not (bid_prices and ask_prices and bid_prices[-1] < ask_prices[0]):
            self._check_book(frame.checksum)

    # sequences

    def _follows(self, frame: Update) -> bool:
        """Tell whether an update goes beyond the book; it does, unless a snapshot of REST has it in it already."""
        last, now, bridging = self.sequence, frame.sequence, self._bridging
        if bridging and last is not None and now is not None and now <= last:
            return False
        self._bridging = False
        if self._sequencing is not None and now is None:
            self._missing("a sequence", "none")
            return True
        self.sequence = now
        if self._sequencing is not None and last is not None and now is not None:
            self._check_sequence(frame, last, now, bridging)
        return True

    def _check_sequence(self, frame: Update, last: int, now: int, bridging: bool) -> None:
        previous, first = frame.previous_sequence, frame.first_sequence
        match self._sequencing:
            case "contiguous" if now != last + 1:
                self._missing(f"sequence {last + 1}", now)
            case "linked" if previous != last and not (bridging and previous is not None and previous < last):
                self._missing(f"previous sequence {last}", previous)
            case "increasing" if now <= last:
                self._missing(f"a sequence above {last}", now)
            case "ranged" if first is None or first > now:
                self._missing("a first sequence up to the last", f"{first} to {now}")
            case "ranged" if first is not None and first != last + 1 and not (bridging and first <= last):
                self._missing(f"first sequence {last + 1}", f"{first} to {now}")

    def _missing(self, expected: str, found: object) -> None:
        self.synchronized = False
        self._broken("sequence", None, expected, found)

    # rules

    def _broken(self, rule: str, level: Level | None, expected: str, found: object) -> None:
        if rule in self._skip:
            return
        error = BookError(rule, self.symbol, self.frames, level, expected, str(found))
        if self._report is None:
            raise error
        self._report(error)

    def _is_ours(self, frame: Snapshot | Update) -> bool:
        """Tell whether a frame is of this book's stream; one that is not says nothing of the book."""
        ours = True
        if self.symbol is None:
            self.symbol = frame.symbol
        elif frame.symbol != self.symbol:
            self._broken("symbol", None, self.symbol, frame.symbol)
            ours = "symbol" in self._skip
        if self.exchange is None:
            self.exchange = frame.exchange
        elif frame.exchange is not None and frame.exchange != self.exchange:
            self._broken("exchange", None, self.exchange, frame.exchange)
            ours = ours and "exchange" in self._skip
        return ours

    def _check_time(self, timestamp: int) -> None:
        if type(timestamp) is not int or not _FIRST_MS <= timestamp < _LAST_MS:
            self._broken("timestamp", None, "epoch milliseconds between 2009 and 2100", timestamp)
            return
        last, self.timestamp = self.timestamp, timestamp
        if last is not None and timestamp < last:
            self._broken("backwards", None, f"{last} or later", timestamp)
        if self._clock is not None and self._max_age is not None:
            oldest = self._clock() - self._max_age
            if timestamp < oldest:
                self._broken("stale", None, f"{oldest} or later", timestamp)

    def _check_levels(self, side: str, levels: Sequence[Level]) -> None:
        seen: set[Decimal] = set()
        for level in levels:
            price, quantity = level
            if not (price.is_finite() and quantity.is_finite()):
                raise DataFormatError(
                    f"{self.symbol}, frame {self.frames}: no level of the {side}: {price} {quantity}"
                )
            if price <= _ZERO:
                self._broken("price", level, f"a price above zero in the {side}", price)
            if quantity < _ZERO:
                self._broken("quantity", level, f"a quantity of zero or more in the {side}", quantity)
            if price in seen:
                self._broken("duplicate", level, f"each price once in the {side}", price)
            seen.add(price)

    def _check_snapshot(self, side: str, levels: Sequence[Level], descending: bool) -> None:
        for one, other in pairwise(levels):
            if one.price < other.price if descending else one.price > other.price:
                self._broken("sorted", other, f"a price after {one.price} in the {side}, best first", other.price)
        if self._depth is not None and len(levels) > self._depth:
            self._broken("depth", levels[self._depth], f"at most {self._depth} {side}", len(levels))

    def _check_book(self, checksum: int | None) -> None:
        if checksum and self._checksum is not None:
            covered = self._checksum.levels
            found = self._checksum.compute(self._bids.best_first(covered), self._asks.best_first(covered))
            if found != checksum:
                self.synchronized = False
                self._broken("checksum", None, f"{checksum}, as the frame says", found)
        bids, asks = self._bids.prices, self._asks.prices
        if bids and asks and bids[-1] >= asks[0] and not (self._locked and bids[-1] == asks[0]):
            self._broken("crossed", self.best_bid, f"a best bid below the best ask {asks[0]}", bids[-1])


def _are_sound(levels: Sequence[Level]) -> bool:
    """Tell whether no level of an update breaks a rule, without saying which."""
    try:
        if len(levels) == 1:
            price, quantity = levels[0]
            return price > _ZERO and quantity >= _ZERO
        seen = {}
        for price, quantity in levels:
            if price <= _ZERO or quantity < _ZERO:
                return False
            seen[price] = quantity
    except InvalidOperation:
        return False
    return len(seen) == len(levels)


def _exact(operation: Callable[[Decimal, Decimal], Decimal], one: Decimal, other: Decimal) -> Decimal:
    try:
        return operation(one, other)
    except Inexact as exc:
        raise DataFormatError(f"{one:.6e} and {other:.6e} have no exact result of at most {_DIGITS} digits") from exc
