"""Searching what is about to be written for secrets, through everything that they may be wrapped in.

Replacing touches only what it can replace to the character. The search goes further, because whatever it finds
is refused: it undoes escapes, base64, hexadecimal, UTF-16 and compression (gzip, zlib and raw deflate), one
inside the other. Where raw deflate data begins nobody can see, so it is found within the first bytes only.
"""

from __future__ import annotations

import binascii
import html
import re
import string
import zlib
from collections.abc import Iterable, Iterator

from .spellings import Spellings

_DEPTH = 5
"""How many encodings, one inside the other, are undone."""

_ESCAPINGS = 4
"""How often escapes are undone at each depth."""

_MIN_RUN = 16
"""Shorter runs of base64 or hexadecimal cannot hold a secret that is encoded once more."""

_MIN_DIGITS = 32
"""The same for runs of digits, which most often are a number: hexadecimal of hexadecimal."""

_LEAD = 8
"""How many bytes may stand before raw deflate data."""

_KEPT = (string.ascii_letters + string.digits + "+/").encode()
_RUNS = bytes(
    code if code in _KEPT else {ord("-"): ord("+"), ord("_"): ord("/")}.get(code, 32) for code in range(256)
)
"""Translates the URL-safe alphabet of base64 to the standard one, and what is in neither to a space."""

_SHAPE = bytes(code if code == 32 else ord("x") for code in _RUNS)
_LONG = b"x" * _MIN_RUN
"""What a run that is long enough looks like when ``_SHAPE`` has been translated."""

_WHITE_SPACE = b" \t\r\n"
_PLAIN = _WHITE_SPACE + string.printable.encode().translate(None, b"\\%&\v\f")
_GLANCE = bytes(shape if code in _PLAIN else ord("?") for code, shape in enumerate(_SHAPE))
"""Shows the runs, too, and with ``?`` all that may be an escape or is no ASCII text."""

LOWER = bytes(range(256)).lower()
"""Translates ASCII letters to small ones, where something else is deleted in the same go."""

_BETWEEN_DIGITS = _WHITE_SPACE + b":-"
_CONTROLS = bytes(code for code in range(1, 32) if code not in _WHITE_SPACE)
_TEXT = re.compile(rb"[\0\t\r\n -~]{16,}")
_HEXADECIMAL = re.compile(rb"[0-9A-Fa-f]{16,}")
_ESCAPE = re.compile(
    rb"%[0-9A-Fa-f]{2}|(?:\\u[0-9A-Fa-f]{4})+|\\U[0-9A-Fa-f]{8}|\\x[0-9A-Fa-f]{2}|\\[^uUx]|&#?[0-9A-Za-z]{2,8};"
)


class Search:
    """Finds secrets.

    Args:
        secrets: The spellings of each.
    """

    def __init__(self, secrets: Iterable[Spellings]) -> None:
        self._secrets = tuple(secrets)
        wide = {form for secret in self._secrets for form in _in_utf_16(secret.value)}
        self._wide = tuple(form for form in wide if b"\0" in form)
        narrow = {form for secret in self._secrets for form in _forms(secret)}
        self._forms = tuple(narrow | wide.difference(self._wide))
        self._digits = tuple(
            {form.digits.encode() for secret in self._secrets for form in secret.hexadecimal if not form.separator}
        )
        self._short_forms = tuple(form for form in self._forms if _LONG not in form.translate(_SHAPE))
        self._quoted = any('\\"' in secret.value for secret in self._secrets)

    def passes(self, data: bytes) -> bool:
        """Tell at a glance that no secret is in lines of text, each a document of its own; False is no answer."""
        shape = data.translate(_GLANCE)
        if b"?" in shape or _LONG in shape or self._has_digits(data):
            return False
        return not any(form in data for form in self._short_forms)

    def finds(self, data: bytes, separate: bool = False) -> bool:
        """Tell whether a secret is in ``data``, as it is or encoded.

        Args:
            data: What to search.
            separate: Whether its lines are documents of their own, so that nothing goes on from one to the next.
        """
        if self._quoted and self._is_in(data):
            return True
        return any(map(self._is_in, _layers(data, _DEPTH, separate)))

    def _has_digits(self, layer: bytes) -> bool:
        digits = layer.translate(LOWER, _BETWEEN_DIGITS)
        return any(form in digits for form in self._digits)

    def _is_in(self, layer: bytes) -> bool:
        for form in self._forms:
            if form in layer:
                return True
        if self._has_digits(layer):
            return True
        if b"\0" in layer and any(form in layer for form in self._wide):
            return True
        if not _has_escapes(layer):
            return False
        text = layer.decode("utf-8", "surrogateescape")
        return any(secret.escaped.search(text) for secret in self._secrets)


def _forms(secret: Spellings) -> Iterator[bytes]:
    for text in secret.plain:
        yield text.encode("utf-8", "surrogateescape")
    for encoded in secret.base64:
        for core in encoded.cores:
            yield core.encode()


def _in_utf_16(text: str) -> Iterator[bytes]:
    for end in ("le", "be"):
        yield text.encode(f"utf-16-{end}")


