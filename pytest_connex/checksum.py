"""Checksums of an order book, in the two styles that exchanges publish.

Both are CRC-32 over the digits of the best levels, so a single wrong digit anywhere near the top is noticed. The
digits are those on the wire: a :class:`~decimal.Decimal` keeps them, trailing zeros and all.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from decimal import Decimal
from itertools import chain, zip_longest
from typing import TypeAlias

from .model import Level

Checksum: TypeAlias = Callable[[Sequence[Level], Sequence[Level]], int]
"""Takes bids and asks, best first, and returns what the exchange would send."""

_KRAKEN_LEVELS = 10
_OKX_LEVELS = 25


def kraken(bids: Sequence[Level], asks: Sequence[Level]) -> int:
    """Return Kraken's checksum: ten asks, then ten bids; digits without point and leading zeros; unsigned.

    Source: Kraken's guide to the checksum of its WebSocket book channel, version 1.
    """
    levels = chain(asks[:_KRAKEN_LEVELS], bids[:_KRAKEN_LEVELS])
    return zlib.crc32("".join(_bare(number) for level in levels for number in level).encode())


def okx(bids: Sequence[Level], asks: Sequence[Level]) -> int:
    """Return OKX's checksum: twenty-five levels, bid and ask in turn, joined by colons; signed.

    Where one side has fewer levels, the other goes on alone. Source: OKX's API guide, version 5, "Checksum".
    """
    pairs = zip_longest(bids[:_OKX_LEVELS], asks[:_OKX_LEVELS])
    text = ":".join(_plain(number) for pair in pairs for level in pair if level is not None for number in level)
    unsigned = zlib.crc32(text.encode())
    return unsigned - 2**32 if unsigned >= 2**31 else unsigned


CHECKSUMS: dict[str, Checksum] = {"kraken": kraken, "okx": okx}
"""The styles by name."""


def _plain(number: Decimal) -> str:
    return format(number, "f")


def _bare(number: Decimal) -> str:
    return _plain(number).replace(".", "").lstrip("0")
