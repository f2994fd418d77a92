"""The server half of a WebSocket connection that the client under test really opens.

:class:`Endpoint` speaks the protocol to any client, over whatever transport it is given; what is said is up to its
:class:`Behaviour`: a replay, a relay, the sandbox. Pings, closes and bytes that are no frame are up to it as well;
a behaviour that is a server itself has the manners of one from :class:`Manners`. Nothing here logs, because what
passes through may be secret.

What was written before an end arrives before that end. A TCP connection that is closed while bytes of the client wait
unread is reset, and what is under way to the client is lost. So where the client has not closed, only our direction
is closed, and what the client sends is read and dropped until it goes (:attr:`State.PARTED`).
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, Protocol, assert_never, cast

from websockets.datastructures import Headers
from websockets.frames import Close, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State as HandshakeState
from websockets.server import ServerProtocol

from ..cassette.events import BrokenFrame, NotText, Payload, fields
from ..cassette.events import Headers as Recorded
from ..clock import Timer
from ..faults import Ending, Trouble
from .frames import Broken, Control, FrameReader, Head, close_payload, frame_head
from .messages import phrase
from .wire import Wire, reset, unread

SILENT = logging.Logger("pytest_connex.proxy")
"""A logger that says nothing, for whatever insists on having one."""
SILENT.disabled = True


REPLAYABLE: tuple[type[OSError], ...] = (
    ConnectionRefusedError,
    ConnectionResetError,
    ConnectionAbortedError,
    TimeoutError,
    socket.gaierror,
    OSError,
)
"""The errors of a dial that replay raises as what they were; any other is a ``ConnectionAbortedError``."""

LINGER = 60.0
"""Seconds without progress after which a client is not waited for any more that does not go."""


class Behaviour(Protocol):
    """What an endpoint says. Every method is called on the loop of the connection.

    Attributes:
        refusal: What the client's dial raises instead of the loss of the connection that it sees.
    """

    refusal: BaseException | None

    @property
    def on_read(self) -> Callable[[], None] | None:
        """What to call for every message that the client's connection hands to its application, if anything."""

    def dialled(self, endpoint: Endpoint, request: Request) -> None:
        """Answer the handshake, now or later: ``endpoint.accept``, ``reject`` or ``refuse``."""

    def received(self, message: Payload) -> None:
        """Take a message of the client."""

    def came_late(self, message: Payload) -> None:
        """Take a message that the client sent before it saw the endpoint's close."""

    def writable(self) -> None:
        """Go on writing: the client's buffers accept data again."""

    def ended(self, code: int, reason: str) -> None:
        """The client closed, or is gone (1006). Called once, and not after the endpoint closed first."""

    # what is no message: see Manners

    def pinged(self, endpoint: Endpoint, payload: bytes) -> None:
        """The client sent a ping."""

    def ponged(self, endpoint: Endpoint, payload: bytes) -> None:
        """The client sent a pong."""

    def bade_farewell(self, endpoint: Endpoint, payload: bytes) -> None:
        """The client sent its close frame, first or as its answer; where it was the first, after ``ended``."""

    def garbled(self, endpoint: Endpoint, wrong: NotText | Broken) -> None:
        """The client sent a text message that is no UTF-8, or what is no frame, after which nothing can be read."""

    def unreadable(self, endpoint: Endpoint, data: bytes) -> None:
        """The client sent more after what is no frame."""

    def gone(self) -> None:
        """The connection with the client is no more; the last call."""


