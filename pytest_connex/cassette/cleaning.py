"""Making what passed over HTTP into what a recording may hold.

Secrets are replaced, what is compressed is unpacked so that they can be, and hosts become those that recordings
carry. What a replaying client asks goes the same way, so that it can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import cast
from urllib.parse import urljoin

from ..config import canonical_url, origin
from ..errors import CassetteError, SecretFound
from ..secrets.redaction import Redactor
from ..upstreams import recorded_upstream
from .exchange import Fields, HttpRequest, Interaction, Piece, values
from .inflation import ENCODINGS, inflated

_LOCATIONS = frozenset({"location", "content-location"})
_REMEMBERED = 10_000
"""So many texts of heads are remembered that have no secret: most come again with the next request."""

_OF_THE_WIRE = frozenset({"host", "content-encoding"})


class Cleaning:
    """Makes what passed into what a recording may hold.

    Args:
        path: Where the recording is to be, for messages.
        redactor: Replaces secrets, and finds those that are left.
        upstreams: The base URL of each upstream, by its name.
    """

    def __init__(self, path: Path, redactor: Redactor, upstreams: Mapping[str, str]) -> None:
        self._path = path
        self._redactor = redactor
        self._upstreams = upstreams
        self._searched: set[str] = set()

    def interaction(self, passed: Interaction, came: int) -> Interaction:
        """Return an interaction without secrets, and with the hosts that recordings carry.

        Args:
            passed: What passed, its answer no longer compressed.
            came: How many bytes of that answer came.

        Raises:
            CassetteError: It holds what cannot be looked into, or a secret that cannot be replaced.
        """
        cleaned = self._redactor.thoroughly(lambda: self._cleaned(passed, came))
        self._search(cleaned)
        return cleaned

    def _cleaned(self, passed: Interaction, came: int) -> Interaction:
        request = self.request(passed.request, passed.upstream)
        headers, body, pieces = self._answer(passed, came)
        return replace(
            passed,
            request=request,
            reason=self._redactor.text(_as_text(passed.reason)),
            headers=headers,
            body=body,
            pieces=pieces,
        )

    def hear(self, headers: Fields) -> None:
        """Learn the secrets that the headers of an answer tell."""
        for name, value in headers:
            self._redactor.heard_header(name, _as_text(value))

    def request(self, asked: HttpRequest, upstream: str) -> HttpRequest:
        """Return a request as a recording has it.

        Raises:
            CassetteError: Its body cannot be looked into.
        """
        url = canonical_url(_as_text(asked.url), self._base(upstream), recorded_upstream(upstream))
        content = self._readable(asked)
        body = self._redactor.binary(content, measured=not _has_parts(asked.headers))
        headers = [
            (_as_text(name), self._redactor.header(name, _as_text(value)))
            for name, value in asked.headers
            if name.lower() not in _OF_THE_WIRE
        ]
        return HttpRequest(asked.method, self._redactor.text(url), adapted(headers, len(asked.body), len(body)), body)

    def _readable(self, asked: HttpRequest) -> bytes:
        encoding = self._compression("a request body", asked.body, asked.headers)
        if not encoding:
            return asked.body
        try:
            return inflated(asked.body, encoding)
        except ValueError as exc:
            raise CassetteError(f"the body of a request is {exc}", self._path) from exc

    def _answer(self, passed: Interaction, came: int) -> tuple[Fields, bytes, tuple[Piece, ...]]:
        unpacked = self._compression("the answer", passed.body, passed.headers)
        headers = [
            (
                _as_text(name),
                self._redactor.heard_header(name, self._location(name, _as_text(value), passed.upstream)),
            )
            for name, value in passed.headers
            if not (unpacked and name.lower() == "content-encoding")
        ]
        body = cast(bytes, self._redactor.heard(passed.body))
        pieces = passed.pieces
        if pieces and body != passed.body:
            pieces = tuple(moved(passed.body, body, pieces, self._redactor.binary))
        return adapted(headers, came, len(body)), body, pieces

    def _compression(self, what: str, body: bytes, headers: Fields) -> str:
        """Return how a body is, or was, compressed; an empty text where it was not."""
        encoding = encoding_of(headers)
        if not body or encoding in ("", "identity"):
            return ""
        if encoding not in ENCODINGS:
            raise CassetteError(
                f"{what} is encoded with {encoding}, which cannot be searched for secrets", self._path
            )
        return encoding

    def _location(self, name: str, value: str, upstream: str) -> str:
        if name.lower() not in _LOCATIONS:
            return value
        with suppress(ValueError):  # no URL
            if "://" in value:
                return self._canonical(value)
            if value.startswith("/") and not value.startswith("//"):
                base, recorded = self._base(upstream), recorded_upstream(upstream)
                return canonical_url(urljoin(base, value), base, recorded).removeprefix(recorded)
        return value

    def _canonical(self, url: str) -> str:
        """Return a URL with the host that recordings carry, whichever upstream it leads to."""
        for name, base in self._upstreams.items():
            if origin(url) == origin(base):
                return canonical_url(url, base, recorded_upstream(name))
        return url

    def _base(self, upstream: str) -> str:
        return self._upstreams.get(upstream) or recorded_upstream(upstream)

    def _search(self, cleaned: Interaction) -> None:
        """Refuse what has a secret left in it."""
        request = cleaned.request
        asked = f"{request.method} {request.url}"
        self._check(f"the request {asked}", request.body)
        self._check(f"the answer to {asked}", cleaned.body)
        for text in (request.method, request.url, cleaned.reason, *chain(*request.headers, *cleaned.headers)):
            if text not in self._searched:
                self._check(f"the headers of {asked}", text.encode())
                if len(self._searched) < _REMEMBERED:
                    self._searched.add(text)

    def _check(self, what: str, content: bytes) -> None:
        if reason := self._redactor.refusal(content, what):
            raise SecretFound(reason, self._path)


def encoding_of(headers: Fields) -> str:
    """Return how a body is compressed; an empty text where it is not."""
    return ", ".join(values(headers, "content-encoding")).strip().lower()


def moved(before: bytes, after: bytes, pieces: Iterable[Piece], change: Callable[[bytes], bytes]) -> Iterator[Piece]:
    """Yield pieces with the lengths that they have after a change; those that share what was changed are one.

    Args:
        before: The whole body.
        after: The same, changed.
        pieces: Those of the body as it was.
        change: Changes a part of it.
    """
    offset, start, place = 0, 0, 0
    at = 0.0
    for at, length in pieces:
        offset += length
        part = change(before[start:offset])
        if after.startswith(part, place):
            yield Piece(at, len(part))
            start, place = offset, place + len(part)
    if place < len(after):
        yield Piece(at, len(after) - place)


def _has_parts(headers: Fields) -> bool:
    """Tell whether a body has parts, as forms with files: their separators say how long they are."""
    return any(value.lower().startswith("multipart/") for value in values(headers, "content-type"))


def adapted(headers: Fields, before: int, after: int) -> Fields:
    """Return headers that declare as much more or less than they did as a body is longer or shorter now."""
    if before == after:
        return headers
    return [
        (name, str(int(value) + after - before) if name.lower() == "content-length" and value.isdecimal() else value)
        for name, value in headers
    ]


def _as_text(value: str) -> str:
    """Return text that YAML can hold: bytes that somebody could not decode are Latin-1."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogateescape").decode("latin-1")
    return value
