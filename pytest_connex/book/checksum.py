"""Checksums of an order book, in the two styles that exchanges publish.

Both are CRC-32 over the digits of the best levels, so a single wrong digit anywhere near the top is noticed. The
digits are those on the wire: a :class:`~decimal.Decimal` keeps them, trailing zeros and all.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain, zip_longest
from typing import TYPE_CHECKING

from ..errors import DataFormatError

if TYPE_CHECKING:
    from ..model import Level

_LONGEST = 10_000  # digits of one number, written without an exponent


@dataclass(frozen=True)
class Checksum:
    """How a checksum is computed.

    Attributes:
        levels: How many levels a side it covers.
        compute: Takes so many bids and asks, or all where there are fewer, and returns what the exchange would send.
    """

    levels: int
    compute: Callable[[Sequence[Level], Sequence[Level]], int]

    def of(self, bids: Sequence[Level], asks: Sequence[Level]) -> int:
        """Return the checksum of a book, given both sides best first."""
        return self.compute(bids[: self.levels], asks[: self.levels])


def _kraken(bids: Sequence[Level], asks: Sequence[Level]) -> int:
    numbers = chain.from_iterable(chain(asks, bids))
    return zlib.crc32("".join([_digits(number).replace(".", "").lstrip("0") for number in numbers]).encode())


def _okx(bids: Sequence[Level], asks: Sequence[Level]) -> int:
    pairs = chain.from_iterable(zip_longest(bids, asks, fillvalue=()))
    unsigned = zlib.crc32(":".join([_digits(number) for level in pairs for number in level]).encode())
    return unsigned - 2**32 if unsigned >= 2**31 else unsigned


def _digits(number: Decimal) -> str:
    """Write a number as exchanges do, without an exponent."""
    text = str(number)
    if "E" not in text:
        return text
    if abs(number.adjusted()) > _LONGEST:
        raise DataFormatError(f"{number:.6e} has more than {_LONGEST} digits: it has no checksum")
    return format(number, "f")


KRAKEN = Checksum(10, _kraken)
"""Kraken's: ten asks, then ten bids; digits without point and leading zeros; unsigned.

Source: Kraken's guide to the checksum of its WebSocket book channel, version 1.
"""

OKX = Checksum(25, _okx)
"""OKX's: twenty-five levels, bid and ask in turn, joined by colons; signed.

Where one side has fewer levels, the other goes on alone. Source: OKX's API guide, version 5, "Checksum".
"""

CHECKSUMS: dict[str, Checksum] = {"kraken": KRAKEN, "okx": OKX}
"""The styles by name."""