class Manners:
    """What a server does that speaks for itself: it answers pings and closes, and refuses what is wrong."""

    def pinged(self, endpoint: Endpoint, payload: bytes) -> None:
        """Answer."""
        endpoint.send_control(Opcode.PONG, payload)

    def ponged(self, endpoint: Endpoint, payload: bytes) -> None:
        """Nothing was asked."""

    def bade_farewell(self, endpoint: Endpoint, payload: bytes) -> None:
        """Answer, where this is no answer itself, and end the connection."""
        endpoint.answer_close(payload)

    def garbled(self, endpoint: Endpoint, wrong: NotText | Broken) -> None:
        """Refuse it."""
        if isinstance(wrong, Broken):
            endpoint.fail(1002, wrong.reason)
        else:
            endpoint.fail(1007, "this text is no UTF-8")

    def unreadable(self, endpoint: Endpoint, data: bytes) -> None:
        """It was refused already."""

    def gone(self) -> None:
        """Nothing is left to do."""


class State(Enum):
    """Where a connection stands, seen from the server.

    =========  ===================================================  ======================================
    state      what it means                                        what may follow
    =========  ===================================================  ======================================
    DIALLED    the handshake has not been answered                  OPEN, CLOSED, PARTED, GONE
    OPEN       messages pass in both directions                     CLOSING, LEFT, CUT, PARTED, GONE
    CLOSING    we have closed; the client has not answered          CLOSED, PARTED, GONE
    LEFT       the client has closed; we have not answered          CLOSED, PARTED, GONE
    CLOSED     both have closed; only the end of TCP is missing     PARTED, GONE
    CUT        a fault has ended it; whoever is behind the          PARTED, GONE
               endpoint takes the client for gone
    PARTED     nothing more is written; what comes is dropped       GONE
    GONE       the transport is closed
    =========  ===================================================  ======================================
    """

    DIALLED = "dialled"
    OPEN = "open"
    CLOSING = "closing"
    LEFT = "left"
    CLOSED = "closed"
    CUT = "cut"
    PARTED = "parted"
    GONE = "gone"


_LIVE = frozenset({State.OPEN, State.LEFT})
"""States in which the server may say something; in LEFT it does what it said before it saw the close."""

_WRITABLE = _LIVE | {State.CLOSING, State.CLOSED, State.CUT}
"""States in which control frames may be written."""

_ENDED = frozenset({State.PARTED, State.GONE})