def _layers(data: bytes, depth: int, separate: bool = False) -> Iterator[bytes]:
    """Yield ``data``, then the same with its escapes undone, then what is encoded in it.

    Where nothing but quotes is escaped, as in most messages, one layer shows all there is.
    """
    plain = data.replace(b'\\"', b'"')
    if _has_escapes(plain):
        yield data
        for plain in _unescaped(data):
            yield plain
    else:
        yield plain
    if depth:
        separate = separate and (plain is data or data.count(b"\n") == plain.count(b"\n"))
        for decoded in _decoded(data, plain, separate):
            yield from _layers(decoded, depth - 1)


def _decoded(data: bytes, plain: bytes, separate: bool) -> Iterator[bytes]:
    """Yield what is encoded in ``data``; ``plain`` is the same with its escapes undone.

    Unless its lines are ``separate``, what is encoded may be wrapped into several.
    """
    if b"\0" in plain:
        yield plain.replace(b"\0", b"")  # UTF-16 and UTF-32, where the characters are ASCII
    if not separate and (b"\n" in plain or b"\r" in plain):
        yield plain.translate(None, _WHITE_SPACE)  # what was wrapped into lines
    for run in _long_runs(plain):
        if len(run) >= _MIN_DIGITS or not run.isdigit():
            yield from _from_base64(run)
            yield from _from_hexadecimal(run)
    if not is_text(data):
        yield from _inflated_at_a_mark(data)
        for lead in range(min(_LEAD + 1, len(data))):
            yield from _inflated(data[lead:], -zlib.MAX_WBITS)


def _long_runs(plain: bytes) -> Iterator[bytes]:
    """Yield the runs of characters of base64 that are long enough, in its standard alphabet."""
    shape = plain.translate(_SHAPE)
    start = shape.find(_LONG)
    if start < 0:
        return
    standard = plain.translate(_RUNS)
    while start >= 0:
        end = shape.find(b" ", start)
        end = len(shape) if end < 0 else end
        yield standard[start:end]
        start = shape.find(_LONG, end)


# --- Escapes ---------------------------------------------------------------------------------------------


def _has_escapes(data: bytes) -> bool:
    return b"\\" in data or b"%" in data or b"&" in data


def _unescaped(data: bytes) -> Iterator[bytes]:
    """Yield ``data`` with its escapes undone once, twice and so on, as long as there are any."""
    for _ in range(_ESCAPINGS):
        if not _has_escapes(data):
            return
        undone = data.replace(b'\\"', b'"')  # all there is in most messages, and quicker than what follows
        if _has_escapes(undone):
            undone = _ESCAPE.sub(_unescape, undone)
        if undone == data:
            return
        data = undone
        yield data


def _unescape(match: re.Match[bytes]) -> bytes:
    token = match[0].decode("latin-1")
    match token[:2]:
        case "\\u":
            return bytes.fromhex(token.replace("\\u", "")).decode("utf-16-be", "replace").encode()
        case "\\U":
            return bytes.fromhex(token[2:]).decode("utf-32-be", "replace").encode()
        case "\\x":
            return bytes.fromhex(token[2:])
        case "\\n" | "\\r":
            return b"\n"
    if token[0] == "%":
        return bytes.fromhex(token[1:])
    if token[0] == "&":
        return html.unescape(token).encode()
    return match[0][1:]


# --- Base64 and hexadecimal --------------------------------------------------------------------------------


def _from_base64(run: bytes) -> Iterator[bytes]:
    """Yield what a run of base64 decodes to.

    Where text precedes the base64 without a gap, it begins at one of three other places; then all but text and
    compressed data with a mark is noise.
    """
    yield _base64(run)
    for start in (1, 2, 3):
        decoded = _base64(run[start:])
        yield from _TEXT.findall(decoded)
        yield from _inflated_at_a_mark(decoded)


def _base64(run: bytes) -> bytes:
    whole = run[: len(run) - (len(run) % 4 == 1)]
    return binascii.a2b_base64(whole + b"=" * (-len(whole) % 4))


def _from_hexadecimal(run: bytes) -> Iterator[bytes]:
    for digits in _HEXADECIMAL.findall(run):
        odd = len(digits) % 2
        yield binascii.unhexlify(digits[: len(digits) - odd])
        if odd:
            yield binascii.unhexlify(digits[1:])


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
    yield rb"\x1f\x8b\x08"
    for method in range(0x08, 0x80, 0x10):
        flags = (bytes([flag]) for flag in range(256) if (method << 8 | flag) % 31 == 0 and not flag & 0x20)
        yield re.escape(bytes([method])) + b"(?:" + b"|".join(map(re.escape, flags)) + b")"


_MARK = re.compile(b"|".join(_marks()))


def _inflated_at_a_mark(data: bytes) -> Iterator[bytes]:
    """Yield what the gzip and zlib data in ``data`` holds, also where it is cut short or more follows it."""
    for mark in _MARK.finditer(data):
        yield from _inflated(memoryview(data)[mark.start() :], zlib.MAX_WBITS | 32)


def _inflated(data: bytes | memoryview, wbits: int) -> Iterator[bytes]:
    try:
        yield zlib.decompressobj(wbits).decompress(data)
    except zlib.error:
        return
