"""Keeping secrets out of whatever is written or shown.

Two things are replaced: exact values, in every spelling they travel in, and the values of members and
parameters whose names say that they are secret. A replacement touches the secret's own characters and no
other byte; in binary data, which may say how long things are, it has their length. What is about to be written is
searched once more (:mod:`~pytest_connex.secrets.leaks`) and refused when a secret is left.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar, cast

from ..errors import SecretFound
from .leaks import LOWER, Search, is_text
from .spellings import Spellings, has_escapes, spellings_of

SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie"})

PLACEHOLDERS = "connex-recorded-"
"""So begins everything that takes the place of a secret."""

_COOKIES = frozenset({"cookie", "set-cookie"})
_FOLDED = re.compile(r"(,(?=\s*[^=;,\s]+=)|\n)")
"""Where another cookie begins in one header: a date has a comma too, and no equals sign behind it."""

_BASE64_PLACEHOLDER = "UkVEQUNURUQ"
_SPACE = r"(?:\s|\\+[nrt])*"


class _Fit(Protocol):
    """Makes a placeholder fit to what it replaces, with ``pad`` where more is needed."""

    def __call__(self, placeholder: str, replaced: str, pad: str = ..., /) -> str:
        """Return what takes the place of ``replaced``."""


_Redacted = TypeVar("_Redacted")

_Shown: TypeAlias = Callable[[str, str], str]
"""Returns what takes the place of a value: of its name, and of the value as it is written."""


class Redactor:
    """Replaces secrets in text, bytes, headers and URLs.

    Args:
        values: Secret values, each with the placeholder that takes its place.
        fields: Names of members and parameters whose values are secret whatever they are; in any case.
        headers: Names of headers whose values are secret whatever they are, besides the usual ones.
    """

    def __init__(self, values: Mapping[str, str], fields: Iterable[str] = (), headers: Iterable[str] = ()) -> None:
        self._known = Known(values)
        self._fields = tuple(field.lower() for field in fields)
        self._encoded_fields = tuple(field.encode() for field in self._fields)
        in_fields = "".join(self._fields).encode()
        self._not_in_fields = bytes(code for code in range(256) if LOWER[code] not in in_fields)
        self._member, self._parameter = _member_pattern(self._fields), _parameter_pattern(self._fields)
        self._headers = SECRET_HEADERS.union(self._fields, (name.lower() for name in headers))
        self._replaced = _replaced_pattern(self._headers)

    @property
    def learned(self) -> int:
        """How many values it has learned since it was made: none."""
        return 0

    def text(self, text: str) -> str:
        """Return ``text`` with every secret replaced."""
        return self._redacted(text, _as_it_is, self._shown)

    def _redacted(self, text: str, fit: _Fit, shown: _Shown) -> str:
        known, lowered = self._known, text.lower()
        if known.may_be_in(text, lowered):
            for spellings, placeholder in known.values:
                text = _replace(text, lowered, spellings, placeholder, fit)
        for field in self._fields:
            if field in lowered:
                text = self._member.sub(partial(_redact_member, shown, fit), text)
                return self._parameter.sub(partial(_redact_parameter, shown, fit), text)
        return text

    def _shown(self, name: str, value: str) -> str:
        """Return what takes the place of a value, as it is written, whose name says that it is secret."""
        return value if self._replaced.fullmatch(value) else _placeholder(name)

    def _learn(self, name: str, value: str) -> str:
        """Return what takes the place of such a value where the server sends it."""
        return self._shown(name, value)

    def binary(self, data: bytes, measured: bool = True) -> bytes:
        """Return ``data`` with every secret replaced that stands in it as text.

        Args:
            data: Text, or anything else.
            measured: Whether what is no text must stay as long.
        """
        return self._redacted_binary(data, measured, self._shown)

    def _redacted_binary(self, data: bytes, measured: bool, shown: _Shown) -> bytes:
        fit = _as_long if measured and not is_text(data) else _as_it_is
        return self._redacted(data.decode("utf-8", "surrogateescape"), fit, shown).encode("utf-8", "surrogateescape")

    def payload(self, payload: str | bytes) -> str | bytes:
        """Return a message with every secret replaced."""
        return self._redacted_payload(payload, self._shown)

    def heard(self, payload: str | bytes) -> str | bytes:
        """Return a message, or a body, that the server sends with every secret replaced."""
        return self.thoroughly(lambda: self._redacted_payload(payload, self._learn))

    def _redacted_payload(self, payload: str | bytes, shown: _Shown) -> str | bytes:
        if isinstance(payload, str):
            return self._redacted(payload, _as_it_is, shown)
        return self._redacted_binary(payload, True, shown)

    def thoroughly(self, redact: Callable[[], _Redacted]) -> _Redacted:
        """Return what ``redact`` returns once it learns nothing more: its end may tell of its beginning."""
        while True:
            known = self.learned
            redacted = redact()
            if self.learned == known:
                return redacted

    def passes(self, payloads: Sequence[str | bytes]) -> bool:
        """Tell whether there is certainly nothing to replace in messages, and no secret to be found in them.

        It searches all of them at once; whatever is not text, has escapes, or spans lines does not pass.
        """
        try:
            data = "\n".join(cast(Sequence[str], payloads)).encode()
        except (TypeError, UnicodeEncodeError):
            return False
        letters = data.translate(LOWER, self._not_in_fields)
        if any(field in letters for field in self._encoded_fields):
            return False
        if not data.isascii() and any(map(data.decode().lower().__contains__, self._fields)):
            return False  # there are letters beyond ASCII whose other case these bytes do not show
        if data.count(b"\n") >= len(payloads):
            return False
        search = self._known.search
        return search.passes(data) or not (b"\\" in data or search.finds(data, separate=True))

    def header(self, name: str, value: str) -> str:
        """Return the value of a header as it may be shown; of cookies, names and attributes stay."""
        return self._redacted_header(name, value, self._shown)

    def heard_header(self, name: str, value: str) -> str:
        """Return the value of a header that the server sends."""
        return self._redacted_header(name, value, self._learn)

    def _redacted_header(self, name: str, value: str, shown: _Shown) -> str:
        redacted = self._redacted(value, _as_it_is, shown)
        if name.lower() in _COOKIES:
            return _redact_cookies(shown, name, redacted)
        if name.lower() in self._headers and all(redacted != placeholder for _, placeholder in self._known.values):
            return shown(name, redacted)
        return redacted

    def check(self, data: bytes, path: Path, line: int | None = None, separate: bool = False) -> None:
        """Refuse ``data`` if a secret is left in it.

        Args:
            data: One line, or without ``line`` any number of them.
            path: The file it is for.
            line: The number of the line in it.
            separate: Whether lines within ``data`` are documents of their own.

        Raises:
            SecretFound: With ``path`` and ``line``; the message does not say the secret.
        """
        known = self._known
        if not known.values:
            return
        for number, part in enumerate(data.split(b"\n") if line is None else (data,), start=line or 1):
            if known.search.finds(part, separate):
                raise SecretFound(
                    f"a secret was left in this line; nothing was written{self._advice()}", path, number
                )

    def _advice(self) -> str:
        """Say so where a secret cannot be replaced, because it is a part of what would take its place."""
        placeholders = [placeholder for _, placeholder in self._known.values]
        placeholders += map(_placeholder, (*self._fields, *self._headers))
        for placeholder in placeholders:
            if any(spellings.value in placeholder for spellings, _ in self._known.values):
                return (
                    f". A secret is a part of {placeholder!r}, which takes the place of secrets, so that no "
                    "recording can be without it: record with another one"
                )
        return ""


# --- Values ----------------------------------------------------------------------------------------------


class Known:
    """Secret values, and what finds them.

    Args:
        values: Each with its placeholder.
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = tuple(
            (spellings_of(secret), placeholder)
            for secret, placeholder in sorted(values.items(), key=lambda pair: -len(pair[0]))
            if secret and secret != placeholder
        )
        spellings = [one for one, _ in self.values]
        self.search = Search(spellings)
        cores = (core for one in spellings for encoded in one.base64 for core in encoded.cores)
        self._needles = tuple({*(plain for one in spellings for plain in one.plain), *cores})
        self._digits = tuple({form.digits for one in spellings for form in one.hexadecimal})

    def may_be_in(self, text: str, lowered: str) -> bool:
        """Tell most messages, which hold no secret, from the others: written out, because it runs for every one."""
        if has_escapes(text):
            return True
        for needle in self._needles:
            if needle in text:
                return True
        return any(digits in lowered for digits in self._digits)