class Endpoint(asyncio.Protocol):
    """A WebSocket server for one connection: the handshake, frames in both directions, and the end.

    Attributes:
        behaviour: What it says.
        state: Where it stands.
        writing: Whether the client's buffers accept data.
        frames: How many messages there were, in both directions.
        on_sent: Called for every message that is sent, if set.
        relocated: Returns where a redirect leads, as the client is to see it.
        on_lost: Called when the connection is gone.

    Messages are framed in batches: replay is bound by it.
    """

    _stream: asyncio.Transport
    _wire: Wire

    def __init__(self, behaviour: Behaviour) -> None:
        self.state = State.DIALLED
        self.writing = True
        self.frames = 0
        self.on_sent: Callable[[], None] | None = None
        self.relocated: Callable[[str], str] = lambda location: location
        self.on_lost: Callable[[], None] = lambda: None
        self.behaviour = behaviour
        self._subprotocol: str | None = None
        self._handshake = ServerProtocol(
            max_size=None, logger=SILENT, select_subprotocol=lambda _, offered: self._choice(offered)
        )
        self._request: Request | None = None
        self._head: Head | None = Head()
        self._reader = FrameReader(masked=True)
        self._trouble: Trouble | None = None
        self._end_timer: Timer | None = None
        self._linger: Timer | None = None
        self._bytes_sent = 0
        self._was_garbled = False

    def disturb(self, trouble: Trouble) -> None:
        """Let ``trouble`` happen to this connection, whose handshake has not been answered."""
        self._trouble = trouble
        self._stream = self._wire = Wire(self._stream, self, trouble.pace, trouble.chance())

    @property
    def is_disturbed(self) -> bool:
        """Whether something is to go wrong with it."""
        return self._trouble is not None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start."""
        self._stream = cast(asyncio.Transport, transport)
        self._loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        """Take bytes of the client."""
        if self._head is not None:
            data = self._take_head(self._head, data)
        if not data or self.state in _ENDED:
            return
        if self._reader.broken:
            self.behaviour.unreadable(self, data)
            return
        for item in self._reader.receive(data):
            if isinstance(item, Control):
                self._take_control(item)
            elif isinstance(item, Broken | NotText):
                self._take_wrong(item)
            else:
                self._take_message(item)

    def eof_received(self) -> None:
        """The client sends nothing more: it is taken for gone, once it has got what is written."""
        self._end(1006, "")

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        if self.state is State.OPEN and (left := unread(self._stream)):
            self.data_received(left)
        before, self.state = self.state, State.GONE
        for timer in (self._end_timer, self._linger):
            if timer is not None:
                timer.cancel()
        if self._trouble is not None:
            self._trouble.gone()
        self.on_lost()
        if before in (State.DIALLED, State.OPEN):
            self.behaviour.ended(1006, "")
        self.behaviour.gone()

    def pause_writing(self) -> None:
        """The client's buffers are full."""
        self.writing = False

    def resume_writing(self) -> None:
        """The client's buffers accept data again."""
        self.writing = True
        if self.state in _LIVE:
            self.behaviour.writable()

    # what a behaviour does

    def accept(self, subprotocol: str | None, headers: Recorded) -> None:
        """Accept the handshake."""
        self._subprotocol = subprotocol
        if self._request is None or self.state is not State.DIALLED or self._stream.is_closing():
            return
        response = self._handshake.accept(self._request)
        for name, value in fields(headers):
            response.headers[name] = value
        self._handshake.send_response(response)
        self.state = State.OPEN
        self._flush()
        if self._handshake.state is not HandshakeState.OPEN:  # what the client asked was no handshake
            self._end(1006, "")
            self._part()
        elif self._trouble is not None:
            self._begin_trouble(self._trouble)

    def reject(self, status: int, headers: Recorded, body: str | bytes, reason: str = "") -> None:
        """Answer the handshake with an HTTP status.

        Args:
            status: The number.
            headers: What else is said; a body that is bytes is encoded as these say.
            body: What comes after them.
            reason: The phrase behind the status, where it is not the usual one.
        """
        if self.state is not State.DIALLED or self._stream.is_closing():
            return
        encoded = body.encode() if isinstance(body, str) else body
        answer = Headers(fields(headers))
        for name in ("Content-Length", "Connection", "Transfer-Encoding"):
            answer.pop(name, None)
        if isinstance(body, str):
            answer.pop("Content-Encoding", None)
        if location := answer.get("Location"):
            del answer["Location"]
            answer["Location"] = self.relocated(location)
        answer["Content-Length"] = str(len(encoded))
        answer["Connection"] = "close"
        self._handshake.send_response(Response(status, reason or phrase(status) or "Unknown", answer, encoded))
        self.state = State.CLOSED
        self._flush()
        self._part()

    def refuse(self) -> None:
        """Reset the connection in place of an answer to the handshake, as if no server were there."""
        if self.state is State.DIALLED:
            self.state = State.PARTED
            reset(self._stream)

    def send(self, messages: Sequence[Payload]) -> None:
        """Write messages, in one go."""
        if self.state not in _LIVE:
            return
        if self._trouble is not None:
            self._send_in_trouble(messages, self._trouble)
            return
        self._count(messages)
        chunks: list[bytes] = []
        for message in messages:
            if isinstance(message, str):
                payload = message.encode() if message.isascii() else _encoded(message)
                length = len(payload)
                chunks.append(_TEXT_HEADS[length] if length < _SHORT else frame_head(Opcode.TEXT, length))
                chunks.append(payload)
            else:
                chunks.append(_head_of(message))
                chunks.append(message)
        self._stream.write(b"".join(chunks))

    def send_control(self, opcode: Opcode, payload: bytes) -> None:
        """Write a ping or a pong."""
        if self.state in _WRITABLE:
            self._stream.write(frame_head(opcode, len(payload)) + payload)

    def close(self, code: int, reason: str) -> None:
        """Close with a close frame, or an empty one for 1005; where the client has closed, this is the answer."""
        if self.state not in _LIVE:
            return
        if self._trouble is not None and self.state is State.OPEN:
            self._write_held(self._trouble)
            if (ending := self._trouble.ending) is not None and ending.instead_of_close:
                self._trouble.end()
                self._carry_out(ending)
                return
        self.send_control(Opcode.CLOSE, close_payload(code, reason))
        self.state = State.CLOSED if self.state is State.LEFT else State.CLOSING
        if self._was_garbled:
            self._part()  # as servers do that refuse something, without waiting for an answer

    def answer_close(self, payload: bytes) -> None:
        """Answer the client's close frame where it was the first, and end the connection."""
        if self.state is State.LEFT:
            self.send_control(Opcode.CLOSE, payload)
        if self.state not in _ENDED:
            self.state = State.CLOSED
            self._stream.close()  # nothing comes after a close frame that could be left unread

    def fail(self, code: int, reason: str) -> None:
        """Refuse what the client sent: close, and end the connection without waiting for an answer."""
        if self.state is State.OPEN:
            self._end(1006, "")
            self.send_control(Opcode.CLOSE, close_payload(code, reason))
        self._part()

    def abort(self) -> None:
        """End the connection without a close frame, after what was written."""
        if self.state is State.CUT:
            return
        if self._trouble is not None and self.state is State.OPEN:
            self._write_held(self._trouble)
        self._part()

    def hang_up(self) -> None:
        """Abort the connection if it is still there, from whichever thread."""
        if self.state is not State.GONE and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._abort_now)

    def pause_reading(self) -> None:
        """Take nothing of the client for now."""
        if self.state not in _ENDED:
            self._stream.pause_reading()

    def resume_reading(self) -> None:
        """Take again what the client sends."""
        if self.state is not State.GONE:
            self._stream.resume_reading()

    # what goes wrong

    def _begin_trouble(self, trouble: Trouble) -> None:
        if not trouble.opened():
            self._trouble = None
        elif trouble.end_due(0):
            self._break_off()
        elif trouble.ending is not None and trouble.ending.seconds is not None:
            self._end_timer = Timer(self._loop, trouble.ending.seconds, self._break_off)

    def _send_in_trouble(self, messages: Sequence[Payload], trouble: Trouble) -> None:
        for message in messages:
            if self.state not in _LIVE:
                return
            self._count((message,))
            if isinstance(message, BrokenFrame):
                self._stream.write(message)
                continue
            text = isinstance(message, str | NotText)
            payload = _encoded(message) if isinstance(message, str) else message
            for kind, content in trouble.message(text, payload):
                self._write_frame(kind, content, trouble.ending)
            if trouble.end_due(self._bytes_sent):
                self._break_off()

    def _write_frame(self, text: bool, payload: bytes, ending: Ending | None) -> None:
        frame = frame_head(Opcode.TEXT if text else Opcode.BINARY, len(payload)) + payload
        if ending is not None and ending.bytes is not None and ending.cuts_messages:
            frame = frame[: max(0, ending.bytes - self._bytes_sent)]
        self._bytes_sent += len(frame)
        self._stream.write(frame)

    def _write_held(self, trouble: Trouble) -> None:
        for text, payload in trouble.held():
            self._write_frame(text, payload, trouble.ending)

    def _break_off(self) -> None:
        """End the connection as its trouble wants; whoever is behind it sees the client go."""
        trouble = self._trouble
        if trouble is None or self.state is not State.OPEN:
            return
        self._write_held(trouble)
        ending = trouble.end()
        if ending is None:
            return
        self.state = State.CUT
        self.behaviour.ended(1006, "")
        self._carry_out(ending)

    def _carry_out(self, ending: Ending) -> None:
        match ending.kind:
            case "drop":
                self._part()
            case "reset":
                self.state = State.PARTED
                self._wire.reset()
            case "close":
                self.state = State.CUT
                self.send_control(Opcode.CLOSE, close_payload(ending.code, ending.reason))
            case "stall":
                self.state = State.CUT
                self._wire.stall()
            case _:
                assert_never(ending.kind)

    # what the client sends

    def _take_head(self, head: Head, data: bytes) -> bytes:
        """Take what belongs to the handshake, and return the rest."""
        opening, rest = head.split(data)
        if rest is not None:
            self._head = None
        self._handshake.receive_data(opening)
        for event in self._handshake.events_received():
            if isinstance(event, Request) and self._request is None:
                self._request = event
                self.behaviour.dialled(self, event)
        if self._request is None and self._handshake.handshake_exc is not None:
            self.state = State.CLOSED
            self._flush()
            self._part()
        return rest or b""

    def _take_message(self, message: Payload) -> None:
        self.frames += 1
        if self.state is State.OPEN:
            self.behaviour.received(message)
        elif self.state is State.CLOSING:
            self.behaviour.came_late(message)

    def _take_control(self, item: Control) -> None:
        if item.opcode is Opcode.CLOSE:
            self._take_close(item.payload)
        elif self.state in (State.OPEN, State.CLOSING):
            if item.opcode is Opcode.PING:
                self.behaviour.pinged(self, item.payload)
            else:
                self.behaviour.ponged(self, item.payload)

    def _take_close(self, payload: bytes) -> None:
        match self.state:
            case State.OPEN:
                close = Close.parse(payload)
                self._end(close.code, close.reason)
                self.behaviour.bade_farewell(self, payload)
            case State.CLOSING:
                self.state = State.CLOSED
                self.behaviour.bade_farewell(self, payload)
            case State.CUT:
                self.answer_close(payload)

    def _take_wrong(self, wrong: NotText | Broken) -> None:
        self._was_garbled = True
        if self.state is State.OPEN:
            self.behaviour.garbled(self, wrong)
        elif self.state in (State.CLOSING, State.CUT) and isinstance(wrong, Broken):
            self._part()

    # inside

    def _count(self, messages: Sequence[Payload]) -> None:
        self.frames += len(messages)
        if self.on_sent is not None:
            for _ in messages:
                self.on_sent()

    def _choice(self, offered: Sequence[Any]) -> Any:
        return self._subprotocol if self._subprotocol in offered else None

    def _end(self, code: int, reason: str) -> None:
        """The client is done, if nobody was before."""
        if self.state in (State.DIALLED, State.OPEN):
            self.state = State.LEFT
            self.behaviour.ended(code, reason)

    def _part(self) -> None:
        """Write nothing more, and drop what comes until the client goes."""
        if self.state in _ENDED:
            return
        self.state = State.PARTED
        if self._stream.is_closing():
            return
        if not self._stream.can_write_eof():
            self._stream.close()
            return
        self._stream.write_eof()
        self._stream.resume_reading()
        self._wait_for_the_client(-1)

    def _wait_for_the_client(self, left_before: int) -> None:
        left = self._stream.get_write_buffer_size()
        if left == left_before:
            self._stream.abort()
        else:
            self._linger = Timer(self._loop, LINGER, self._wait_for_the_client, left)

    def _abort_now(self) -> None:
        if self.state is not State.GONE:
            self._stream.abort()

    def _flush(self) -> None:
        """Write what the handshake says; its end of the stream is up to this class."""
        self._stream.write(b"".join(self._handshake.data_to_send()))


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _head_of(message: bytes) -> bytes:
    """Return what stands before the bytes of a message."""
    if isinstance(message, BrokenFrame):
        return b""
    return frame_head(Opcode.TEXT if isinstance(message, NotText) else Opcode.BINARY, len(message))


_SHORT = 2048
_TEXT_HEADS = [frame_head(Opcode.TEXT, length) for length in range(_SHORT)]
