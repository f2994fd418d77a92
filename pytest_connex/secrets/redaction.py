"""Keeping secrets out of whatever is written or shown.

Two things are replaced: exact values, in every spelling they travel in, and the values of members and
parameters whose names say that they are secret. A replacement touches the secret's own characters and no
other byte; in binary data, which may say how long things are, it has their length. What is about to be written is
searched once more (:mod:`~pytest_connex.secrets.leaks`) and refused when a secret is left.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

from ..errors import SecretFound
from ..packing import begins_packed, unpacked
from .allowance import TooMuch
from .escapes import has_escapes
from .leaks import Search
from .members import (
    Fit,
    Members,
    Shown,
    may_have_password,
    placeholder_of,
    placeholders,
    replace_cookies,
    replace_passwords,
)
from .reading import Reading, is_text
from .spellings import Spellings, spellings_of, variants

SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie"})

_COOKIES = frozenset({"cookie", "set-cookie"})
_NO_BYTES = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_BASE64_PLACEHOLDER = "UkVEQUNURUQ"

_Redacted = TypeVar("_Redacted")


LONG = 2**18
"""To clean so many characters or bytes takes a moment, in which the loop that they came on would do nothing else."""


class Redactor:
    """Replaces secrets in text, bytes, headers and URLs.

    Args:
        values: Secret values, each with the placeholder that takes its place.
        fields: Names of members and parameters whose values are secret whatever they are; in any case.
        headers: Names of headers whose values are secret whatever they are, besides the usual ones.
        decode: Reads binary messages; raises anything where it cannot.
    """

    def __init__(
        self,
        values: Mapping[str, str],
        fields: Iterable[str] = (),
        headers: Iterable[str] = (),
        decode: Callable[[bytes], Any] = bytes.decode,
    ) -> None:
        self._decode = decode
        self._irreplaceable = ""
        self._known = Known(values)
        self._members = Members(fields)
        names = "".join(self._members.names)
        self._readable = Reading(names.encode(), self._members.shortest)
        self._headers = SECRET_HEADERS.union(self._members.names, (name.lower() for name in headers))
        self._replaced = placeholders(self._headers)

    @property
    def credentials(self) -> frozenset[str]:
        """Names of headers whose values are secret, in lower case, but for cookies: those expire."""
        return self._headers - _COOKIES

    @property
    def learned(self) -> int:
        """How many values it has learned since it was made: none."""
        return 0

    def text(self, text: str) -> str:
        """Return ``text`` with every secret replaced."""
        return self._redacted(text, _as_it_is, self._shown)

    def _redacted(self, text: str, fit: Fit, shown: Shown) -> str:
        text = self._members.replace(self._known.replace(text, fit), shown, fit)
        return replace_passwords(text, shown, fit)

    def _shown(self, name: str, value: str) -> str:
        """Return what takes the place of a value, as it is written, whose name says that it is secret."""
        return value if self._replaced.fullmatch(value) else placeholder_of(name)

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

    def _redacted_binary(self, data: bytes, measured: bool, shown: Shown) -> bytes:
        readable = self._readable(data)
        named = self._members.may_be_in_bytes(readable) or may_have_password(readable)
        if not named and not self._known.search.spelled(data):
            return bytes(data)  # and no longer the frame that it was
        fit = _as_long if measured and not is_text(data) else _as_it_is
        return self._redacted(data.decode("utf-8", "surrogateescape"), fit, shown).encode("utf-8", "surrogateescape")

    def payload(self, payload: str | bytes) -> str | bytes:
        """Return a message with every secret replaced."""
        return self._redacted_payload(payload, self._shown)

    def heard(self, payload: str | bytes) -> str | bytes:
        """Return a message, or a body, that the server sends with every secret replaced."""
        return self.thoroughly(lambda: self._redacted_payload(payload, self._learn))

    def _redacted_payload(self, payload: str | bytes, shown: Shown) -> str | bytes:
        if isinstance(payload, str):
            return self._redacted(payload, _as_it_is, shown)
        packed = unpacked(payload)
        if packed is not None and packed.form != "bytes":
            text = self._redacted(packed.text, _as_it_is, shown)
            return bytes(payload) if text == packed.text else packed.repacked(text)
        data = self._redacted_binary(payload, True, shown)
        return data if packed is not None or not self._members.names else self._without_members(data, shown)

    def _without_members(self, data: bytes, shown: Shown) -> bytes:
        """Return a binary message with the values of secret members replaced that somebody can read in it."""
        try:
            document = self._decode(data)
        except Exception:  # noqa: BLE001, whatever a decoder of somebody else raises for what it does not know
            return data
        for name, value in self._members.of(document):
            raw = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
            if not isinstance(raw, bytes) or raw not in data:
                self._irreplaceable = name
            else:
                data = data.replace(raw, _in_its_place(shown(name, raw.decode("utf-8", "replace")), raw))
        return data

    def may_name(self, data: bytes) -> bool:
        """Tell quickly whether the name of a member whose value is secret may be in ``data``."""
        return self._members.may_be_in_bytes(data)

    def may_tell(self, payload: str | bytes) -> bool:
        """Tell quickly whether there may be a member in a message whose value is secret."""
        if isinstance(payload, str):
            return self._members.may_be_in(payload)
        if begins_packed(payload) or self.may_name(payload):
            return True
        try:
            document = self._decode(payload)
        except Exception:  # noqa: BLE001, whatever a decoder of somebody else raises for what it does not know
            return False
        return next(self._members.of(document), None) is not None

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
        if data.count(b"\n") >= len(payloads) or self._members.may_be_in_bytes(data):
            return False
        if may_have_password(data):
            return False
        if not data.isascii() and self._members.may_be_in(data.decode()):
            return False
        search = self._known.search
        return search.passes(data) or not (b"\\" in data or self.refusal(data, "", separate=True))

    def header(self, name: str, value: str) -> str:
        """Return the value of a header as it may be shown; of cookies, names and attributes stay."""
        return self._redacted_header(name, value, self._shown)

    def heard_header(self, name: str, value: str) -> str:
        """Return the value of a header that the server sends."""
        return self._redacted_header(name, value, self._learn)

    def _redacted_header(self, name: str, value: str, shown: Shown) -> str:
        redacted = self._redacted(value, _as_it_is, shown)
        if name.lower() in _COOKIES:
            return replace_cookies(shown, name, redacted)
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
        for number, part in enumerate(data.split(b"\n") if line is None else (data,), start=line or 1):
            if reason := self.refusal(part, "this line", separate):
                raise SecretFound(reason, path, number)

    def refusal(self, data: bytes, what: str, separate: bool = False, written: bytes = b"") -> str:
        """Return why ``data`` must not be written; an empty text if it may.

        Args:
            data: What is to be written.
            what: What it is, as the sentence says it.
            separate: Whether its lines are documents of their own.
            written: How it is written, where it is encoded there.
        """
        if self._irreplaceable:
            return (
                f"the member {self._irreplaceable!r} of a binary message is secret by its name, and its value does "
                "not stand there as text, so that it cannot be replaced; nothing was written. Where it is no secret, "
                "have secret_fields of the dialect leave it out"
            )
        search = self._known.search
        try:
            if not search.finds(data, separate) and not search.shows(written):
                return ""
        except TooMuch as exc:
            return f"{what} cannot be searched for secrets, because {exc}; nothing was written"
        return f"a secret was left in {what}; nothing was written{self._advice()}"

    def _advice(self) -> str:
        """Say so where a secret cannot be replaced, because it is a part of what would take its place."""
        placeholders = [placeholder for _, placeholder in self._known.values]
        placeholders += map(placeholder_of, self._headers)
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
        known: dict[str, str] = {}
        for secret, placeholder in values.items():
            for variant in variants(secret) if secret != placeholder else ():
                known.setdefault(variant, placeholder)
        self.values = tuple(
            (spellings_of(secret), placeholder)
            for secret, placeholder in sorted(known.items(), key=lambda pair: -len(pair[0]))
            if secret
        )
        self.search = _search_for(tuple(one.value for one, _ in self.values))

    def replace(self, text: str, fit: Fit) -> str:
        """Return ``text`` with all of them replaced that it spells."""
        for number in self.search.spelled(_as_bytes(text)):
            text = _replace(text, *self.values[number], fit)
        return text


@lru_cache(maxsize=64)
def _search_for(secrets: tuple[str, ...]) -> Search:
    """Return what finds these; kept, because it takes milliseconds to make, and most tests have the same ones."""
    return Search(map(spellings_of, secrets))


def _as_bytes(text: str) -> bytes:
    """Return text as the bytes that it was; half of a surrogate pair, which no bytes are, as a question mark."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return _NO_BYTES.sub("?", text).encode("utf-8", "surrogateescape")


def _as_it_is(placeholder: str, replaced: str, pad: str = "") -> str:
    return placeholder


def _as_long(placeholder: str, replaced: str, pad: str = "-") -> str:
    """Return a placeholder that has as many bytes as what it replaces."""
    length = len(replaced.encode("utf-8", "surrogateescape"))
    return (placeholder + pad * length)[:length]


def _in_its_place(placeholder: str, raw: bytes) -> bytes:
    return placeholder.encode().ljust(len(raw), b"-")[: len(raw)]


def _replace(text: str, value: Spellings, placeholder: str, fit: Fit) -> str:
    lowered = text.lower()
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
