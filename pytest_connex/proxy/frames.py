"""WebSocket frames as bytes (RFC 6455, 5): reading those of the other side, and writing ours.

A sans-I/O core that decides nothing. websockets' own protocol answers pings and closes by itself and throws away what
it cannot read; between a client and its server both are for others to do, so its part ends with the handshake.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from secrets import token_bytes
from typing import NamedTuple, TypeAlias

from websockets.exceptions import ProtocolError
from websockets.extensions import Extension
from websockets.frames import Close, Frame, Opcode

from ..cassette.events import BrokenFrame, NotText, Payload

_END_OF_HEAD = b"\r\n\r\n"
_LONGEST_CONTROL = 125
_DATA = frozenset({Opcode.CONT, Opcode.TEXT, Opcode.BINARY})
_OPCODES = frozenset(Opcode)


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
        start, size = 0, len(buffer)
        while True:
            begin, stop = _place(buffer, start, size, self._masked)
            if stop > size or begin > size:
                if size - start >= 2 and (reason := self._problem(buffer[start], buffer[start + 1])):
                    found.append(self._break(reason, buffer[start:]))
                break
            reason = self._problem(buffer[start], buffer[start + 1])
            if not reason:
                payload = buffer[begin:stop]
                if self._masked:
                    payload = mask_with(payload, buffer[begin - 4 : begin])
                try:
                    self._take(buffer[start], payload, found)
                except ProtocolError as exc:
                    reason = str(exc)
            if reason:
                found.append(self._break(reason, buffer[start:]))
                break
            start = stop
        self._chunks = [buffer[start:]] if start < size else []
        self._size = size - start
        self._needed = stop - start
        return found

    def _problem(self, first: int, second: int) -> str:
        """Return what is wrong with the first two bytes of a frame."""
        opcode = first & 0x0F
        if opcode not in _OPCODES:
            return "invalid opcode"
        if bool(second & 0x80) != self._masked:
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


def _place(buffer: bytes, start: int, size: int, masked: bool) -> tuple[int, int]:
    """Return where the payload of a frame begins and ends: beyond ``size`` where too little is there."""
    begin = start + 2
    if begin > size:
        return begin, begin
    length = buffer[start + 1] & 0x7F
    if length >= 126:
        extended = begin
        begin += 2 if length == 126 else 8
        if begin > size:
            return begin, begin
        length = int.from_bytes(buffer[extended:begin], "big")
    if masked:
        begin += 4
    return begin, begin + length


def _check_close(payload: bytes) -> None:
    """Raise ``ProtocolError`` for what no close frame may hold."""
    try:
        Close.parse(payload)
    except UnicodeDecodeError as exc:
        raise ProtocolError("the reason of a close frame is no UTF-8") from exc


def _text(payload: bytes) -> Payload:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return NotText(payload)


def mask_with(payload: bytes, mask: bytes) -> bytes:
    """Return ``payload`` with the mask of a client's frame applied, or taken away again."""
    length = len(payload)
    repeated = mask * (length // 4) + mask[: length % 4]
    return (int.from_bytes(payload, sys.byteorder) ^ int.from_bytes(repeated, sys.byteorder)).to_bytes(
        length, sys.byteorder
    )


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
    first = int(opcode)
    if extensions:
        frame = Frame(opcode, payload)
        for extension in extensions:
            frame = extension.encode(frame)
        payload, first = bytes(frame.data), first | (0x40 if frame.rsv1 else 0)
    mask = token_bytes(4)
    return frame_head(first, len(payload), masked=True) + mask + mask_with(payload, mask)


def close_payload(code: int, reason: str) -> bytes:
    """Return what a close frame holds: nothing for 1005, which stands for that."""
    return b"" if code == 1005 else code.to_bytes(2, "big") + reason.encode()
