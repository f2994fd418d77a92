"""How HTTP/1.1 messages are written: heads line by line, and bodies with their ends marked.

h11 reads what others send. What goes out is written here, because h11 puts ``Host`` first, and adds to the answer to
``HEAD``. Texts are Latin-1: every byte that came in one goes out as it was.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus

from ..cassette.exchange import values

Headers = list[tuple[str, str]]
"""Names and values as they were written: in their order and case, repeated ones repeated."""

LONGEST_LINE = 65_536
"""So many bytes a line of a head may have, as elsewhere in Python."""

LONGEST_HEAD = 262_144
"""So many bytes a head may have."""

_BREAKS = re.compile(r"[\r\n\0]")
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")


def head(first: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """Return the head of a message.

    Args:
        first: Its first line.
        headers: What is not Latin-1 in them goes as UTF-8.

    Raises:
        ValueError: A line would be two.
    """
    lines = [first, *(f"{name}: {value}" for name, value in headers)]
    if any(map(_BREAKS.search, lines)):
        raise ValueError("a line of the head of an HTTP message cannot hold a line break")
    return b"\r\n".join([*map(_encoded, lines), b"", b""])


def as_headers(raw: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Return headers as text."""
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw]


def tokens(headers: Iterable[tuple[str, str]], name: str) -> set[str]:
    """Return what a header lists, such as ``Connection``, in lower case."""
    return {token.strip().lower() for value in values(headers, name) for token in value.split(",")}


def origin_form(target: str) -> str:
    """Return the target of a request as a server gets it, also where the client takes this for a proxy."""
    match = _ABSOLUTE.match(target)
    if match is None:
        return target
    rest = target[match.end() :]
    return rest if rest.startswith("/") else f"/{rest}"


def phrase(status: int) -> str:
    """Return the usual reason of a status."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


class Body:
    """How the body of one message is written.

    Args:
        length: So many bytes, as announced; None where nobody knows yet.
        chunked: In chunks, where the length is not known; otherwise the end of the connection is its end.

    Attributes:
        left: The bytes that are missing; None where their number is not known.
    """

    def __init__(self, length: int | None, chunked: bool = False) -> None:
        self.left = length
        self._chunked = chunked

    def piece(self, data: bytes) -> bytes:
        """Return how a piece is written; what goes beyond the announced length is left out."""
        if self.left is not None:
            data = data[: self.left]
            self.left -= len(data)
            return data
        return b"%x\r\n%b\r\n" % (len(data), data) if self._chunked and data else data

    def end(self, trailers: Headers) -> bytes:
        """Return how the end is written."""
        return b"0\r\n" + head("", trailers)[2:] if self._chunked else b""


def _encoded(line: str) -> bytes:
    try:
        return line.encode("latin-1")
    except UnicodeEncodeError:
        return line.encode("utf-8", "surrogateescape")
