"""WebSocket frames as bytes (RFC 6455, 5): reading those of the other side, and writing ours.

A sans-I/O core that decides nothing. websockets' own protocol answers pings and closes by itself and throws away what
it cannot read; between a client and its server both are for others to do, so its part ends with the handshake.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from websockets.exceptions import ProtocolError
from websockets.extensions import Extension
from websockets.frames import Close, Frame, Opcode

from ..cassette.events import BrokenFrame, NotText, Payload

_END_OF_HEAD = b"\r\n\r\n"
_LONGEST_CONTROL = 125
_DATA = frozenset({Opcode.CONT, Opcode.TEXT, Opcode.BINARY})
_OPCODES = frozenset(Opcode)
_WHOLE_TEXT = 0x80 | Opcode.TEXT
_WHOLE = frozenset({_WHOLE_TEXT, 0x80 | Opcode.BINARY})
"""First bytes of messages in one frame, which most are."""


class Control(NamedTuple):
    """A ping, a pong or a close; the payload of a close is a valid one."""

    opcode: Opcode
    payload: bytes


@dataclass(frozen=True)
class Broken:
    """What is no frame, and ends the reading: whoever is to answer it gets its bytes as they are.

    Attributes:
        reason: What is wrong with it.
        frame: Its first two bytes, which are the same whenever it is sent again.
        data: All of it that has come, and what came after it.
    """

    reason: str
    frame: BrokenFrame
    data: bytes


Incoming: TypeAlias = Payload | Control | Broken
"""A message that is whole, a control frame, or the end of what can be read."""


class Head:
    """Finds where the head of an HTTP message ends, and the frames begin."""

    def __init__(self) -> None:
        self._before = b""

    def split(self, data: bytes) -> tuple[bytes, bytes | None]:
        """Return what of ``data`` belongs to the head, and what comes after it, which is None before its end."""
        known = self._before + data
        end = known.find(_END_OF_HEAD)
        if end < 0:
            self._before = known[-len(_END_OF_HEAD) + 1 :]
            return data, None
        place = end + len(_END_OF_HEAD) - len(self._before)
        return data[:place], data[place:]


class FrameReader:
    """Makes messages and control frames of bytes.

    Args:
        masked: Whether the frames are a client's.
        extensions: What the handshake has agreed on.

    Attributes:
        broken: Whether something came that is no frame; :meth:`receive` must not be called any more.
    """

    def __init__(self, masked: bool, extensions: Sequence[Extension] = ()) -> None:
        self.broken = False
        self._masked = masked
        self._mark = 0x80 if masked else 0
        self._extensions = tuple(reversed(extensions))
        self._chunks: list[bytes] = []
        self._size = 0
        self._needed = 2
        self._opcode: Opcode | None = None
        self._fragments: list[bytes] = []

    def receive(self, data: bytes) -> list[Incoming]:
        """Take bytes, and return what is complete by them, in its order."""
        self._chunks.append(data)
        self._size += len(data)
        if self._size < self._needed:
            return []
        buffer = data if len(self._chunks) == 1 else b"".join(self._chunks)
        found: list[Incoming] = []
        start, size, masked, needed = 0, len(buffer), self._masked, 2
        while size - start >= needed:
            first, second = buffer[start], buffer[start + 1]
            reason = self._problem(first, second)
            begin, length = start + 2, second & 0x7F
            if length >= 126:
                begin += 2 if length == 126 else 8
                length = int.from_bytes(buffer[start + 2 : begin], "big")
            if masked:
                begin += 4
            stop = begin + (length if begin <= size else 0)
            if reason:
                found.append(self._break(reason, buffer[start:]))
                break
            if stop > size:
                needed = stop - start
                break
            try:
                self._take(first, _unmasked(buffer[start:stop]) if masked else buffer[begin:stop], found)
            except ProtocolError as exc:
                found.append(self._break(str(exc), buffer[start:]))
                break
            start = stop
        self._chunks = [buffer[start:]] if start < size else []
        self._size = size - start
        self._needed = needed
        return found

    def _problem(self, first: int, second: int) -> str:
        """Return what is wrong with the first two bytes of a frame."""
        if first in _WHOLE and second & 0x80 == self._mark and self._opcode is None:
            return ""
        opcode = first & 0x0F
        if opcode not in _OPCODES:
            return "invalid opcode"
        if second & 0x80 != self._mark:
            return "incorrect masking"
        if first & (0x30 if self._extensions else 0x70):
            return "reserved bits must be 0"
        if opcode in _DATA:
            if opcode == Opcode.CONT and self._opcode is None:
                return "unexpected continuation frame"
            if opcode != Opcode.CONT and self._opcode is not None:
                return "expected a continuation frame"
            return ""
        if second & 0x7F > _LONGEST_CONTROL:
            return "control frame too long"
        return "" if first & 0x80 else "fragmented control frame"

    def _take(self, first: int, payload: bytes, found: list[Incoming]) -> None:
        if first == _WHOLE_TEXT and not self._extensions:
            found.append(_text(payload))
            return
        opcode, final = Opcode(first & 0x0F), bool(first & 0x80)
        if self._extensions:
            frame = Frame(opcode, payload, final, bool(first & 0x40))
            for extension in self._extensions:
                frame = extension.decode(frame)
            frame.check()
            payload = bytes(frame.data)
        if opcode not in _DATA:
            if opcode is Opcode.CLOSE:
                _check_close(payload)
            found.append(Control(opcode, payload))
            return
        if opcode is not Opcode.CONT:
            self._opcode = opcode
        if not final:
            self._fragments.append(payload)
            return
        if self._fragments:
            payload = b"".join((*self._fragments, payload))
            self._fragments.clear()
        found.append(payload if self._opcode is Opcode.BINARY else _text(payload))
        self._opcode = None

    def _break(self, reason: str, data: bytes) -> Broken:
        self.broken = True
        before = b"".join(self._frames_before())
        return Broken(reason, BrokenFrame(data[:2]), before + data)

    def _frames_before(self) -> list[bytes]:
        """Return the fragments of the message that has no end, as frames again."""
        mask = bytes(4) if self._masked else b""
        frames = []
        for number, fragment in enumerate(self._fragments):
            opcode = Opcode.CONT if number else (self._opcode or Opcode.TEXT)
            frames.append(frame_head(opcode, len(fragment), self._masked, final=False) + mask + fragment)
        return frames


def _check_close(payload: bytes) -> None:
    """Raise ``ProtocolError`` for what no close frame may hold."""
    try:
        Close.parse(payload)
    except (ProtocolError, UnicodeDecodeError) as exc:
        raise ProtocolError("invalid close frame") from exc


def _text(payload: bytes) -> Payload:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return NotText(payload)


def _unmasked(frame: bytes) -> bytes:
    """Return the payload of a whole frame of a client; websockets takes masks away much quicker than Python can."""
    place = 0

    def read_exact(length: int) -> Generator[None, None, bytes]:
        nonlocal place
        start, place = place, place + length
        return frame[start:place]
        yield  # it never has to wait

    try:
        next(Frame.parse(read_exact, mask=True))
    except StopIteration as parsed:
        return bytes(parsed.value.data)
    raise ProtocolError("incomplete frame")


def frame_head(opcode: int, length: int, masked: bool = False, final: bool = True) -> bytes:
    """Return what stands before the mask, or the ``length`` bytes, of a frame."""
    first, mark = opcode | (0x80 if final else 0), 0x80 if masked else 0
    if length < 126:
        return bytes((first, mark | length))
    if length < 65_536:
        return bytes((first, mark | 126)) + length.to_bytes(2, "big")
    return bytes((first, mark | 127)) + length.to_bytes(8, "big")


def client_frame(opcode: Opcode, payload: bytes, extensions: Sequence[Extension] = ()) -> bytes:
    """Return a frame of a client, masked and, for messages, as ``extensions`` encode it."""
    return Frame(opcode, payload).serialize(mask=True, extensions=extensions)


def close_payload(code: int, reason: str) -> bytes:
    """Return what a close frame holds: nothing for 1005, which stands for that."""
    return b"" if code == 1005 else code.to_bytes(2, "big") + reason.encode()
