"""What a client got, out of recordings: the messages of a WebSocket, the JSON bodies of HTTP answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from ..cassette.events import Received
from ..cassette.http_file import read_http
from ..cassette.store import Recording

_WEBSOCKET = ".ws.jsonl"
_FIRST_ERROR = 400


class Captured(NamedTuple):
    """One message or answer.

    Attributes:
        place: Where it stands, for people.
        name: The class of an answer, which does not say it itself; None for a message.
        text: As it was on the wire.
    """

    place: str
    name: str | None
    text: str | bytes


def captured_in(path: Path) -> Iterator[Captured]:
    """Yield what a recording holds, connection by connection; answers without a body are left out.

    Raises:
        CassetteError: It cannot be read.
    """
    if path.name.endswith(_WEBSOCKET):
        yield from _messages(path)
    else:
        yield from _answers(path)


def _messages(path: Path) -> Iterator[Captured]:
    for connection in Recording(path).connections:
        for line, event in connection.events():
            if isinstance(event, Received):
                yield Captured(f"{path}:{line}", None, event.payload)


def _answers(path: Path) -> Iterator[Captured]:
    for number, interaction in enumerate(read_http(path)["interactions"], start=1):
        response = interaction["response"]
        body = response["body"]["string"]
        if isinstance(body, (str, bytes)) and body.strip():
            name = answer_class(interaction["request"]["uri"], response["status"]["code"])
            yield Captured(f"{path}, answer {number}", name, body)


def answer_class(url: str, status: int) -> str:
    """Return the class of an answer: ``rest.error``, or ``rest.v1.status`` from the first two parts of its path."""
    if status >= _FIRST_ERROR:
        return "rest.error"
    return ".".join(["rest", *[part for part in urlsplit(url).path.split("/") if part][:2]])
