"""Telling whether a request is one that is recorded, and what differs where it is not.

Method, origin and path must be the same. Parameters of a query or of a form may come in any order, and values of
volatile ones may be anything; other bodies are compared as messages are (:mod:`~pytest_connex.cassette.matching`).
Of the headers those matter that :mod:`~pytest_connex.cassette.credentials` tells.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

from ..config import origin
from .credentials import ANY_HEADERS, HeaderRules
from .exchange import HttpRequest, values
from .generated import advice, generated
from .matching import Difference, compared, differences, fingerprint, print_of
from .multipart import parts_of, separator_of
from .parameters import Parameters, different, parameters

_FORM = "application/x-www-form-urlencoded"


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
        volatile_query: Names of parameters of the query whose values differ in every run.
        volatile_body: Dotted paths of members of bodies, and names of parameters of forms, of which the same is true.
        headers: Which headers matter.
    """

    volatile_query: Collection[str]
    volatile_body: Collection[str]
    headers: HeaderRules = ANY_HEADERS

    def key(self, request: HttpRequest) -> Hashable:
        """Return what is equal for two requests just when they match, but for their headers."""
        body: Hashable = self._form(request)
        if body is None:
            parts = parts_of(request)
            body = (
                fingerprint(_body_of(request), self.volatile_body)
                if parts is None
                else print_of(parts, self.volatile_body)
            )
        return request.method, origin(request.url), _path(request), self._parameters(request), body

    def misses(self, recorded: HttpRequest, actual: HttpRequest) -> list[Miss]:
        """Return what differs; nothing where they match."""
        return list(self._misses(recorded, actual))

    def hints(self, recorded: HttpRequest, actual: HttpRequest) -> list[str]:
        """Return what to do about differences, if every one of them looks made up."""
        if {miss.part for miss in self._misses(recorded, actual)} - {"query", "body"}:
            return []
        query = different(self._parameters(recorded), self._parameters(actual))
        body = self._body(recorded, actual)
        names = [name for found in (query, body) for name in generated(found)]
        if bool(query) != bool(generated(query)) or bool(body) != bool(generated(body)):
            return []
        return [advice(list(dict.fromkeys(names)), "@pytest.mark.connex(volatile=[{}])")] if names else []

    def _misses(self, recorded: HttpRequest, actual: HttpRequest) -> Iterator[Miss]:
        for part, expected, found in (
            ("method", recorded.method, actual.method),
            ("origin", _origin(recorded), _origin(actual)),
            ("path", _path(recorded), _path(actual)),
        ):
            if expected != found:
                yield Miss(part, f"expected {expected}, actual {found}")
        if query := different(self._parameters(recorded), self._parameters(actual)):
            yield Miss("query", "; ".join(map(str, query)))
        if headers := self.headers.misses(recorded.headers, actual.headers):
            yield Miss("headers", "; ".join(headers))
        if body := self._body(recorded, actual):
            yield Miss("body", "; ".join(map(str, body)))

    def _body(self, recorded: HttpRequest, actual: HttpRequest) -> list[Difference]:
        forms = self._form(recorded), self._form(actual)
        if forms[0] is not None and forms[1] is not None:
            return different(forms[0], forms[1])
        parts = compared(parts_of(recorded), parts_of(actual), self.volatile_body)
        return differences(_body_of(recorded), _body_of(actual), self.volatile_body) if parts is None else parts

    def _parameters(self, request: HttpRequest) -> Parameters:
        return parameters(urlsplit(request.url).query, self.volatile_query)

    def _form(self, request: HttpRequest) -> Parameters | None:
        """Return what a form says; None where the body is no form."""
        if not is_form(request):
            return None
        return parameters(request.body.decode("utf-8", "surrogateescape"), self.volatile_body)


def is_form(request: HttpRequest) -> bool:
    """Tell whether the body of a request is a form; some clients say so of JSON."""
    if request.body.lstrip()[:1] in (b"{", b"["):
        return False
    return any(kind.partition(";")[0].strip().lower() == _FORM for kind in values(request.headers, "content-type"))


def _path(request: HttpRequest) -> str:
    return urlsplit(request.url).path


def _origin(request: HttpRequest) -> str:
    return "{}://{}:{}".format(*origin(request.url))


def _body_of(request: HttpRequest) -> str | bytes:
    """Return a body as it is compared: text where it is that, and the parts of a multipart separated as always."""
    body = request.body
    if (separator := separator_of(request)) is not None:
        body = body.replace(separator, b"connex-boundary")
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        return body
