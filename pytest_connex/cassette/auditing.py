"""Looking for what a recording must not hold: in what it means, however it is written, and in what it says beside.

YAML folds a long text into lines, writes bytes in base64 and any character as an escape. So a file is read first, and
each of its parts treated as it would be while recording: where that changes anything, a secret stands there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ..errors import CassetteError, SecretFound
from ..secrets.redaction import Redactor
from .cleaning import encoding_of
from .events import Closed, Dial, Event, Late, Open, Payload, Received, Refused, Rejected, Sent, fields
from .exchange import Fields, Interaction
from .http_file import interaction_of, read_http
from .inflation import ENCODINGS, inflated
from .library import summarize
from .places import WEBSOCKET_SUFFIX
from .store import Recording


class _Part(NamedTuple):
    """A part of a recording.

    Attributes:
        place: What it is.
        held: What stands there.
        shown: What would stand there if it were recorded now.
        line: The line it begins in, where that is known.
    """

    place: str
    held: Payload
    shown: Payload
    line: int | None = None


def audit(path: Path, redactor: Redactor) -> None:
    """Read a recording whole and search it for secrets.

    Args:
        path: The file.
        redactor: Knows the secrets, and the names of what must not hold anything but a placeholder. It learns what
            the server hands out at such places.

    Raises:
        SecretFound: A secret is left in it.
        CassetteError: It cannot be read, or not be looked into.
    """
    summarize(path)
    _check_lines(path, redactor)
    of_messages = path.name.endswith(WEBSOCKET_SUFFIX)
    parts = _parts_of_messages(path, redactor) if of_messages else _parts_of_requests(path, redactor)
    for place, held, shown, line in parts:
        if shown != held:
            raise SecretFound(f"{place} holds a value that is always replaced", path, line)
        if reason := redactor.refusal(_bytes(held), place):
            raise SecretFound(reason.removesuffix("; nothing was written"), path, line)


def _check_lines(path: Path, redactor: Redactor) -> None:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if reason := redactor.refusal(line, "this line"):
                raise SecretFound(reason.removesuffix("; nothing was written"), path, number)
            text = line.decode("utf-8", "replace")
            if redactor.text(text) != text:
                raise SecretFound("a member that is always replaced holds its value", path, number)


def _parts_of_messages(path: Path, redactor: Redactor) -> Iterator[_Part]:
    for connection in Recording(path).connections:
        yield from _parts_of_event(connection.dial, connection.line, redactor)
        for line, event in connection.events():
            yield from _parts_of_event(event, line, redactor)


def _parts_of_event(event: Event, line: int, redactor: Redactor) -> Iterator[_Part]:
    match event:
        case Dial(url=url, headers=headers):
            yield _Part("the URL of a dial", url, redactor.text(url), line)
            yield from _parts_of_headers("a dial", fields(headers), redactor.header, line)
        case Open(headers=headers):
            yield from _parts_of_headers("the answer to a dial", fields(headers), redactor.heard_header, line)
        case Rejected(headers=headers, payload=payload):
            yield from _parts_of_headers("the answer to a dial", fields(headers), redactor.heard_header, line)
            yield _Part("the answer to a dial", payload, redactor.heard(payload), line)
        case Closed(reason=text) | Refused(message=text):
            yield _Part("the end of a connection", text, redactor.text(text), line)
        case Received(payload=payload):
            yield _Part("a message", payload, redactor.heard(payload), line)
        case Sent(payload=payload) | Late(payload=payload):
            yield _Part("a message", payload, redactor.payload(payload), line)


def _parts_of_requests(path: Path, redactor: Redactor) -> Iterator[_Part]:
    document = read_http(path)
    for each in document["interactions"]:
        yield from _parts_of_interaction(interaction_of(each), path, redactor)
    for value in _scalars(document):
        yield _Part("the recording", value, value)


def _parts_of_interaction(interaction: Interaction, path: Path, redactor: Redactor) -> Iterator[_Part]:
    request = interaction.request
    asked = f"{request.method} {redactor.text(request.url)}"
    body = _readable(interaction.body, interaction.headers, path)
    yield from _parts_of_headers(f"the answer to {asked}", interaction.headers, redactor.heard_header)
    yield _Part(f"the answer to {asked}", body, redactor.heard(body))
    yield _Part(f"the answer to {asked}", interaction.reason, redactor.text(interaction.reason))
    body = _readable(request.body, request.headers, path)
    yield from _parts_of_headers(f"the request {asked}", request.headers, redactor.header)
    yield _Part(f"the URL of the request {asked}", request.url, redactor.text(request.url))
    yield _Part(f"the request {asked}", body, redactor.payload(body))


def _parts_of_headers(
    what: str, headers: Iterable[tuple[str, str]], redacted: Callable[[str, str], str], line: int | None = None
) -> Iterator[_Part]:
    for name, value in headers:
        yield _Part(f"the header {name} of {what}", value, redacted(name, value), line)


def _readable(body: bytes, headers: Fields, path: Path) -> bytes:
    """Return a body without compression."""
    encoding = encoding_of(headers)
    if encoding in ENCODINGS:
        try:
            return inflated(body, encoding)
        except ValueError:  # some tools undo it and leave the header
            return body
    if encoding and encoding != "identity" and body:
        raise CassetteError(f"a body is encoded with {encoding}, which cannot be searched for secrets", path)
    return body


def _scalars(document: object) -> Iterator[Payload]:
    """Yield all texts and bytes of a document, each container once: YAML may use one at many places."""
    seen, waiting = set[int](), [document]
    while waiting:
        match waiting.pop():
            case str() | bytes() as scalar:
                yield scalar
            case dict() as members if id(members) not in seen:
                seen.add(id(members))
                waiting += [*members.keys(), *members.values()]
            case list() as items if id(items) not in seen:
                seen.add(id(items))
                waiting += items


def _bytes(payload: Payload) -> bytes:
    return payload.encode("utf-8", "surrogatepass") if isinstance(payload, str) else bytes(payload)
