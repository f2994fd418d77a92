"""Two recordings of the same test, compared: is what the server said still what its readers rely on?

Compared are the status and some headers of every HTTP answer, how WebSocket dials were answered, which classes of
messages came in which order after each request, and the shape of all of them, against their pinned schemas or what
the older recording shows. What naturally differs between two runs (prices, times, how many updates came) never
counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations, count
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from ..cassette.events import Closed, Left, Open, Payload, Received, Refused, Rejected, Sent
from ..cassette.http_file import read_http
from ..cassette.store import RecordedConnection, Recording
from ..errors import DataFormatError
from ..model import JSON
from ..protocol import decode_json
from .documents import message_class
from .drift import Change, compare_all
from .infer import Inference
from .recordings import captured_in

_HEADERS = ("content-type", "retry-after", "location")
_HEADER_FAMILIES = ("x-ratelimit-",)
_UNASKED = frozenset({"orderbook.update", "heartbeat"})
"""Classes of messages that come whenever there is something to tell; besides those that come twice on one request."""


def compare_recordings(old: Iterable[Path], new: Iterable[Path], pinned: Mapping[str, JSON]) -> list[Change]:
    """Return what has changed between two recordings of a test.

    Args:
        old: The files that its readers rely on.
        new: Those that were made just now; what is not among them was not asked for again.
        pinned: Schemas by class, which count for more than what ``old`` shows.

    Raises:
        CassetteError: One of them cannot be read.
    """
    before, after = list(old), list(new)
    changes = [
        *_compare_answers(_answers(before), _answers(after)),
        *_compare_connections(_connections(before), _connections(after)),
    ]
    known, seen = _inferred(before, slight=False), _inferred(after, slight=True)
    changes += compare_all({**known.schemas(), **pinned}, seen.schemas(), sampled=True)
    return changes


def _inferred(paths: Iterable[Path], slight: bool) -> Inference:
    inference = Inference(slight=slight)
    for path in paths:
        for captured in captured_in(path):
            try:
                inference.add(captured.text, captured.name)
            except DataFormatError:
                continue  # no JSON: its class says so
    return inference


# --- HTTP ------------------------------------------------------------------------------------------------


class _Answer(NamedTuple):
    status: int
    headers: dict[str, str]


def _answers(paths: Iterable[Path]) -> dict[str, list[_Answer]]:
    """Return the answers to each request, by method and path, in their order."""
    found: dict[str, list[_Answer]] = {}
    for path in paths:
        if path.name.endswith(".yaml"):
            for interaction in read_http(path)["interactions"]:
                request, response = interaction["request"], interaction["response"]
                asked = f"{request['method']} {urlsplit(request['uri']).path}"
                headers = {name.lower(): _first(values) for name, values in response["headers"].items()}
                found.setdefault(asked, []).append(_Answer(response["status"]["code"], headers))
    return found


def _first(values: JSON) -> str:
    return str(values[0] if isinstance(values, list) and values else values)


def _compare_answers(old: dict[str, list[_Answer]], new: dict[str, list[_Answer]]) -> Iterator[Change]:
    for asked in sorted(old.keys() & new.keys()):
        for before, after in zip(old[asked], new[asked], strict=False):
            if before.status != after.status:
                yield Change(asked, "", "status", str(before.status), str(after.status), breaking=True)
            else:
                yield from _compare_headers(asked, _that_matter(before.headers), _that_matter(after.headers))


def _that_matter(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that readers rely on; of those whose values vary, only that they are there."""
    found = {}
    for name, value in headers.items():
        if name == "content-type":
            found[name] = value.partition(";")[0].strip().lower()
        elif name in _HEADERS or name.startswith(_HEADER_FAMILIES):
            found[name] = "there"
    return found


def _compare_headers(asked: str, old: dict[str, str], new: dict[str, str]) -> Iterator[Change]:
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name, ""), new.get(name, "")
        if before != after:
            yield Change(asked, name, "header", before, after, breaking=name in old)


# --- WebSocket -------------------------------------------------------------------------------------------


class _First(NamedTuple):
    """When a class of messages came for the first time: its place, and the request that it came after."""

    place: int
    turn: int
    request: str


class _Connection(NamedTuple):
    answer: str
    closed: str
    firsts: dict[str, _First]
    unasked: set[str]


def _connections(paths: Iterable[Path]) -> list[_Connection]:
    return [
        _connection(connection)
        for path in paths
        if path.name.endswith(".ws.jsonl")
        for connection in Recording(path).connections
    ]


def _connection(recorded: RecordedConnection) -> _Connection:
    firsts: dict[str, _First] = {}
    unasked = set(_UNASKED)
    turn, request, in_turn = 0, "the handshake", set[str]()
    for place, (_, event) in enumerate(recorded.events()):
        if isinstance(event, Sent):
            turn, request, in_turn = turn + 1, _class_of(event.payload), set()
        elif isinstance(event, Received):
            name = _class_of(event.payload)
            if name in in_turn:
                unasked.add(name)
            in_turn.add(name)
            firsts.setdefault(name, _First(place, turn, request))
    return _Connection(_answered(recorded), _closing(recorded), firsts, unasked)


def _answered(connection: RecordedConnection) -> str:
    match connection.answer:
        case Rejected(status=status):
            return f"rejected with {status}"
        case Refused(error=error):
            return f"refused: {error}"
        case Left():
            return "none before the client left"
        case Open(subprotocol=subprotocol):
            return f"open, subprotocol {subprotocol}" if subprotocol else "open"


def _closing(connection: RecordedConnection) -> str:
    closing = connection.closing
    if not isinstance(closing, Closed) or closing.by != "server":
        return ""
    return f"{closing.code} {closing.reason}".strip()


def _class_of(payload: Payload) -> str:
    if isinstance(payload, bytes):
        return "binary"
    try:
        return message_class(decode_json(payload))
    except DataFormatError:
        return "text"


def _compare_connections(old: list[_Connection], new: list[_Connection]) -> Iterator[Change]:
    for number, before, after in zip(count(1), old, new):
        name = f"connection {number}"
        if before.answer != after.answer:
            yield Change(name, "", "status", before.answer, after.answer, breaking=True)
            continue
        if before.closed and after.closed and before.closed != after.closed:
            yield Change(name, "close", "status", before.closed, after.closed, breaking=True)
        yield from _compare_order(before, after)
        yield from _left_out(before, after)


def _compare_order(old: _Connection, new: _Connection) -> Iterator[Change]:
    """Yield the pairs of classes whose order has changed.

    What comes unasked may come before or after the answer to any later request; only among what follows on one
    request is its order the server's.
    """
    unasked = old.unasked | new.unasked
    for one, other in combinations((name for name in old.firsts if name in new.firsts), 2):
        left, right = (old.firsts[one], old.firsts[other]), (new.firsts[one], new.firsts[other])
        if right[0].place < right[1].place:
            continue
        if not {one, other} & unasked or (left[0].turn == left[1].turn and right[0].turn == right[1].turn):
            request = left[1].request
            yield Change(f"after {request}", "", "order", f"{one}, {other}", f"{other}, {one}", breaking=True)


def _left_out(old: _Connection, new: _Connection) -> Iterator[Change]:
    """Yield the answers that do not come any more, although what came after them does."""
    asked = [name for name in old.firsts if name not in old.unasked | new.unasked]
    last = max((place for place, name in enumerate(asked) if name in new.firsts), default=-1)
    for name in asked[:last]:
        if name not in new.firsts:
            yield Change(f"after {old.firsts[name].request}", "", "order", name, "", breaking=True)
