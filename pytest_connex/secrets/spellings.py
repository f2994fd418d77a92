"""How one secret value is written: as text, escaped, in hexadecimal and in base64.

This is knowledge of encodings and nothing else. What is done with a spelling that is found is the business of
:mod:`~pytest_connex.secrets.redaction`; what a spelling may be wrapped in is that of
:mod:`~pytest_connex.secrets.leaks`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property, lru_cache
from typing import NamedTuple

_BORDER = re.compile("-----(?:BEGIN|END) [^-]+-----")
_MIN_LINE = 8
"""A shorter part of a secret is not told from other text."""

_SURROGATES = 0x10000
_SEPARATORS = ("", " ", ":", "-")
_ENTITIES = {'"': "quot", "'": "apos", "&": "amp", "<": "lt", ">": "gt"}
_PLUS = r"(?:[+-]|%(?:25)*2[Bb]|(?<!\\)\\+u002[Bb])"
_SLASH = r"(?:[/_]|%(?:25)*2[Ff]|(?<!\\)\\+u002[Ff]|(?<!\\)\\+/)"
_BACKSLASHES = r"\\\\*"
_SHARED = rf"(?:[A-Za-z0-9]|{_PLUS}|{_SLASH})?"


class Hexadecimal(NamedTuple):
    """A value in lower-case hexadecimal, and what stands between its bytes."""

    digits: str
    separator: str


class Base64(NamedTuple):
    """What stays the same of a value in base64 at one of the three alignments, whatever stands around it.

    Attributes:
        cores: These characters, in the standard and in the URL-safe alphabet.
        escapable: Whether there are some among them that other encodings escape.
        pattern: Finds them, also with ``+`` and ``/`` escaped, with the characters at both ends that hold bits
            of the value and of a neighbour.
    """

    cores: tuple[str, ...]
    escapable: bool
    pattern: re.Pattern[str]


class Spellings:
    """The spellings of one secret value.

    Attributes:
        value: It itself.
        plain: It as text, also where its UTF-8 was read as Latin-1, or its Latin-1 as UTF-8 with escaped
            surrogates.
        hexadecimal: Its bytes, with and without separators.
        base64: Its bytes at every alignment.
    """

    def __init__(self, secret: str) -> None:
        self.value = secret
        encoded = list(_encodings(secret))
        misread = secret.encode().decode("latin-1")
        read = (raw.decode("utf-8", "surrogateescape") for raw in encoded)
        self.plain = tuple(dict.fromkeys((secret, secret.replace(" ", "+"), misread, *read)))
        self.hexadecimal = tuple(
            Hexadecimal(raw.hex(separator) if separator else raw.hex(), separator)
            for raw in encoded
            for separator in _SEPARATORS
        )
        self.base64 = tuple(form for raw in encoded for form in _base64(raw))

    @cached_property
    def escaped(self) -> re.Pattern[str]:
        """Finds the value with any of its characters escaped.

        Understood are the escapes of URLs and forms, of JSON, Python and HTML, and those of JSON, URLs and ``&``
        also where they are nested. Compiled when first needed: it takes milliseconds.
        """
        first = _character(self.value[:1]).replace(_BACKSLASHES, rf"(?<!\\){_BACKSLASHES}")  # each run is read once
        return re.compile(first + "".join(map(_character, self.value[1:])))


def variants(secret: str) -> Iterator[str]:
    """Yield a value, and in what other ways whoever reads it may take it.

    A value from a file has white space around it. A key in PEM (RFC 7468) is written in lines: each of them is
    secret, so are all of them joined, and the bytes that they encode.
    """
    yield secret
    if stripped := secret.strip():
        yield stripped
    lines = [line for part in secret.splitlines() if (line := part.strip()) and not _BORDER.fullmatch(line)]
    if len(lines) == len(secret.splitlines()) == 1:
        return
    joined = "".join(lines)
    found = [*lines, joined]
    if _BORDER.match(stripped):
        with suppress(ValueError):
            found.append(base64.b64decode(joined, validate=True).decode("latin-1"))
    yield from (text for text in found if len(text) >= _MIN_LINE)


@lru_cache(maxsize=4096)
def spellings_of(secret: str) -> Spellings:
    """Return the spellings of a value; kept, because they take long to make."""
    return Spellings(secret)


def _encodings(text: str) -> Iterator[bytes]:
    """Yield the bytes of ``text``: UTF-8, and Latin-1 where it can be and differs."""
    yield text.encode()
    if text.isascii():
        return
    try:
        yield text.encode("latin-1")
    except UnicodeEncodeError:
        return


def _base64(raw: bytes) -> Iterator[Base64]:
    for lead in range(3):
        padded = b"\0" * lead + raw
        first = -(-lead * 8 // 6)
        last = len(padded) * 8 // 6
        before, after = _SHARED if lead else "", _SHARED if len(padded) % 3 else ""
        core = base64.b64encode(padded).decode()[first:last]
        urlsafe = core.replace("+", "-").replace("/", "_")
        spelled = "".join({"+": _PLUS, "/": _SLASH}.get(character, character) for character in core)
        yield Base64(tuple(dict.fromkeys((core, urlsafe))), core != urlsafe, re.compile(before + spelled + after))


def _character(character: str) -> str:
    """Return a pattern for one character, also where its UTF-8 was read as Latin-1."""
    forms = list(_forms(character))
    if not character.isascii():
        misread = character.encode().decode("latin-1")
        forms.append("".join(f"(?:{'|'.join(_forms(part))})" for part in misread))
    return f"(?:{'|'.join(forms)})"


def _forms(character: str) -> Iterator[str]:
    code = ord(character)
    yield re.escape(character)
    for raw in _encodings(character):
        yield "".join(f"%(?:25)*{_either_case(f'{byte:02x}')}" for byte in raw)
        yield "".join(rf"{_BACKSLASHES}x{_either_case(f'{byte:02x}')}" for byte in raw)
    yield "".join(rf"{_BACKSLASHES}u{_either_case(f'{unit:04x}')}" for unit in _utf16_units(code))
    yield rf"{_BACKSLASHES}U{_either_case(f'{code:08x}')}"
    yield rf"&(?:amp;)*#(?:0*{code}|[xX]0*{_either_case(f'{code:x}')});"
    if character in _ENTITIES:
        yield f"&(?:amp;)*{_ENTITIES[character]};"
    if character in "\"'\\/":
        yield rf"{_BACKSLASHES}{re.escape(character)}"
    if character == " ":
        yield r"\+"


def _utf16_units(code: int) -> tuple[int, ...]:
    if code < _SURROGATES:
        return (code,)
    offset = code - _SURROGATES
    return 0xD800 + (offset >> 10), 0xDC00 + (offset & 0x3FF)


def _either_case(digits: str) -> str:
    return "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in digits)
