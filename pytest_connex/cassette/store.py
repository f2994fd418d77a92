"""Reading WebSocket recordings in a stream.

It goes twice over a file. The first pass checks every line and remembers where each connection's lines
are; the second reads one connection as it is played. Neither keeps more than a stretch of lines in memory.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
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
"""About how many bytes of one connection are read at once."""

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
        self._stretches = array("Q")

    def note(self, event: Event, offset: int, length: int, line: int) -> None:
        """Remember that ``event`` stands on ``line``, ``length`` bytes from ``offset`` on."""
        self.sent_count += type(event) is Sent
        self.received_count += type(event) is Received
        known = self._stretches
        if known and known[-3] + known[-2] == offset and known[-2] < _STRETCH:
            known[-2] += length
        else:
            known.extend((offset, length, line))

    def events(self) -> Iterator[tuple[int, Event]]:
        """Yield the line number and the event of everything after the dial, reading as it goes."""
        with self.path.open("rb") as file:
            for index in range(0, len(self._stretches), 3):
                offset, length, line = self._stretches[index : index + 3]
                file.seek(offset)
                for event in _events.decode_lines(file.read(length)):
                    yield line, event
                    line += 1

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
        offset = file.tell()
        by_number: dict[int, RecordedConnection] = {}
        number = 1
        last = 0.0
        for number, line in enumerate(file, start=2):
            event = self._decode(line, number)
            if isinstance(event, End):
                self._check_end(event, number, file.read())
                return
            connection = self._check_order(event, by_number, number)
            if event.at < last:
                raise CassetteError(f"time runs backwards, from {last} to {event.at}", self.path, number)
            last = event.at
            if not isinstance(event, Dial):
                connection.note(event, offset, len(line), number)
            offset += len(line)
        raise CassetteError("the recording is truncated: its last line must be the end event", self.path, number)

    def _decode(self, line: bytes, number: int) -> Event | End:
        try:
            return _lines.decode(line)  # type: ignore[no-any-return]
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise CassetteError(f"not an event: {exc}", self.path, number) from exc

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
