"""Reading WebSocket recordings in a stream.

It goes over a file once, checks every line, and remembers where each connection's lines are. The events at the
beginning of a file are kept in memory, so that short recordings are decoded once; those of a long file that follow
are read a second time, a stretch of lines at a time, as their connection is played.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple
from urllib.parse import urlsplit

import msgspec

from ..errors import CassetteError
from .events import (
    FORMAT,
    LONGEST_REASON,
    READABLE,
    Answer,
    Closed,
    Dial,
    End,
    Event,
    Header,
    Late,
    Left,
    Open,
    Received,
    Refused,
    Rejected,
    Sent,
)

_STRETCH = 65_536
"""About how many bytes are read at once."""

_KEPT = 24 * 2**20
"""So many bytes from the beginning of a file are decoded once and kept; what follows is read as it is played."""

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_ANSWERS = (Open, Rejected, Refused, Left)

_CLOSE_CODES = frozenset({*range(1000, 1004), *range(1005, 1015)})

_BOM = b"\xef\xbb\xbf"

_events = msgspec.json.Decoder(Event)
_sent = msgspec.json.Decoder(Sent)
_lines = msgspec.json.Decoder(Event | End)
_headers = msgspec.json.Decoder(Header)


class Place(NamedTuple):
    """Where something stands in the file, and when it happened, in seconds."""

    line: int
    at: float


class RecordedConnection:
    """One connection of a recording: its dial, its answer, and where the rest of it stands in the file.

    Attributes:
        first_sent: The line and the event of the first message that the client sent; None where it sent none.
    """

    def __init__(self, path: Path, dial: Dial, line: int) -> None:
        self.number = dial.conn
        self.dial = dial
        self.line = line
        self.answer: Answer = Open(dial.conn, dial.at)  # until its line is read
        self.answered = False
        self.closing: Closed | None = None
        self.last_line = 0
        self.first_sent: tuple[int, Sent] | None = None
        self.late: list[Late] = []
        self.sent_count = 0
        self.received_count = 0
        self.path = path
        self._places = array("Q")
        self._sent_places = array("Q")
        self._kept: list[list[Event]] = []

    @property
    def ended(self) -> bool:
        """Whether its last event has been read."""
        return self.last_line > 0

    def overlaps(self, other: RecordedConnection) -> bool:
        """Tell whether both were there at the same time."""
        return self.line < other.last_line and other.line < self.last_line

    def note(self, events: list[Event], offset: int, length: int, line: int, keep: bool) -> None:
        """Remember that ``events`` stand on the lines from ``line`` on, in ``length`` bytes from ``offset`` on.

        They are kept in memory if ``keep`` is set, and read again otherwise. All but the first are received
        messages.
        """
        if type(events[0]) is Sent:
            self.sent_count += 1
            self._sent_places.append(len(self._places))
        self.received_count += len(events) - (type(events[0]) is not Received)
        if keep:
            self._kept.append(events)
        self._places.extend((offset, length, line))

    def stretches(self) -> Iterator[tuple[int, list[Event]]]:
        """Yield everything after the dial in stretches: the line number of the first event, and the events."""
        for index, events in enumerate(self._kept):
            yield self._places[3 * index + 2], events
        with self.path.open("rb") as file:
            for index in range(3 * len(self._kept), len(self._places), 3):
                offset, length, line = self._places[index : index + 3]
                file.seek(offset)
                yield line, _events.decode_lines(file.read(length))

    def events(self) -> Iterator[tuple[int, Event]]:
        """Yield the line number and the event of everything after the dial."""
        for line, events in self.stretches():
            yield from enumerate(events, start=line)

    def sent(self) -> Iterator[tuple[int, Sent]]:
        """Yield the line number and the event of every message the client sent; others are not read for it."""
        kept = 3 * len(self._kept)
        for index in self._sent_places:
            if index >= kept:
                break
            event = self._kept[index // 3][0]
            if isinstance(event, Sent):
                yield self._places[index + 2], event
        later = [index for index in self._sent_places if index >= kept]
        if not later:
            return
        with self.path.open("rb") as file:
            for index in later:
                file.seek(self._places[index])
                yield self._places[index + 2], _sent.decode(file.readline())


class Recording:
    """A WebSocket recording that has been checked from its first to its last line.

    Raises:
        CassetteError: The file is not a complete recording of this version; with file and line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connections: list[RecordedConnection] = []
        try:
            with path.open("rb") as file:
                self.header = self._read_header(file)
                self._index(file)
        except OSError as exc:
            raise CassetteError(f"the recording cannot be read: {exc.strerror}", path) from exc

    def actions(self) -> Iterator[Dial | Sent]:
        """Yield what the clients did, in the order of the file."""
        with self.path.open("rb") as file:
            file.readline()
            while data := file.read(_STRETCH):
                for event in _lines.decode_lines(data + file.readline()):
                    if isinstance(event, Dial | Sent):
                        yield event

    def _read_header(self, file: BinaryIO) -> Header:
        line = file.readline()
        try:
            header = _headers.decode(line.removeprefix(_BOM))
        except _UNREADABLE as exc:
            raise CassetteError(f"not the header of a {FORMAT} recording: {exc}", self.path, 1) from exc
        if header.format != FORMAT or header.version not in READABLE:
            raise CassetteError(
                f"this is {header.format!r} version {header.version}; this release reads {FORMAT!r} "
                f"version {READABLE[0]} to {READABLE[-1]}: upgrade pytest-connex, or record the test again",
                self.path,
                1,
            )
        return header

    def _index(self, file: BinaryIO) -> None:
        """Check every line, and note stretches of lines that belong to one connection."""
        by_number: dict[int, RecordedConnection] = {}
        number, offset, last = 2, file.tell(), 0.0
        while data := file.read(_STRETCH):
            data += file.readline()
            events, error = self._decode(data, number)
            keep = offset < _KEPT
            index, lines = 0, None
            while index < len(events):
                event = events[index]
                if isinstance(event, End):
                    rest = b"".join(_lines_of(data)[index + 1 :]) + file.read()
                    self._check_end(event, number + index, rest)
                    return
                connection = self._check_order(event, by_number, number + index)
                self._check_time(last, event.at, number + index)
                stop = _end_of_run(events, index + 1)
                last = events[stop - 1].at  # type: ignore[union-attr]
                if index == 0 and stop == len(events) and error is None:
                    length = len(data)
                else:
                    lines = _lines_of(data) if lines is None else lines
                    length = sum(map(len, lines[index:stop]))
                if not isinstance(event, Dial):
                    connection.note(events[index:stop], offset, length, number + index, keep)  # type: ignore[arg-type]
                offset += length
                index = stop
            number += len(events)
            if error is not None:
                raise error
        raise CassetteError("the recording is truncated: its last line must be the end event", self.path, number - 1)

    def _decode(self, data: bytes, number: int) -> tuple[list[Event | End], CassetteError | None]:
        """Return the events of whole lines up to the first that is none, and the error that it is."""
        try:
            events: list[Event | End] = _lines.decode_lines(data)
        except _UNREADABLE:
            events = []
        if len(events) == data.count(b"\n") + (not data.endswith(b"\n")):
            return events, None  # no line was empty
        events = []
        try:  # again, to know the line
            events.extend(map(_lines.decode, _lines_of(data)))
        except _UNREADABLE as exc:
            error = CassetteError(f"not an event: {exc}", self.path, number + len(events))
            error.__cause__ = exc
            return events, error
        return events, None

    def _check_time(self, before: float, after: float, line: int) -> None:
        if after < before:
            raise CassetteError(f"time runs backwards, from {before} to {after}", self.path, line)

    def _check_order(self, event: Event, by_number: dict[int, RecordedConnection], line: int) -> RecordedConnection:
        connection = by_number.get(event.conn)
        kind = type(event)
        if (
            isinstance(event, Received)
            and connection is not None
            and connection.answered
            and not (connection.ended or unplayable(event))
        ):
            return connection  # nearly all of them, and quickly: what follows finds nothing either
        problem = ""
        if isinstance(event, Dial):
            if event.conn != len(by_number) + 1:
                problem = f"connection {event.conn} is dialled where {len(by_number) + 1} was expected"
            elif not _is_url(event.url):
                problem = "what is dialled is no URL"
            else:
                connection = by_number[event.conn] = RecordedConnection(self.path, event, line)
                self.connections.append(connection)
                return connection
        elif connection is None:
            problem = f"connection {event.conn} has not been dialled"
        elif kind is Late:
            problem = "" if connection.closing else f"connection {event.conn} was not closed before"
        elif connection.ended:
            problem = f"connection {event.conn} has ended already"
        elif connection.answered == (kind in _ANSWERS):
            problem = f"connection {event.conn} " + ("is answered twice" if connection.answered else "is not open")
        if not problem:
            problem = unplayable(event)
        if problem or connection is None:
            raise CassetteError(problem, self.path, line)
        if isinstance(event, Open | Rejected | Refused | Left):
            connection.answer, connection.answered = event, True
        if isinstance(event, Sent) and connection.first_sent is None:
            connection.first_sent = line, event
        if isinstance(event, Late):
            connection.late.append(event)
        if isinstance(event, Closed | Rejected | Refused | Left):
            connection.last_line = line
            connection.closing = event if isinstance(event, Closed) else None
        return connection

    def _check_end(self, end: End, line: int, rest: bytes) -> None:
        if end.events != line - 2:
            raise CassetteError(f"the end event counts {end.events} events, found {line - 2}", self.path, line)
        if rest.strip():
            raise CassetteError("there is more after the end event", self.path, line + 1)
        for connection in self.connections:
            if not connection.ended:
                raise CassetteError(f"connection {connection.number} never ends", self.path, line)


