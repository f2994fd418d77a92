"""Seeded order books that move.

A sans-I/O core. Prices and quantities are whole numbers of their smallest step inside, and become text only
at the edge, so no float is involved. What a market does after *k* steps depends on its seed, exchange, symbol
and *k* alone.
"""

from __future__ import annotations

import random
from typing import TypeAlias

LEVELS = 120
"""Levels a side that a book never falls below."""

_START_TICKS = {"ETH": 250_000, "BTC": 6_500_000}
_OTHER_START = 10_000
_MAX_QUANTITY = 90_000

Sides: TypeAlias = tuple[list[list[str]], list[list[str]]]
"""Bids and asks, each a list of ``[price, quantity]`` in text, best level first."""


class Market:
    """One order book: ``snapshot`` shows it, ``step`` moves it and says what changed.

    Args:
        seed: Makes the run of the market.
        exchange: Which exchange's book it is.
        symbol: For example ``ETH/USDT``.
    """

    def __init__(self, seed: int, exchange: str, symbol: str) -> None:
        self._random = random.Random(f"{seed} {exchange} {symbol}")  # noqa: S311  (a market, not a secret)
        middle = _START_TICKS.get(symbol.partition("/")[0], _OTHER_START) + self._random.randrange(-500, 500)
        self._bids: dict[int, int] = {}
        self._asks: dict[int, int] = {}
        self._fill(self._bids, middle - 1, -1)
        self._fill(self._asks, middle + 1, 1)
        self.sequence = self._random.randrange(1_000, 1_000_000)

    def snapshot(self, depth: int) -> Sides:
        """Return the best ``depth`` levels of both sides."""
        return _levels(self._view(self._bids, depth, -1)), _levels(self._view(self._asks, depth, 1))

    def step(self, depth: int) -> Sides:
        """Move, and return the levels that differ among the best ``depth``; quantity ``"0"`` deletes one."""
        before = self._view(self._bids, depth, -1), self._view(self._asks, depth, 1)
        changed: Sides = ([], [])
        while not (changed[0] or changed[1]):
            for _ in range(self._random.randint(1, 4)):
                self._change()
            after = self._view(self._bids, depth, -1), self._view(self._asks, depth, 1)
            changed = _difference(before[0], after[0]), _difference(before[1], after[1])
        self.sequence += 1
        return changed

    def _change(self) -> None:
        """Change one level near the top of one side, and keep both sides long and apart."""
        bids = self._random.random() < 0.5
        side, away = (self._bids, -1) if bids else (self._asks, 1)
        best = max(side) if bids else min(side)
        action = self._random.random()
        if action < 0.2 and len(side) > LEVELS:
            del side[best]
        elif action < 0.4:
            gap = min(self._asks) - max(self._bids)
            if gap > 1:
                side[best - away * self._random.randint(1, min(gap - 1, 8))] = self._quantity()
        else:
            near = best + away * min(int(self._random.expovariate(0.3)), LEVELS - 1)
            if near in side and action > 0.9 and len(side) > LEVELS:
                del side[near]
            else:
                side[near] = self._quantity()
        if len(side) <= LEVELS:
            farthest = min(side) if bids else max(side)
            self._fill(side, farthest + away, away)
        elif len(side) > 2 * LEVELS:
            del side[min(side) if bids else max(side)]

    def _fill(self, side: dict[int, int], start: int, away: int) -> None:
        tick = start
        while len(side) < LEVELS + 20:
            side[tick] = self._quantity()
            tick += away * self._random.randint(1, 4)

    def _quantity(self) -> int:
        return self._random.randint(1, _MAX_QUANTITY)

    def _view(self, side: dict[int, int], depth: int, direction: int) -> dict[int, int]:
        return {tick: side[tick] for tick in sorted(side, reverse=direction < 0)[:depth]}


def _difference(before: dict[int, int], after: dict[int, int]) -> list[list[str]]:
    gone = [[_price(tick), "0"] for tick in before if tick not in after]
    moved = {tick: quantity for tick, quantity in after.items() if before.get(tick) != quantity}
    return gone + _levels(moved)


def _levels(view: dict[int, int]) -> list[list[str]]:
    return [[_price(tick), f"{quantity // 10_000}.{quantity % 10_000:04d}"] for tick, quantity in view.items()]


def _price(tick: int) -> str:
    return f"{tick // 100}.{tick % 100:02d}"
