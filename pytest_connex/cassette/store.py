"""Reading WebSocket recordings in a stream.

It goes twice over a file. The first pass checks every line and remembers where each connection's lines
are; the second reads one connection as it is played. Neither keeps more than a stretch of lines in memory.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from ..errors import CassetteError
from .events import (
    FORMAT,
    VERSION,
    Answer,
    Closed,
    Dial,
    End,
    Event,
    Header,
    Open,
    Received,
    Refused,
    Rejected,
    Sent,
)

_STRETCH = 65_536
"""About how many bytes are read at once."""

_KEPT = 8 * 2**20
"""So many bytes from the beginning of a file are decoded once and kept; what follows is read as it is played."""

_BOM = b"\xef\xbb\xbf"
_ENDINGS = (Closed, Rejected, Refused)

_events = msgspec.json.Decoder(Event)
_lines = msgspec.json.Decoder(Event | End)
_headers = msgspec.json.Decoder(Header)


class RecordedConnection:
    """One connection of a recording: its dial, its answer, and where the rest of it stands in the file."""

    def __init__(self, path: Path, dial: Dial, line: int) -> None:
        self.number = dial.conn
        self.dial = dial
        self.line = line
        self.answer: Answer | None = None
        self.ended = False
        self.sent_count = 0
        self.received_count = 0
        self.path = path
        self._places = array("Q")
        self._kept: list[list[Event]] = []

    def note(self, events: list[Event], offset: int, length: int, line: int, keep: bool) -> None:
        """Remember that ``events`` stand on the lines from ``line`` on, in ``length`` bytes from ``offset`` on.

        They are kept in memory if ``keep`` is set, and read again otherwise.
        """
        if keep:
            self._kept.append(events)
        self._places.extend((offset, length, line))

    def stretches(self) -> Iterator[tuple[int, list[Event]]]:
        """Yield everything after the dial in stretches: the line number of the first event, and the events."""
        yield from zip(self._places[2::3], self._kept, strict=False)
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
        """Yield the line number and the event of every message the client sent."""
        if not self.sent_count:
            return
        for line, event in self.events():
            if type(event) is Sent:
                yield line, event


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

    def _read_header(self, file: BinaryIO) -> Header:
        line = file.readline()
        try:
            header = _headers.decode(line.removeprefix(_BOM))
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise CassetteError(f"not the header of a {FORMAT} recording: {exc}", self.path, 1) from exc
        if header.format != FORMAT or header.version != VERSION:
            raise CassetteError(
                f"this is {header.format!r} version {header.version}; this release reads {FORMAT!r} "
                f"version {VERSION}: upgrade pytest-connex, or record the test again",
                self.path,
                1,
            )
        return header

    def _index(self, file: BinaryIO) -> None:
        """Check every line, and note stretches of lines that belong to one connection."""
        by_number: dict[int, RecordedConnection] = {}
        number, offset, last = 2, file.tell(), 0.0
        while lines := file.readlines(_STRETCH):
            keep = offset < _KEPT
            stretch: list[Event] = []
            owner: RecordedConnection | None = None
            start, length = offset, 0
            for line, event in zip(lines, self._decode(lines, number), strict=False):
                if isinstance(event, End):
                    self._check_end(event, number, b"".join(lines[lines.index(line) + 1 :]) + file.read())
                    _note(owner, stretch, start, length, number, keep)
                    return
                if event.at < last:
                    raise CassetteError(f"time runs backwards, from {last} to {event.at}", self.path, number)
                last = event.at
                if owner is None or type(event) is not Received or event.conn != owner.number or owner.ended:
                    connection = self._check_order(event, by_number, number)
                    if connection is not owner or isinstance(event, Dial):
                        _note(owner, stretch, start, length, number, keep)
                        stretch, owner, start, length = [], connection, offset, 0
                if isinstance(event, Dial):
                    start, owner = offset + len(line), None
                else:
                    stretch.append(event)
                    length += len(line)
                offset += len(line)
                number += 1
            _note(owner, stretch, start, length, number, keep)
        raise CassetteError("the recording is truncated: its last line must be the end event", self.path, number - 1)

    def _decode(self, lines: list[bytes], number: int) -> Iterable[Event | End]:
        """Return the events of ``lines``; one that is none is an error when it is reached."""
        decode = _lines.decode
        try:
            return [decode(line) for line in lines]
        except (msgspec.DecodeError, UnicodeDecodeError):
            return self._decode_one_by_one(lines, number)

    def _decode_one_by_one(self, lines: list[bytes], number: int) -> Iterator[Event | End]:
        for line_number, line in enumerate(lines, start=number):
            try:
                yield _lines.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as exc:
                raise CassetteError(f"not an event: {exc}", self.path, line_number) from exc

    def _check_order(self, event: Event, by_number: dict[int, RecordedConnection], line: int) -> RecordedConnection:
        connection = by_number.get(event.conn)
        kind = type(event)
        problem = ""
        if isinstance(event, Dial):
            if event.conn != len(by_number) + 1:
                problem = f"connection {event.conn} is dialled where {len(by_number) + 1} was expected"
            else:
                connection = by_number[event.conn] = RecordedConnection(self.path, event, line)
                self.connections.append(connection)
                return connection
        elif connection is None:
            problem = f"connection {event.conn} has not been dialled"
        elif connection.ended:
            problem = f"connection {event.conn} has ended already"
        elif (connection.answer is None) != (kind in (Open, Rejected, Refused)):
            problem = f"connection {event.conn} " + ("is answered twice" if connection.answer else "is not open")
        if problem or connection is None:
            raise CassetteError(problem, self.path, line)
        if isinstance(event, Open | Rejected | Refused):
            connection.answer = event
        connection.ended = kind in _ENDINGS
        return connection

    def _check_end(self, end: End, line: int, rest: bytes) -> None:
        if end.events != line - 2:
            raise CassetteError(f"the end event counts {end.events} events, found {line - 2}", self.path, line)
        if rest.strip():
            raise CassetteError("there is more after the end event", self.path, line + 1)
        for connection in self.connections:
            if not connection.ended:
                raise CassetteError(f"connection {connection.number} never ends", self.path, line)


def _note(
    owner: RecordedConnection | None, events: list[Event], offset: int, length: int, next_line: int, keep: bool
) -> None:
    if owner is not None and events:
        owner.sent_count += sum(type(event) is Sent for event in events)
        owner.received_count += sum(type(event) is Received for event in events)
        owner.note(events, offset, length, next_line - len(events), keep)
