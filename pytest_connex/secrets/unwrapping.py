"""Undoing what data may be wrapped in: base64, hexadecimal, UTF-16 and compression (gzip, zlib and raw deflate).

Where raw deflate data begins nobody can see, so it is found within the first bytes only. How much may come out of it
all is limited, so that a small message cannot take all the memory and hours.
"""

from __future__ import annotations

import binascii
import string
import zlib
from collections.abc import Iterator

from .matcher import Matcher

_MIN_RUN = 16
"""Shorter runs of base64 or hexadecimal cannot hold a secret that is encoded once more."""

_MIN_DIGITS = 32
"""The same for runs of digits, which most often are a number: hexadecimal of hexadecimal."""

_LEAD = 8
"""How many bytes may stand before raw deflate data."""

_MIN_DEFLATED, _MIN_CUT = 8, 24
"""Shorter raw deflate data holds no secret; nor does what looks like it and has no end, as much noise does."""

_BLOCKS = (0, 2, 4)
"""The kinds of blocks that deflate knows, in the second and third bit of their first byte; the fourth is none."""

MOST = 64 << 20
MOST_FOR_EACH = 16
"""So many bytes are unwrapped at most: these, and so many more for each byte of the data."""

_FIRST = 256
_LARGEST = 1 << 20
"""The first and the largest piece of compressed data that is handed over at once."""

_KEPT = (string.ascii_letters + string.digits + "+/").encode()
_RUNS = bytes(
    code if code in _KEPT else {ord("-"): ord("+"), ord("_"): ord("/")}.get(code, 32) for code in range(256)
)
"""Translates the URL-safe alphabet of base64 to the standard one, and what is in neither to a space."""

SHAPE = bytes(code if code == 32 else ord("x") for code in _RUNS)
"""Shows with ``x`` what may be base64 or hexadecimal."""

LONG = b"x" * _MIN_RUN
"""What a run that is long enough looks like when ``SHAPE`` has been translated."""

WHITE_SPACE = b" \t\r\n"
_READABLE = bytes(range(32, 127)) + b"\0\t\r\n"
"""What text is written in, also in UTF-16 where it is ASCII."""

_CONTROLS = bytes(code for code in range(1, 32) if code not in WHITE_SPACE)
_DIGITS = bytes(
    ord("x") if code in string.hexdigits.encode() else ord("-") if code in b"+/" else 32 for code in range(256)
)
"""Shows with ``x`` hexadecimal digits, and with a dash two of the other characters of base64. Where there is nothing
else, it is no base64: that all of it were such characters by chance does not happen."""


_BETWEEN_BYTES = b" :-"
_SPACED = bytes(ord("x") if code in string.hexdigits.encode() + _BETWEEN_BYTES else 32 for code in range(256))
"""Shows with ``x`` hexadecimal digits and what may be between each two of them."""


class TooMuch(ValueError):
    """More comes out of the data than anybody is ready to look at."""


class Allowance:
    """How many bytes may still be unwrapped of one piece of data.

    Args:
        size: How many bytes the data has.
    """

    def __init__(self, size: int) -> None:
        self._most = self.left = MOST + MOST_FOR_EACH * size

    def of(self, data: bytes) -> bytes:
        """Return ``data``, which is unwrapped.

        Raises:
            TooMuch: It is more than may be unwrapped.
        """
        self.take(len(data))
        return data

    def take(self, size: int) -> None:
        """Have ``size`` bytes more.

        Raises:
            TooMuch: There are not so many left.
        """
        self.left -= size
        if self.left < 0:
            raise TooMuch(f"what is compressed or encoded in it unpacks to more than {self._most >> 20} MiB")


class Reading:
    """Takes what can be read out of data, so that the rest need not be searched.

    Args:
        alphabet: The bytes that matter besides those of text.
        shortest: How many of them must stand together to matter.
    """

    def __init__(self, alphabet: bytes, shortest: int) -> None:
        known = {*_READABLE, *alphabet}
        self._shape = bytes(ord("x") if code in known else 32 for code in range(256))
        self._run = b"x" * shortest
        self._gap = bytes(code for code in range(256) if code not in known)[:1] or b"\n"

    def __call__(self, *pieces: bytes) -> bytes:
        """Return text as it is, and the runs of what can be read in binary data, each apart from the next one."""
        return self._gap.join(map(self._readable, pieces))

    def _readable(self, data: bytes) -> bytes:
        return data if is_text(data) else self._gap.join(parts(data, data.translate(self._shape), self._run))


_MIN_TEXT = 8
_SOME_TEXT = Reading(b"", _MIN_TEXT)


