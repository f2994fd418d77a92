"""Keeping secrets out of whatever is written or shown.

Two things are replaced: exact values, in every encoding they travel in, and the values of members and
parameters whose names say that they are secret. A replacement touches the secret's own characters and no
other byte. What is about to be written is searched once more, also inside base64 and compressed data, and
refused when a secret is left.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ..errors import SecretFound

MIN_SECRET = 8
"""Secrets shorter than this cannot be replaced without hitting innocent text."""

SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie"})

_BASE64_PLACEHOLDER = "UkVEQUNURUQ"
_BASE64_RUN = re.compile(rb"[A-Za-z0-9+/_-]{32,}={0,2}")
_SURROGATES = 0x10000
_NESTED_DECODINGS = 3


class _Value(NamedTuple):
    """One secret value and the ways to find it."""

    placeholder: str
    plain: tuple[str, ...]
    hexadecimal: str
    base64: dict[str, re.Pattern[str]]
    spelled: re.Pattern[str]
    quick: tuple[bytes, ...]


class Redactor:
    """Replaces secrets in text, bytes, headers and URLs.

    Args:
        values: Secret values, each with the placeholder that takes its place.
        fields: Names of members and parameters whose values are secret whatever they are.
        headers: Names of headers whose values are secret whatever they are, besides the usual ones.
    """

    def __init__(self, values: Mapping[str, str], fields: Iterable[str] = (), headers: Iterable[str] = ()) -> None:
        self._values = tuple(
            _value(secret, placeholder)
            for secret, placeholder in sorted(values.items(), key=lambda pair: -len(pair[0]))
            if secret and secret != placeholder
        )
        self._fields = tuple(fields)
        self._field_patterns = _field_patterns(self._fields) if self._fields else ()
        self._headers = SECRET_HEADERS | {name.lower() for name in headers}

    def text(self, text: str) -> str:
        """Return ``text`` with every secret replaced."""
        for value in self._values:
            text = _replace(text, value)
        if any(field in text for field in self._fields):
            for pattern in self._field_patterns:
                text = pattern.sub(_redact_field, text)
        return text

    def binary(self, data: bytes) -> bytes:
        """Return ``data`` with every secret replaced that stands in it as text."""
        return self.text(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")

    def payload(self, payload: str | bytes) -> str | bytes:
        """Return a message with every secret replaced."""
        return self.text(payload) if isinstance(payload, str) else self.binary(payload)

    def header(self, name: str, value: str) -> str:
        """Return the value of a header as it may be shown."""
        if name.lower() in self._headers:
            return f"connex-recorded-{name.lower()}"
        return self.text(value)

    def check(self, data: bytes, path: Path, line: int | None = None) -> None:
        """Refuse ``data`` if a secret is left in it.

        Raises:
            SecretFound: With ``path`` and ``line``; the message does not say the secret.
        """
        if not self._values:
            return
        for number, part in enumerate(data.split(b"\n") if line is None else (data,), start=line or 1):
            if any(self._holds(layer) for layer in _layers(part, _NESTED_DECODINGS)):
                raise SecretFound("a secret was left in this line; nothing was written", path, number)

    def _holds(self, data: bytes) -> bool:
        lowered = data.lower()
        escaped = b"%" in data or b"\\" in data
        for value in self._values:
            if any(form in data for form in value.quick) or value.hexadecimal.encode() in lowered:
                return True
            if escaped and value.spelled.search(data.decode("utf-8", "replace")):
                return True
        return False


def _value(secret: str, placeholder: str) -> _Value:
    raw = secret.encode()
    plain = tuple({secret, secret.replace(" ", "+"), json.dumps(secret)[1:-1]})
    encoded = dict(_base64_cores(raw))
    quick = tuple(form.encode() for form in (*plain, *encoded))
    return _Value(placeholder, plain, raw.hex(), encoded, re.compile(_spelled(secret)), quick)


def _base64_cores(raw: bytes) -> Iterator[tuple[str, re.Pattern[str]]]:
    """Yield what stays the same of ``raw`` in base64 whatever stands around it, for the three alignments.

    With it comes a pattern that also takes the characters which hold bits of ``raw`` and of a neighbour.
    """
    shared = "[A-Za-z0-9+/_-]?"
    for lead in range(3):
        padded = b"\0" * lead + raw
        first = -(-lead * 8 // 6)
        last = len(padded) * 8 // 6
        before, after = shared if lead else "", shared if len(padded) % 3 else ""
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            core = encode(padded).decode()[first:last]
            yield core, re.compile(before + re.escape(core) + after)


def _spelled(secret: str) -> str:
    """Return a pattern for ``secret`` with any of its characters percent-encoded or JSON-escaped."""
    return "".join(_spellings(character) for character in secret)


def _spellings(character: str) -> str:
    percent = "".join(f"%(?:25)*{_either_case(f'{byte:02x}')}" for byte in character.encode())
    code = ord(character)
    units = (
        (code,)
        if code < _SURROGATES
        else (0xD800 + ((code - _SURROGATES) >> 10), 0xDC00 + ((code - _SURROGATES) & 0x3FF))
    )
    unicode = "".join(rf"\\+u{_either_case(f'{unit:04x}')}" for unit in units)
    forms = [re.escape(character), percent, unicode]
    if character in '"\\/':
        forms.append(rf"\\+{re.escape(character)}")
    if character == " ":
        forms.append(r"\+")
    return f"(?:{'|'.join(forms)})"


def _either_case(digits: str) -> str:
    return "".join(f"[{d}{d.upper()}]" if d.isalpha() else d for d in digits)


def _replace(text: str, value: _Value) -> str:
    for plain in value.plain:
        text = text.replace(plain, value.placeholder)
    if "%" in text or "\\" in text:
        text = value.spelled.sub(value.placeholder, text)
    if value.hexadecimal in text.lower():
        text = re.sub(value.hexadecimal, value.placeholder.encode().hex(), text, flags=re.IGNORECASE)
    for core, pattern in value.base64.items():
        if core in text:
            text = pattern.sub(_BASE64_PLACEHOLDER, text)
    return text


def _field_patterns(fields: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
    """Patterns with the groups before, name and value: JSON, JSON inside a JSON string, and form or query."""
    name = "|".join(map(re.escape, fields))
    return (
        re.compile(rf'(?P<before>"(?P<name>{name})"\s*:\s*")(?P<value>(?:[^"\\]|\\.)*)'),
        re.compile(rf'(?P<before>"(?P<name>{name})"\s*:\s*)(?P<value>-?[0-9][0-9.eE+-]*)'),
        re.compile(
            rf'(?P<before>(?P<escape>\\+)"(?P<name>{name})(?P=escape)"\s*:\s*(?P=escape)")'
            r'(?P<value>(?:[^"\\]|(?:(?P=escape)\\){2}|(?P=escape)\\(?P=escape)"|\\+[^"\\])*)'
        ),
        re.compile(
            rf'(?P<before>(?:^|[?&"\s]|\\u0026)(?P<name>{name})=)(?P<value>(?:[^&\s"#\\]|\\+(?:/|u(?!0026)))+)'
        ),
    )


def _redact_field(match: re.Match[str]) -> str:
    quoted = match["before"][-1] in '"='
    return match["before"] + (f"connex-recorded-{match['name'].lower()}" if quoted else "0")


def _layers(data: bytes, depth: int) -> Iterator[bytes]:
    """Yield ``data``, and what base64 and compressed data in it decode to."""
    yield data
    if not depth:
        return
    if inflated := _inflate(data):
        yield from _layers(inflated, depth - 1)
    for run in _BASE64_RUN.findall(data):
        core = run.rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
        try:
            decoded = base64.b64decode(core[: len(core) - (len(core) % 4 == 1)] + b"=" * (-len(core) % 4))
        except binascii.Error:
            continue
        if decoded[:2] == b"\x1f\x8b" or decoded[:1] == b"\x78" or depth == _NESTED_DECODINGS:
            yield from _layers(decoded, depth - 1)


def _inflate(data: bytes) -> bytes:
    """Return what gzip or zlib data holds, also where it is cut short or more follows it."""
    if data[:2] != b"\x1f\x8b" and data[:1] != b"\x78":
        return b""
    try:
        return zlib.decompressobj(wbits=47).decompress(data)
    except zlib.error:
        return b""
