"""HAR 1.2 with ``_webSocketMessages``, as browsers, Playwright and mitmproxy write it.

HAR does not say how a connection ended, nor what happened first of what has the same time. What this module writes
says so in members of its own, which other tools pass over, and so it reads back the recording that it was made from.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from ..cassette.events import (
    Answer,
    Closed,
    Dial,
    Event,
    Headers,
    Late,
    Left,
    Open,
    Payload,
    Received,
    Refused,
    Rejected,
    Sent,
    fields,
)
from ..cassette.store import RecordedConnection, Recording
from ..errors import CassetteError
from .traffic import Exchange, Fields, Lost, Strand, Traffic, epoch, in_order, one_each, websocket_url

_BOM = b"\xef\xbb\xbf"
_TEXT, _BINARY, _CLOSE = 1, 2, 8
_CONTROL = (-1, _CLOSE, 9, 10)  # -1 is how Chrome notes an error
_SWITCHING = 101
_BYTE = re.compile(r"\(byte (\d+)\)")
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Message(msgspec.Struct):
    type: Literal["send", "receive", "error"]
    time: float
    opcode: int = _TEXT
    data: str = ""
    line: int = msgspec.field(name="_connexLine", default=0)

    @property
    def payload(self) -> Payload:
        return base64.b64decode(self.data, validate=True) if self.opcode == _BINARY else self.data


class _Field(msgspec.Struct):
    name: str
    value: str = ""


class _Posted(msgspec.Struct):
    text: str | None = None
    params: list[_Field] = []
    encoding: str | None = None


class _Request(msgspec.Struct):
    url: str
    method: str = "GET"
    headers: list[_Field] = []
    posted: _Posted | None = msgspec.field(name="postData", default=None)


class _Content(msgspec.Struct):
    text: str | None = None
    encoding: str | None = None
    size: int = 0


class _Response(msgspec.Struct):
    status: int = 0
    reason: str = msgspec.field(name="statusText", default="")
    headers: list[_Field] = []
    content: _Content = msgspec.field(default_factory=_Content)


class _Ours(msgspec.Struct):
    """What HAR has no members for: the events besides the messages, each after the number of its line."""

    events: list[tuple[int, Dial | Open | Rejected | Refused | Left | Closed | Late]]


class _Entry(msgspec.Struct):
    request: _Request
    started: str = msgspec.field(name="startedDateTime")
    time: float | None = None
    response: _Response = msgspec.field(default_factory=_Response)
    messages: list[_Message] | None = msgspec.field(name="_webSocketMessages", default=None)
    kind: str | None = msgspec.field(name="_resourceType", default=None)
    ours: _Ours | None = msgspec.field(name="_connex", default=None)

    @property
    def is_websocket(self) -> bool:
        if self.messages is not None or self.kind == "websocket":
            return True
        return self.request.url.startswith(("ws:", "wss:"))


class _Log(msgspec.Struct):
    entries: list[msgspec.Raw]


class _Document(msgspec.Struct):
    log: _Log


# --- Reading ---------------------------------------------------------------------------------------------


def looks_like_har(head: bytes) -> bool:
    """Tell whether a file that begins so is JSON, as HAR is."""
    return head.removeprefix(_BOM).lstrip().startswith(b"{")


def read_har(data: bytes, path: Path) -> Iterator[Traffic]:
    """Yield what happened: HTTP first, then what happened on WebSockets by its times.

    Args:
        data: The file.
        path: Where it is from, for messages.

    Raises:
        CassetteError: It is no HAR, holds what no client could have seen, or has no entry of a WebSocket.
    """
    data = data.removeprefix(_BOM)
    try:
        entries = msgspec.json.decode(data, type=_Document).log.entries
    except _UNREADABLE as exc:
        raise CassetteError(f"not a HAR: {exc}", path, _line(data, exc)) from exc
    strands: list[Strand] = []
    for number, raw in enumerate(entries, start=1):
        try:
            entry = msgspec.json.decode(raw, type=_Entry)
            if entry.is_websocket:
                strands.append(_strand(len(strands) + 1, entry))
            else:
                yield _exchange(entry)
        except (*_UNREADABLE, ValueError) as exc:
            raise CassetteError(f"entry {number}: {exc}", path) from exc
    if not strands:
        raise CassetteError(
            f"none of the {len(entries)} entries of this HAR is of a WebSocket. Browsers save its messages when the "
            "network panel is open before the page connects",
            path,
        )
    yield from in_order(sorted(strands, key=lambda strand: strand.events[0][:2]))


def _line(data: bytes, exc: Exception) -> int:
    found = _BYTE.search(str(exc))
    return data.count(b"\n", 0, int(found[1]) if found else None) + 1


def _strand(conn: int, entry: _Entry) -> Strand:
    if entry.ours is not None and entry.ours.events:
        return _our_strand(conn, entry, entry.ours.events)
    messages = entry.messages or []
    started = min([_moment(entry.started), *(epoch(message.time) for message in messages[:1])])
    strand = Strand()
    headers = one_each(_fields(entry.request.headers))
    offered = [name.strip() for name in _value(headers, "sec-websocket-protocol").split(",") if name.strip()]
    strand.add(Dial(conn, started, websocket_url(entry.request.url), offered, headers))
    response = entry.response
    answered = one_each(_fields(response.headers))
    if response.status != _SWITCHING and not messages:
        if response.status < 200:
            message = "the capture holds no answer to the handshake"
            strand.add(Refused(conn, started, "ConnectionAbortedError", None, message))
        else:
            body = _body(response.content).decode("utf-8", "replace")
            strand.add(Rejected(conn, started, response.status, answered, body))
        return strand
    subprotocol = _value(answered, "sec-websocket-protocol") or None
    strand.add(Open(conn, started, subprotocol=subprotocol, headers=answered))
    _add_messages(conn, messages, strand)
    duration = entry.time if entry.time is not None and math.isfinite(entry.time) else 0.0
    strand.add(Lost(conn, epoch(started + max(duration, 0.0) / 1000)))
    return strand


def _moved(event: Any, conn: int, base: float) -> Any:
    """Return an event with the number that its connection has here, at its time in epoch seconds."""
    moved = msgspec.structs.replace(event, conn=conn, at=epoch(base + event.at))
    if isinstance(moved, Closed) and moved.no_pong_since is not None:
        return msgspec.structs.replace(moved, no_pong_since=epoch(base + moved.no_pong_since))
    return moved


def _our_strand(conn: int, entry: _Entry, events: list[tuple[int, Any]]) -> Strand:
    """Put the messages between the events that stood around them."""
    dial = events[0][1]
    if not isinstance(dial, Dial):
        raise ValueError("the first of the events in _connex is no dial")
    base = _moment(entry.started) - dial.at
    moved = [(line, _moved(event, conn, base)) for line, event in events]
    moved[0] = events[0][0], msgspec.structs.replace(moved[0][1], url=websocket_url(dial.url))
    strand = Strand()
    before = [item for item in moved if not isinstance(item[1], Closed | Late)]
    for line, event in before:
        strand.add(event, line)
    _add_messages(conn, entry.messages or [], strand)
    for line, event in moved[len(before) :]:
        strand.add(event, line)
    return strand


def _add_messages(conn: int, messages: list[_Message], strand: Strand) -> None:
    for message in messages:
        if message.type == "error" or message.opcode in _CONTROL:
            continue  # what RFC 6455 does not count as a message, or no frame at all
        if message.opcode not in (_TEXT, _BINARY):
            raise ValueError(f"{message.opcode} is no opcode of a message")
        try:
            payload = message.payload
        except binascii.Error as exc:
            raise ValueError(f"a binary message is not base64: {exc}") from exc
        kind = Sent if message.type == "send" else Received
        content = (payload, None) if isinstance(payload, str) else (None, payload)
        strand.add(kind(conn, epoch(message.time), *content), message.line)


def _exchange(entry: _Entry) -> Exchange:
    request, response = entry.request, entry.response
    return Exchange(
        at=_moment(entry.started),
        method=request.method,
        url=request.url,
        request_headers=_fields(request.headers),
        request_body=_posted(request.posted),
        status=response.status,
        reason=response.reason,
        headers=_fields(response.headers),
        body=None if response.content.text is None and response.content.size > 0 else _body(response.content),
    )


def _posted(posted: _Posted | None) -> bytes | None:
    if posted is None:
        return None
    if posted.text is None:
        return urlencode([(field.name, field.value) for field in posted.params]).encode()
    return _body(_Content(posted.text, posted.encoding))


def _body(content: _Content) -> bytes:
    text = content.text or ""
    return base64.b64decode(text, validate=True) if content.encoding == "base64" else text.encode()


def _fields(fields: Iterable[_Field]) -> Fields:
    return tuple((field.name, field.value) for field in fields)


def _value(headers: Mapping[str, str], wanted: str) -> str:
    return next((value for name, value in headers.items() if name.lower() == wanted), "")


def _moment(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return epoch((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


# --- Writing ---------------------------------------------------------------------------------------------


def write_har(
    recording: Recording, http: Mapping[str, Any] | None, generator: str, base: datetime
) -> Iterator[bytes]:
    """Yield the lines of a HAR, without their ends: an entry for each request, then one for each connection.

    Args:
        recording: The WebSockets.
        http: The document of the HTTP recording beside it, if there is one.
        generator: What makes the HAR, with its version.
        base: When the recording was made, where its times count from; HTTP recordings have no other time.
    """
    name, _, version = generator.partition(" ")
    yield b'{"log": {"version": "1.2", "creator": %s, "entries": [' % _json({"name": name, "version": version})
    interactions = http["interactions"] if http is not None else []
    heads = ((_http_entry(interaction, base), None) for interaction in interactions)
    entries = chain(heads, ((None, connection) for connection in recording.connections))
    separator = b""
    for entry, connection in entries:
        if connection is None:
            yield separator + _json(entry)
        else:
            yield from _websocket_entry(connection, base, separator)
        separator = b","
    yield b"]}}"


def _websocket_entry(connection: RecordedConnection, base: datetime, separator: bytes) -> Iterator[bytes]:
    dial, answer = connection.dial, connection.answer
    around: list[tuple[int, Event]] = [(connection.line, dial)]
    around += [(line, event) for line, event in connection.events() if not isinstance(event, Sent | Received)]
    end = around[-1][1].at
    waited, received = round((answer.at - dial.at) * 1000, 3), round((end - answer.at) * 1000, 3)
    offered = _list(dial.headers, "Sec-WebSocket-Protocol", ", ".join(dial.subprotocols))
    entry = {
        "startedDateTime": _iso(base, dial.at),
        "time": round(waited + received, 3),
        "request": _request("GET", dial.url, offered),
        "response": _response(answer),
        "cache": {},
        "timings": {"send": 0, "wait": waited, "receive": received},
        "_resourceType": "websocket",
        "_connex": {"events": around},
    }
    yield separator + _json(entry)[:-1] + b', "_webSocketMessages": ['
    epoch_base, comma = base.timestamp(), b""
    for line, event in connection.events():
        if isinstance(event, Sent | Received):
            yield comma + _json(_message(event, line, epoch_base))
            comma = b","
    yield b"]}"


def _message(event: Sent | Received, line: int, base: float) -> dict[str, Any]:
    return {
        "type": "send" if isinstance(event, Sent) else "receive",
        "time": round(base + event.at, 6),
        "opcode": _TEXT if event.text is not None else _BINARY,
        "data": event.payload,  # bytes become base64
        "_connexLine": line,
    }


def _http_entry(interaction: Mapping[str, Any], base: datetime) -> dict[str, Any]:
    request, response = interaction["request"], interaction["response"]
    content = response["body"]["string"] or ""
    posted = request["body"]
    asked = _request(request["method"], request["uri"], _flat(request["headers"]))
    if posted:
        asked["postData"] = {"mimeType": _type_of(request["headers"]), **_text_of(posted)}
        asked["bodySize"] = _size(posted)
    answered = {
        **_answer(response["status"]["code"], response["status"].get("message") or "", _flat(response["headers"])),
        "content": {"size": _size(content), "mimeType": _type_of(response["headers"]), **_text_of(content)},
        "bodySize": _size(content),
    }
    return {
        "startedDateTime": _iso(base, 0.0),
        "time": 0,
        "request": asked,
        "response": answered,
        "cache": {},
        "timings": {"send": 0, "wait": 0, "receive": 0},
    }


def _request(method: str, url: str, headers: list[dict[str, str]]) -> dict[str, Any]:
    query = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    return {
        "method": method,
        "url": url,
        "httpVersion": "HTTP/1.1",
        "cookies": [],
        "headers": headers,
        "queryString": [{"name": name, "value": value} for name, value in query],
        "headersSize": -1,
        "bodySize": 0,
    }


def _response(answer: Answer) -> dict[str, Any]:
    if isinstance(answer, Open):
        headers = _list(answer.headers, "Sec-WebSocket-Protocol", answer.subprotocol or "")
        return _answer(answer.status, "Switching Protocols", headers)
    if isinstance(answer, Refused):
        return {**_answer(0, "", []), "_error": f"{answer.error}: {answer.message}"}
    if isinstance(answer, Left):
        return {**_answer(0, "", []), "_error": "the client left before the server had answered"}
    body = answer.payload
    content = {"size": _size(body), "mimeType": _type_of(answer.headers), **_text_of(body)}
    return {**_answer(answer.status, answer.reason, _list(answer.headers, "", "")), "content": content}


def _answer(status: int, reason: str, headers: list[dict[str, str]]) -> dict[str, Any]:
    return {
        "status": status,
        "statusText": reason,
        "httpVersion": "HTTP/1.1",
        "cookies": [],
        "headers": headers,
        "content": {"size": 0, "mimeType": "x-unknown"},
        "redirectURL": next((field["value"] for field in headers if field["name"].lower() == "location"), ""),
        "headersSize": -1,
        "bodySize": 0,
    }


def _list(headers: Headers, extra: str, value: str) -> list[dict[str, str]]:
    listed = [{"name": name, "value": held} for name, held in fields(headers)]
    return [*listed, {"name": extra, "value": value}] if value else listed


def _flat(headers: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return VCR's headers, which hold one value or a list of them."""
    values = ((name, held if isinstance(held, list) else [held]) for name, held in headers.items())
    return [{"name": name, "value": str(value)} for name, held in values for value in held]


def _type_of(headers: Mapping[str, Any]) -> str:
    typed = (field["value"] for field in _flat(headers) if field["name"].lower() == "content-type")
    return next(typed, "x-unknown")


def _text_of(content: Payload) -> dict[str, str]:
    if isinstance(content, str):
        return {"text": content}
    return {"text": base64.b64encode(content).decode(), "encoding": "base64"}


def _size(content: Payload) -> int:
    return len(content.encode() if isinstance(content, str) else content)


def _iso(base: datetime, at: float) -> str:
    return (base + timedelta(seconds=at)).isoformat(timespec="microseconds")


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value)