def _is_url(text: str) -> bool:
    try:
        return urlsplit(text).scheme in ("ws", "wss")
    except ValueError:
        return False


def unplayable(event: Event) -> str:
    """Say what a client could never have seen or sent, or nothing."""
    match event:
        case Closed(code=code, reason=reason):
            if code not in _CLOSE_CODES and not 3000 <= code <= 4999:
                return f"{code} is no close code"
            if len(reason.encode()) > LONGEST_REASON:
                return f"the reason of a close has at most {LONGEST_REASON} bytes"
        case Rejected(status=status) if not 200 <= status <= 599:
            return f"{status} is no status that a handshake is rejected with"
        case Sent() | Received() | Late() if (event.text is None) == (event.binary is None):
            return "a message is either text or binary"
        case Sent() | Received() | Late() if event.invalid is not None and event.binary is None:
            return "what is no valid message is binary"
    return ""


def _lines_of(data: bytes) -> list[bytes]:
    """Return the lines of ``data`` with their ends; a carriage return within one is white space, and ends none."""
    lines = [line + b"\n" for line in data.split(b"\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def _end_of_run(events: list[Event | End], index: int) -> int:
    """Return where the messages end that follow one after the other on the connection of ``events[index - 1]``.

    Only what needs no check of its own is passed over: received messages of an open connection, in time.
    """
    previous = events[index - 1]
    if type(previous) not in (Open, Sent, Received):
        return index
    conn, last = previous.conn, previous.at  # type: ignore[union-attr]
    for stop in range(index, len(events)):
        event = events[stop]
        if type(event) is not Received or event.conn != conn:
            return stop
        at = event.at
        if at < last or (event.text is None) == (event.binary is None):
            return stop
        last = at
    return len(events)
