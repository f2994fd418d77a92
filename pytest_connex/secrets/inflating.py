"""Undoing compression: gzip and zlib anywhere in data, and raw deflate.

Where raw deflate data begins nobody can see, so it is found within the first bytes only.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from .allowance import Allowance
from .matcher import Matcher
from .reading import is_text

_LEAD = 8
"""How many bytes may stand before raw deflate data."""

_MIN_DEFLATED, _MIN_CUT = 8, 24
"""Shorter raw deflate data holds no secret; nor does what looks like it and has no end, as much noise does."""

_BLOCKS = (0, 2, 4)
"""The kinds of blocks that deflate knows, in the second and third bit of their first byte; the fourth is none."""

_FIRST = 256
_LARGEST = 1 << 20
"""The first and the largest piece of compressed data that is handed over at once."""


def inflated(data: bytes, allowance: Allowance) -> Iterator[bytes]:
    """Yield what is compressed in data, or is all of it.

    Raises:
        TooMuch: It holds more than may be unwrapped.
    """
    if not is_text(data):
        yield from inflated_at_a_mark(data, allowance)
        whole = memoryview(data)
        for lead in range(min(_LEAD, len(data) - _MIN_DEFLATED) + 1):
            if data[lead] & 6 in _BLOCKS:
                yield from _inflated(whole[lead:], -zlib.MAX_WBITS, allowance, cut=len(data) - lead >= _MIN_CUT)


def _marks() -> Iterator[bytes]:
    """Yield how compressed data may begin: gzip (RFC 1952) and zlib without a dictionary (RFC 1950)."""
    yield b"\x1f\x8b\x08"
    for method in range(0x08, 0x80, 0x10):
        for flags in range(256):
            if (method << 8 | flags) % 31 == 0 and not flags & 0x20:
                yield bytes([method, flags])


_MARKS = Matcher(_marks())


def inflated_at_a_mark(data: bytes, allowance: Allowance) -> Iterator[bytes]:
    """Yield what the gzip and zlib data in ``data`` holds, also where it is cut short or more follows it."""
    for place in _MARKS.places(data):
        yield from _inflated(memoryview(data)[place:], zlib.MAX_WBITS | 32, allowance)


def _inflated(data: memoryview, wbits: int, allowance: Allowance, cut: bool = True) -> Iterator[bytes]:
    """Yield what ``data`` begins with, without compression, where it is compressed; it may be ``cut`` short."""
    inflating = zlib.decompressobj(wbits)
    found, start, length = [], 0, _FIRST
    try:
        while start < len(data) and not inflating.eof:
            found.append(inflating.decompress(data[start : start + length], allowance.left + 1))
            allowance.take(min(length, len(data) - start) + len(found[-1]))
            start, length = start + length, min(2 * length, _LARGEST)
    except zlib.error:
        return
    if cut or inflating.eof:
        yield b"".join(found)
