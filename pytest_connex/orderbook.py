"""An order book that is kept from snapshots and updates, and the rules that they must follow.

A sans-I/O core. Prices and quantities are exact; every rule has a name, can be switched off by it, and is broken
with a :class:`BookError` that says by which frame, at which level, and what was expected. What an update says of
itself is checked before it is applied, so that the book is still the one before; what only the book after it can
show (``crossed``, ``checksum``) is checked after.

After a gap or a wrong checksum the book is no longer :attr:`~OrderBook.synchronized`: updates are followed but not
applied, until a snapshot replaces it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Sequence
from decimal import Context, Decimal, Inexact
from itertools import pairwise
from typing import Literal, TypeAlias

from .checksum import Checksum
from .errors import BookError, ConfigError
from .model import Level, Snapshot, Update

Sequencing: TypeAlias = Literal["contiguous", "linked", "increasing", "ranged"]

SEQUENCINGS: tuple[Sequencing, ...] = ("contiguous", "linked", "increasing", "ranged")
"""How the sequence of an update follows on the one before.

``contiguous``: one more. ``linked``: its ``previous_sequence`` is the one before. ``increasing``: more.
``ranged``: its ``first_sequence`` is one more than the one before, and it goes up to its ``sequence``; the first
after a snapshot may begin earlier, as long as it goes beyond it, and those that end earlier are passed over.
"""

RULES = (
    "sorted",
    "duplicate",
    "price",
    "quantity",
    "depth",
    "symbol",
    "exchange",
    "timestamp",
    "backwards",
    "stale",
    "sequence",
    "crossed",
    "checksum",
)
"""What frames are held against.