def _as_it_is(placeholder: str, replaced: str, pad: str = "") -> str:
    return placeholder


def _as_long(placeholder: str, replaced: str, pad: str = "-") -> str:
    """Return a placeholder that has as many bytes as what it replaces."""
    length = len(replaced.encode("utf-8", "surrogateescape"))
    return (placeholder + pad * length)[:length]


def _replace(text: str, lowered: str, value: Spellings, placeholder: str, fit: _Fit) -> str:
    for plain in value.plain:
        text = text.replace(plain, fit(placeholder, plain))
    escapes = has_escapes(text)
    if escapes:
        text = value.escaped.sub(lambda match: fit(placeholder, match[0]), text)
    for digits, separator in value.hexadecimal:
        if digits in lowered:
            shown = _hexadecimal(placeholder, separator)
            text = re.sub(digits, lambda match: fit(shown, match[0], "2d"), text, flags=re.IGNORECASE)  # noqa: B023
    for encoded in value.base64:
        for core in encoded.cores:
            if core in text or (escapes and encoded.escapable):
                text = encoded.pattern.sub(lambda match: fit(_BASE64_PLACEHOLDER, match[0], "A"), text)
    return text


def _hexadecimal(text: str, separator: str) -> str:
    raw = text.encode()
    return raw.hex(separator) if separator else raw.hex()


