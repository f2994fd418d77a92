"""Undoing what text may be wrapped in: base64, hexadecimal, UTF-16, and lines."""

from __future__ import annotations

import binascii
import string
from collections.abc import Iterator

from .allowance import Allowance
from .inflating import inflated_at_a_mark
from .reading import Reading, parts

_MIN_RUN = 16
"""Shorter runs of base64 or hexadecimal cannot hold a secret that is encoded once more."""

_MIN_DIGITS = 32
"""The same for runs of digits, which most often are a number: hexadecimal of hexadecimal."""

_KEPT = (string.ascii_letters + string.digits + "+/").encode()
_RUNS = bytes(
    code if code in _KEPT else {ord("-"): ord("+"), ord("_"): ord("/")}.get(code, 32) for code in range(256)
)
"""Translates the URL-safe alphabet of base64 to the standard one, and what is in neither to a space."""

SHAPE = bytes(code if code == 32 else ord("x") for code in _RUNS)
"""Shows with ``x`` what may be base64 or hexadecimal."""

LONG = b"x" * _MIN_RUN
"""What a run that is long enough looks like when ``SHAPE`` has been translated."""

_DIGITS = bytes(
    ord("x") if code in string.hexdigits.encode() else ord("-") if code in b"+/" else 32 for code in range(256)
)
"""Shows with ``x`` hexadecimal digits, and with a dash two of the other characters of base64. Where there is nothing
else, it is no base64: that all of it were such characters by chance does not happen."""

_BETWEEN_BYTES = b" :-"
_SPACED = bytes(ord("x") if code in string.hexdigits.encode() + _BETWEEN_BYTES else 32 for code in range(256))
"""Shows with ``x`` hexadecimal digits and what may be between each two of them."""

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
        yield from inflated_at_a_mark(shifted, allowance)


def _base64(run: bytes) -> bytes:
    whole = run[: len(run) - (len(run) % 4 == 1)]
    return binascii.a2b_base64(whole + b"=" * (-len(whole) % 4))


def _from_hexadecimal(digits: bytes) -> bytes:
    return binascii.unhexlify(digits[: len(digits) // 2 * 2])