``sorted``: the sides of a snapshot have their best level first. ``duplicate``: no price stands twice on a side of
one frame. ``price``: above zero. ``quantity``: zero or more; in an update zero deletes, also what is not there.
``depth``: a snapshot has no more levels a side than were subscribed. ``symbol`` and ``exchange``: as subscribed, or
as in the first frame. ``timestamp``: a whole number of epoch milliseconds between 2009 and 2100. ``backwards``: no
frame is older than the one before. ``stale``: no frame is older than ``max_age``. ``sequence``: nothing is missing.
``crossed``: the best bid is below the best ask. ``checksum``: the one in the frame is that of the book.
"""

_FIRST_MS = 1_230_768_000_000  # 2009-01-01, before which nothing was traded
_LAST_MS = 4_102_444_800_000  # 2100-01-01
_EXACT = Context(prec=10_000, traps=[Inexact])
_ZERO = Decimal(0)


class _Side:
    """The levels of one side, by ascending price."""

    __slots__ = ("prices", "quantities")

    def __init__(self) -> None:
        self.prices: list[Decimal] = []
        self.quantities: list[Decimal] = []

    def replace(self, levels: Iterable[Level]) -> None:
        kept = sorted(level for level in levels if level[1])
        self.prices = [level[0] for level in kept]
        self.quantities = [level[1] for level in kept]

    def apply(self, levels: Iterable[Level]) -> None:
        prices, quantities = self.prices, self.quantities
        for price, quantity in levels:
            place = bisect_left(prices, price)
            if place < len(prices) and prices[place] == price:
                if quantity:
                    quantities[place] = quantity
                else:
                    del prices[place], quantities[place]
            elif quantity:
                prices.insert(place, price)
                quantities.insert(place, quantity)

    def levels(self, best_is_last: bool) -> list[Level]:
        ascending = list(map(Level, self.prices, self.quantities))
        return ascending[::-1] if best_is_last else ascending


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

    Raises:
        ConfigError: There is no such rule, or no such sequencing.

    Attributes:
        frames: How many frames there were.
        sequence: Of the last frame, where it had one.
        timestamp: Of the last frame, where it had one; in epoch milliseconds.
        synchronized: Whether the book is what the frames say; not before the first snapshot, and not after a gap.
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
    ) -> None:
        if unknown := sorted(set(skip).difference(RULES)):
            raise ConfigError(f"there is no rule {unknown[0]!r}; there are {', '.join(RULES)}")
        if sequence is not None and sequence not in SEQUENCINGS:
            raise ConfigError(f"there is no sequencing {sequence!r}; there are {', '.join(SEQUENCINGS)}")
        if (max_age is None) != (clock is None):
            raise ConfigError("max_age and clock need each other")
        self.symbol = symbol
        self.exchange = exchange
        self.frames = 0
        self.sequence: int | None = None
        self.timestamp: int | None = None
        self.synchronized = False
        self._depth = depth
        self._sequencing = sequence
        self._checksum = None if "checksum" in skip else checksum
        self._locked = locked
        self._skip = frozenset(skip)
        self._max_age = max_age
        self._clock = clock
        self._bids = _Side()
        self._asks = _Side()
        self._bridging = False

    # what it is

    @property
    def bids(self) -> tuple[Level, ...]:
        """The bids, best first."""
        return tuple(self._bids.levels(best_is_last=True))

    @property
    def asks(self) -> tuple[Level, ...]:
        """The asks, best first."""
        return tuple(self._asks.levels(best_is_last=False))

    @property
    def best_bid(self) -> Level | None:
        """The highest bid; None where there is none."""
        side = self._bids
        return Level(side.prices[-1], side.quantities[-1]) if side.prices else None

    @property
    def best_ask(self) -> Level | None:
        """The lowest ask; None where there is none."""
        side = self._asks
        return Level(side.prices[0], side.quantities[0]) if side.prices else None

    @property
    def spread(self) -> Decimal | None:
        """Best ask minus best bid, exact; None where a side is empty."""
        bid, ask = self.best_bid, self.best_ask
        return None if bid is None or ask is None else _EXACT.subtract(ask.price, bid.price)

    @property
    def mid(self) -> Decimal | None:
        """The middle between best bid and best ask, exact; None where a side is empty."""
        bid, ask = self.best_bid, self.best_ask
        if bid is None or ask is None:
            return None
        return _EXACT.multiply(_EXACT.add(bid.price, ask.price), Decimal("0.5"))

    def cumulative(self, side: Literal["bids", "asks"]) -> tuple[Level, ...]:
        """Return the levels of a side, best first, each with the quantity of itself and all better ones."""
        total = _ZERO
        levels = []
        for price, quantity in self.bids if side == "bids" else self.asks:
            total = _EXACT.add(total, quantity)
            levels.append(Level(price, total))
        return tuple(levels)

    # what happens to it

    def apply(self, frame: Snapshot | Update) -> None:
        """Take a frame: a snapshot replaces the book, an update changes it.

        Raises:
            BookError: The frame breaks a rule.
        """
        self.frames += 1
        self._check_identity(frame)
        if frame.timestamp is not None:
            self._check_time(frame.timestamp)
        if isinstance(frame, Snapshot):
            self._replace(frame)
        else:
            self._change(frame)

    def _replace(self, frame: Snapshot) -> None:
        for name, levels, descending in (("bids", frame.bids, True), ("asks", frame.asks, False)):
            self._check_levels(name, levels)
            self._check_snapshot(name, levels, descending)
        self._bids.replace(frame.bids)
        self._asks.replace(frame.asks)
        self._truncate()
        self.sequence = frame.sequence
        self.synchronized = self._bridging = True
        self._check_book(frame)

    def _change(self, frame: Update) -> None:
        follows = self._follows(frame)
        if follows is False:
            return
        self._check_levels("bids", frame.bids)
        self._check_levels("asks", frame.asks)
        if not self.synchronized:
            return
        self._bids.apply(frame.bids)
        self._asks.apply(frame.asks)
        self._truncate()
        self._check_book(frame)

    def _truncate(self) -> None:
        depth = self._depth
        if depth is None:
            return
        bids, asks = self._bids, self._asks
        if len(bids.prices) > depth:
            del bids.prices[:-depth], bids.quantities[:-depth]
        if len(asks.prices) > depth:
            del asks.prices[depth:], asks.quantities[depth:]

    # sequences

    def _follows(self, frame: Update) -> bool:
        """Tell whether an update comes after what the book has; an old one while bridging does not.

        Raises:
            BookError: Something is missing in between.
        """
        last, now = self.sequence, frame.sequence
        bridging, self._bridging = self._bridging, False
        if self._sequencing is None or "sequence" in self._skip:
            self.sequence = now
            return True
        if self._sequencing == "ranged" and bridging and last is not None and now is not None and now <= last:
            self._bridging = True
            return False
        expected, found = self._expected(frame, bridging)
        self.sequence = now if now is not None else last
        if expected is not None:
            self.synchronized = False
            raise BookError("sequence", self.frames, None, expected, found)
        return True

    def _expected(self, frame: Update, bridging: bool) -> tuple[str | None, str]:
        """Return what of the sequence of an update should be otherwise, or None, and what it is."""
        last, now, previous, first = self.sequence, frame.sequence, frame.previous_sequence, frame.first_sequence
        if now is None:
            return "a sequence", "none"
        if last is None:
            return None, ""
        match self._sequencing:
            case "contiguous" if now != last + 1:
                return f"sequence {last + 1}", str(now)
            case "linked" if previous != last:
                return f"previous sequence {last}", str(previous)
            case "increasing" if now <= last:
                return f"a sequence above {last}", str(now)
            case "ranged" if first is None or first > now:
                return "a first sequence up to the last", f"{first} to {now}"
            case "ranged" if first is not None and (first > last + 1 or (first < last + 1 and not bridging)):
                return f"first sequence {last + 1}", f"{first} to {now}"
        return None, ""

    # rules

    def _broken(self, rule: str, level: Level | None, expected: str, found: object) -> None:
        if rule not in self._skip:
            raise BookError(rule, self.frames, level, expected, str(found))

    def _check_identity(self, frame: Snapshot | Update) -> None:
        if self.symbol is None:
            self.symbol = frame.symbol
        elif frame.symbol != self.symbol:
            self._broken("symbol", None, self.symbol, frame.symbol)
        if self.exchange is None:
            self.exchange = frame.exchange
        elif frame.exchange != self.exchange:
            self._broken("exchange", None, self.exchange, frame.exchange)

    def _check_time(self, timestamp: int) -> None:
        if not (type(timestamp) is int and _FIRST_MS <= timestamp < _LAST_MS):
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
        if not levels:
            return
        for level in levels:
            if level[0] <= _ZERO:
                self._broken("price", level, f"a price above zero in the {side}", level[0])
            if level[1] < _ZERO:
                self._broken("quantity", level, f"a quantity of zero or more in the {side}", level[1])
        if len(levels) > 1 and len({level[0] for level in levels}) != len(levels):
            seen: set[Decimal] = set()
            twice = next(level for level in levels if level[0] in seen or seen.add(level[0]))  # type: ignore[func-returns-value]
            self._broken("duplicate", twice, f"each price once in the {side}", twice[0])

    def _check_snapshot(self, side: str, levels: Sequence[Level], descending: bool) -> None:
        for one, other in pairwise(levels):
            if one[0] < other[0] if descending else one[0] > other[0]:
                self._broken("sorted", other, f"a price after {one[0]} in the {side}, best first", other[0])
        if self._depth is not None and len(levels) > self._depth:
            self._broken("depth", levels[self._depth], f"at most {self._depth} {side}", len(levels))

    def _check_book(self, frame: Snapshot | Update) -> None:
        bids, asks = self._bids.prices, self._asks.prices
        if bids and asks and (bids[-1] > asks[0] or (bids[-1] == asks[0] and not self._locked)):
            self._broken("crossed", self.best_bid, f"a best bid below the best ask {asks[0]}", bids[-1])
        if self._checksum is not None and frame.checksum:
            found = self._checksum(self.bids, self.asks)
            if found != frame.checksum:
                self.synchronized = False
                self._broken("checksum", None, f"{frame.checksum}, as the frame says", found)