def runs(plain: bytes) -> Iterator[bytes]:
    """Yield what may be base64 or hexadecimal in text, in the standard alphabet of base64."""
    shape = plain.translate(SHAPE)
    if LONG in shape:
        for run in parts(plain.translate(_RUNS), shape, LONG):
            if len(run) >= _MIN_DIGITS or not run.isdigit():
                yield run


def decoded(run: bytes, allowance: Allowance) -> Iterator[bytes]:
    """Yield what such a run may stand for.

    Raises:
        TooMuch: It stands for more than may be unwrapped.
    """
    shape = run.translate(_DIGITS)
    if b" " in shape:
        yield from _from_base64(run, allowance)
    for digits in parts(run, shape.replace(b"-", b" "), LONG):
        yield allowance.of(_from_hexadecimal(digits))
        if len(digits) % 2:
            yield allowance.of(_from_hexadecimal(digits[1:]))


def rewritten(plain: bytes, separate: bool) -> Iterator[bytes]:
    """Yield text without what may stand between its characters.

    Args:
        plain: The text.
        separate: Whether its lines are documents of their own. Otherwise what is encoded may be wrapped into several.
    """
    if b"\0" in plain:
        yield plain.replace(b"\0", b"")  # UTF-16 and UTF-32, where the characters are ASCII
    if not separate and (b"\n" in plain or b"\r" in plain):
        joined = b"".join(map(bytes.strip, plain.splitlines()))
        if encoded := b" ".join(parts(joined, joined.translate(SHAPE), LONG)):
            yield encoded
    if spaced := b" ".join(spaced_digits(plain)):
        yield spaced


def spaced_digits(plain: bytes) -> Iterator[bytes]:
    """Yield hexadecimal digits without what is between each two of them; there are fewer dashes in a UUID."""
    for part in parts(plain, plain.translate(_SPACED), LONG):
        digits = part.translate(None, _BETWEEN_BYTES)
        if len(digits) >= _MIN_RUN and 7 * len(digits) <= 5 * len(part):
            yield digits


def inflated(data: bytes, allowance: Allowance) -> Iterator[bytes]:
    """Yield what is compressed in data, or is all of it.

    Raises:
        TooMuch: It holds more than may be unwrapped.
    """
    if not is_text(data):
        yield from _inflated_at_a_mark(data, allowance)
        whole = memoryview(data)
        for lead in range(min(_LEAD, len(data) - _MIN_DEFLATED) + 1):
            if data[lead] & 6 in _BLOCKS:
                yield from _inflated(whole[lead:], -zlib.MAX_WBITS, allowance, cut=len(data) - lead >= _MIN_CUT)


def parts(data: bytes, shape: bytes, long: bytes) -> Iterator[bytes]:
    """Yield those parts of ``data`` whose shape has no space, where it begins with ``long``."""
    start = shape.find(long)
    while start >= 0:
        end = shape.find(b" ", start)
        end = len(shape) if end < 0 else end
        yield data[start:end]
        start = shape.find(long, end)


# --- Base64 and hexadecimal --------------------------------------------------------------------------------


def _from_base64(run: bytes, allowance: Allowance) -> Iterator[bytes]:
    """Yield what a run of base64 decodes to.

    Where text precedes the base64 without a gap, it begins at one of three other places; then all but text and
    compressed data with a mark is noise.
    """
    yield allowance.of(_base64(run))
    for start in (1, 2, 3):
        shifted = allowance.of(_base64(run[start:]))
        if text := _SOME_TEXT(shifted):
            yield text
        yield from _inflated_at_a_mark(shifted, allowance)


def _base64(run: bytes) -> bytes:
    whole = run[: len(run) - (len(run) % 4 == 1)]
    return binascii.a2b_base64(whole + b"=" * (-len(whole) % 4))


def _from_hexadecimal(digits: bytes) -> bytes:
    return binascii.unhexlify(digits[: len(digits) // 2 * 2])


# --- Compression -----------------------------------------------------------------------------------------


def is_text(data: bytes) -> bool:
    """Tell text from binary data, which compressed data always is; UTF-16 is text too."""
    if data.isascii():
        return data.translate(None, _CONTROLS) == data
    try:
        return data.decode("utf-8").encode() == data.translate(None, _CONTROLS)
    except UnicodeDecodeError:
        return False


def _marks() -> Iterator[bytes]:
    """Yield how compressed data may begin: gzip (RFC 1952) and zlib without a dictionary (RFC 1950)."""
    yield b"\x1f\x8b\x08"
    for method in range(0x08, 0x80, 0x10):
        for flags in range(256):
            if (method << 8 | flags) % 31 == 0 and not flags & 0x20:
                yield bytes([method, flags])


_MARKS = Matcher(_marks())


def _inflated_at_a_mark(data: bytes, allowance: Allowance) -> Iterator[bytes]:
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
