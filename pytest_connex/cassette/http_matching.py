"""Telling whether a request is one that is recorded, and what differs where it is not.

Method, origin and path must be the same. Parameters of the query may come in any order, and values of volatile ones
may be anything; bodies are compared as messages are (:mod:`~pytest_connex.cassette.matching`).
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator
from dataclasses import dataclass
from email.message import Message
from typing import NamedTuple, TypeAlias
from urllib.parse import parse_qsl, urlsplit

from ..config import origin
from .exchange import HttpRequest
from .generated import advice, generated
from .matching import Difference, differences, fingerprint

_Parameters: TypeAlias = list[tuple[str, str]]


class Miss(NamedTuple):
    """One part of two requests that differs."""

    part: str
    detail: str

    def __str__(self) -> str:
        return f"{self.part}: {self.detail}"


@dataclass(frozen=True)
class Matching:
    """How requests are compared.

    Attributes:
        volatile_query: Names of parameters whose values differ in every run.
        volatile_body: Dotted paths of members of which the same is true.
    """

    volatile_query: Collection[str]
    volatile_body: Collection[str]

    def key(self, request: HttpRequest) -> Hashable:
        """Return what is equal for two requests just when they match."""
        body = fingerprint(_body_of(request), self.volatile_body)
        return request.method, origin(request.url), _path(request), tuple(self._parameters(request)), body

    def misses(self, recorded: HttpRequest, actual: HttpRequest) -> list[Miss]:
        """Return what differs; nothing where they match."""
        return list(self._misses(recorded, actual))

    def hints(self, recorded: HttpRequest, actual: HttpRequest) -> list[str]:
        """Return what to do about differences, if every one of them looks made up."""
        if {miss.part for miss in self._misses(recorded, actual)} - {"query", "body"}:
            return []
        left, right = self._parameters(recorded), self._parameters(actual)
        if [name for name, _ in left] != [name for name, _ in right]:
            return []
        query = [
            Difference(name, repr(before), repr(after))
            for (name, before), (_, after) in zip(left, right, strict=True)
            if before != after
        ]
        body = self._body(recorded, actual)
        names = {"volatile_query": generated(query), "volatile_body": generated(body)}
        if bool(query) != bool(names["volatile_query"]) or bool(body) != bool(names["volatile_body"]):
            return []
        return [
            advice(found, f"{member} = (*Dialect.{member}, {{}}) in the dialect of your connex_dialect").rstrip()
            for member, found in names.items()
            if found
        ]

    def _misses(self, recorded: HttpRequest, actual: HttpRequest) -> Iterator[Miss]:
        for part, expected, found in (
            ("method", recorded.method, actual.method),
            ("origin", _origin(recorded), _origin(actual)),
            ("path", _path(recorded), _path(actual)),
            ("query", self._parameters(recorded), self._parameters(actual)),
        ):
            if expected != found:
                yield Miss(part, f"expected {expected}, actual {found}")
        if body := self._body(recorded, actual):
            yield Miss("body", "; ".join(map(str, body)))

    def _body(self, recorded: HttpRequest, actual: HttpRequest) -> list[Difference]:
        return differences(_body_of(recorded), _body_of(actual), self.volatile_body)

    def _parameters(self, request: HttpRequest) -> _Parameters:
        return sorted(
            (name, "" if name in self.volatile_query else value)
            for name, value in parse_qsl(urlsplit(request.url).query, keep_blank_values=True)
        )


def _path(request: HttpRequest) -> str:
    return urlsplit(request.url).path


def _origin(request: HttpRequest) -> str:
    return "{}://{}:{}".format(*origin(request.url))


def _body_of(request: HttpRequest) -> str | bytes:
    """Return a body as it is compared: text where it is that, and the parts of a multipart separated as always."""
    body = request.body
    if (separator := _separator(request)) is not None:
        body = body.replace(separator, b"connex-boundary")
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        return body


def _separator(request: HttpRequest) -> bytes | None:
    """Return what a client made up to separate the parts of its body; None where that has no parts."""
    for name, value in request.headers:
        if name.lower() == "content-type" and value.lower().lstrip().startswith("multipart/"):
            message = Message()
            message["Content-Type"] = value
            return (message.get_boundary() or "").encode("latin-1", "replace") or None
    return None