# --- Placeholders ----------------------------------------------------------------------------------------


def _replaced_pattern(names: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern for a value that has been replaced as a whole, with the scheme of an authorization or not."""
    return re.compile(rf'\s*"?(?:[A-Za-z]+ +)?{PLACEHOLDERS}(?:[a-z0-9_]+|{_any_of(tuple(names))})(?:-[0-9]+)?"?\s*')


# --- Members and parameters --------------------------------------------------------------------------------


def _placeholder(name: str) -> str:
    return f"{PLACEHOLDERS}{name.lower()}"


def _string(escape: str) -> str:
    r"""Return a pattern for a JSON string without its closing quote.

    Args:
        escape: A pattern for the backslashes before each of its quotes: none, or ``\`` where the JSON stands
            inside a JSON string, ``\\\`` inside two, and so on.
    """
    return rf'{escape}"(?:[^"\\]|(?:{escape}\\){{2}}|{escape}\\{escape}"|\\+[^"\\])*'


def _member_pattern(fields: tuple[str, ...]) -> re.Pattern[str]:
    """Return a pattern for a JSON member whose value is a string, a list of strings or a number."""
    string = _string("(?P=escape)")
    return re.compile(
        rf'(?P<before>(?P<escape>\\*)"(?P<name>(?i:{_any_of(fields)}))(?P=escape)"{_SPACE}:{_SPACE})'
        rf'(?P<value>{string}|\[(?:{_SPACE}{string}(?P=escape)"{_SPACE},?)+|-?[0-9][0-9.eE+-]*)'
    )


def _redact_member(placeholder: _Shown, fit: _Fit, match: re.Match[str]) -> str:
    before, value, quote = match["before"], match["value"], match["escape"] + '"'

    def shown(string: str) -> str:
        written = string.removeprefix(quote)
        return quote + fit(placeholder(match["name"], written), written)

    if value.startswith("["):
        strings = _string(re.escape(match["escape"])) + re.escape(quote)
        return before + re.sub(strings, lambda string: shown(string[0].removesuffix(quote)) + quote, value)
    return before + (shown(value) if value.startswith(quote) else fit("0", value, "0"))


def _parameter_pattern(fields: tuple[str, ...]) -> re.Pattern[str]:
    """Return a pattern for a parameter of a form or a query."""
    return re.compile(
        rf'(?P<before>(?:^|[?&"\s]|\\u0026)(?P<name>(?i:{_any_of(fields)}))=)'
        r'(?P<value>(?:[^&\s"#\\]|\\+(?:/|u(?!0026)))+)'
    )


def _redact_parameter(placeholder: _Shown, fit: _Fit, match: re.Match[str]) -> str:
    return match["before"] + fit(placeholder(match["name"], match["value"]), match["value"])


def _redact_cookies(placeholder: _Shown, header: str, value: str) -> str:
    """Return what a header with cookies shows (RFC 6265): their names, and the attributes of those that are set."""
    if header.lower() == "cookie":
        return ";".join(_redact_cookie(placeholder, header, pair) for pair in value.split(";"))
    parts = _FOLDED.split(value)  # some write several into one header
    for place in range(0, len(parts), 2):
        pair, semicolon, attributes = parts[place].partition(";")
        parts[place] = _redact_cookie(placeholder, header, pair) + semicolon + attributes
    return "".join(parts)


def _redact_cookie(placeholder: _Shown, header: str, pair: str) -> str:
    name, equals, value = pair.partition("=")
    if not equals:
        return placeholder(header, pair) if pair.strip() else pair
    return f"{name}={placeholder(name.strip(), value)}" if value.strip() else pair


def _any_of(names: tuple[str, ...]) -> str:
    return "|".join(map(re.escape, names))
