"""A folder of recordings: what is there, what each says of itself, and whether it can be trusted."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from pathlib import Path
from typing import TextIO

from ..packing import unpacked
from .events import Closed, Dial, Event, Late, Left, Open, Payload, Received, Refused, Rejected, Sent
from .http_file import read_http
from .places import HTTP_SUFFIX, WEBSOCKET_SUFFIX, stem_of
from .store import Recording

DEFAULT_FOLDER = "cassettes"

_HEAD_LINES = 20
_LISTED = 10
"""So many recordings are listed in a hint."""

_SOURCE_IN_JSON = re.compile(r'"source":\s*"(\w*)"')
_SOURCE_IN_YAML = re.compile(r"  source:\s*['\"]?(\w+)")


@dataclass(frozen=True)
class Summary:
    """What a recording says of itself.

    Attributes:
        path: The file.
        kind: WebSocket or HTTP.
        recorded_at: When it was made; None where it does not say.
        source: What it was made from: ``sandbox`` or ``live``; empty where it does not say.
        test: The node id of the test it belongs to.
        count: Messages of a WebSocket recording, interactions of an HTTP one.
        size: In bytes.
    """

    path: Path
    kind: str
    recorded_at: datetime | None
    source: str
    test: str
    count: int
    size: int

    def age_in_days(self, now: datetime) -> float | None:
        """Return how old the recording is."""
        return None if self.recorded_at is None else days_between(self.recorded_at, now)


def days_between(earlier: datetime, later: datetime) -> float:
    """Return how many days have passed."""
    return (later - earlier) / timedelta(days=1)


def recordings_in(folder: Path) -> list[Path]:
    """Return the recordings below ``folder``, in the order of their names; other people's YAML is none of them."""
    websocket = folder.rglob(f"*{WEBSOCKET_SUFFIX}")
    http = (path for path in folder.rglob(f"*{HTTP_SUFFIX}") if _is_ours(path))
    return sorted([*websocket, *http])


def rename_hint(stem: Path, unused: Iterable[Path], folder: Path) -> str:
    """Return the command that gives a test recordings that no test uses, or an empty text.

    Args:
        stem: Where its own recordings would be, without their suffixes.
        unused: Recordings that no test uses; those of the same module count, and those of the same name.
        folder: The folder of the recordings.
    """
    places = dict.fromkeys(map(stem_of, unused))
    likely = [place for place in places if place.parent == stem.parent or place.name == stem.name]
    if not likely:
        return ""
    old, new, where = (shlex.quote(os.path.relpath(path)) for path in (likely[0], stem, folder))
    option = "" if where == DEFAULT_FOLDER else f"--dir {where} "
    if len(likely) == 1:
        return f"did you rename a test? connex cassettes mv {option}{old} {new}"
    listing = "".join(f"\n  {os.path.relpath(place)}" for place in likely[:_LISTED])
    return f"did you rename a test? connex cassettes mv {option}OLD {new}, where OLD may be:{listing}"


def recorded_at(path: Path) -> datetime | None:
    """Return when a recording was made, from its first lines; None where they do not say."""
    return _moment(_head(path, _HEAD_LINES))


def source_of(path: Path) -> str:
    """Return what a recording was made from, from its first lines; empty where they do not say."""
    if path.name.endswith(WEBSOCKET_SUFFIX):
        found = next(map(_SOURCE_IN_JSON.search, _head(path, 1)), None)
    else:
        facts = takewhile(lambda line: line.startswith((" ", "connex:")), _head(path, _HEAD_LINES))
        found = next(filter(None, map(_SOURCE_IN_YAML.match, facts)), None)
    return found[1] if found else ""


def summarize(path: Path) -> Summary:
    """Return what a recording says of itself.

    Raises:
        CassetteError: It cannot be read.
    """
    if path.name.endswith(WEBSOCKET_SUFFIX):
        recording = Recording(path)
        header = recording.header
        count = sum(connection.sent_count + connection.received_count for connection in recording.connections)
        moment = _parse_moment(header.recorded_at)
        return Summary(path, "WebSocket", moment, header.source, header.test, count, path.stat().st_size)
    facts, count = _http_facts(path)
    moment = _parse_moment(facts.get("recorded_at", ""))
    size = path.stat().st_size
    return Summary(path, "HTTP", moment, facts.get("source", ""), facts.get("test", ""), count, size)


def transcript(path: Path, out: TextIO) -> None:
    """Write what a recording holds, to be read by people.

    Raises:
        CassetteError: It cannot be read.
    """
    for line in _transcript(path):
        print(line, file=out)


def _transcript(path: Path) -> Iterator[str]:
    summary = summarize(path)
    when = summary.recorded_at.isoformat() if summary.recorded_at else "at an unknown time"
    yield f"{summary.test or path.name}: {summary.kind}, from {summary.source or 'an unknown source'}, {when}"
    if summary.kind == "HTTP":
        for interaction in read_http(path)["interactions"]:
            request, response = interaction["request"], interaction["response"]
            yield f"-> {request['method']} {request['uri']} {request['body'] or ''}".rstrip()
            yield f"<- {response['status']['code']} {response['body']['string']!s}".rstrip()
        return
    for connection in Recording(path).connections:
        yield f"{connection.dial.at:10.4f}  {connection.number}  dial {connection.dial.url}"
        for _, event in connection.events():
            yield f"{event.at:10.4f}  {connection.number}  {_described(event)}"


def _described(event: Event) -> str:
    match event:
        case Dial():
            return f"dial {event.url}"
        case Open():
            return "open" + (f", {event.subprotocol}" if event.subprotocol else "")
        case Sent():
            return f"-> {_shown(event.payload)}"
        case Received():
            return f"<- {_shown(event.payload)}"
        case Late():
            return f"-> {_shown(event.payload)} (too late: the connection had ended)"
        case Rejected():
            return f"rejected with {event.status} {_shown(event.payload)}".rstrip()
        case Left():
            return "left before it was answered"
        case Refused():
            return f"refused: {event.error}: {event.message}"
        case Closed():
            said = f"closed by the {event.by} with {event.code} {event.reason}".rstrip()
            return said + "".join(f", {fact}" for fact in _unusual(event))


def _shown(payload: Payload) -> str:
    if isinstance(payload, str):
        return payload
    packed = unpacked(payload)
    return repr(payload) if packed is None else f"({packed.form}) {packed.text}"


def _unusual(closed: Closed) -> Iterator[str]:
    if closed.no_pong_since is not None:
        yield f"no ping was answered from {closed.no_pong_since:g} on"
    if closed.no_close:
        yield "the server did not answer the close" + (" but hung up" if closed.hung_up else "")
    if closed.reset:
        yield "the connection was reset"


def _http_facts(path: Path) -> tuple[dict[str, str], int]:
    data = read_http(path)
    facts = data.get("connex")
    known = {str(name): str(value) for name, value in facts.items()} if isinstance(facts, dict) else {}
    return known, len(data["interactions"])


def _is_ours(path: Path) -> bool:
    return any(line.startswith("connex:") for line in _head(path, 1))


def _head(path: Path, lines: int) -> list[str]:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return list(islice(file, lines))
    except OSError:
        return []


def _moment(lines: Iterable[str]) -> datetime | None:
    for line in lines:
        _, found, rest = line.partition("recorded_at")
        if found:
            return _parse_moment(rest.lstrip("\"': ")[:20])
    return None


def _parse_moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text.strip("'\" "))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
