"""Scripted misbehaviour: what goes wrong, how often, and when; the sandbox's and the gateway's alike.

A sans-I/O core. A test adds faults from its own thread while a server asks for them from another: for the next HTTP
answer, the next handshake, and with :meth:`Faults.connection` for all that is to go wrong on one WebSocket
connection. How it looks on the wire is the business of :mod:`~pytest_connex.loopback`.
"""

from __future__ import annotations

import math
import random
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeVar

from .errors import ConfigError

FrameFault = Literal["truncate", "duplicate", "reorder", "corrupt", "invalid_utf8"]
EndingKind = Literal["drop", "reset", "close", "stall"]


class Answer(NamedTuple):
    """An HTTP answer in place of the right one; ``retry_after`` is in seconds."""

    status: int
    retry_after: int | None


class Cut(NamedTuple):
    """An HTTP answer that is the right one and ends after ``bytes`` of its body; with None it never comes."""

    bytes: int | None


class Ending(NamedTuple):
    """How a WebSocket connection ends, and when: after ``frames`` messages, ``bytes`` or ``seconds``.

    ``drop`` ends it without a close frame, ``reset`` with a reset of TCP, ``close`` with code and reason; after
    ``stall`` it is there and nothing comes any more. None of the three being set, it is when it would be closed.
    """

    kind: EndingKind
    frames: int | None = None
    bytes: int | None = None
    seconds: float | None = None
    code: int = 1000
    reason: str = ""


class FrameChange(NamedTuple):
    """What goes wrong with one message of a connection, counted from 1."""

    kind: FrameFault
    frame: int


class Pace(NamedTuple):
    """How slow the wire is: seconds of delay, give or take ``jitter``; bytes in a second, or None for any number."""

    latency: float = 0.0
    jitter: float = 0.0
    bandwidth: float | None = None


_SENDABLE = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014})
_LONGEST_REASON = 123  # a control frame holds 125 bytes, and the code takes two (RFC 6455, 5.5)

_Fault = TypeVar("_Fault")


class Faults:
    """What goes wrong next.

    Faults of a kind happen in the order they were added, each once: answers to the next requests, refusals to the
    next handshakes, endings and changed messages to the next connections. Latency, bandwidth and a refused port
    last until they are lifted.

    Args:
        seed: Makes jitter and corrupted bytes; connection *n* of one seed always has the same.
    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._lock = threading.Lock()
        self._answers: deque[Answer | Cut] = deque()
        self._handshakes: deque[Answer] = deque()
        self._endings: deque[Ending] = deque()
        self._changes: dict[FrameFault, deque[tuple[int, ...]]] = {}
        self._pace = Pace()
        self._connections = 0
        self._happened: list[str] = []
        self._on_refuse: Callable[[float | None], object] = lambda seconds: None

    # HTTP answers

    def answer(self, status: int, times: int = 1, retry_after: int | None = None) -> None:
        """Answer the next ``times`` REST requests with ``status``, and ``Retry-After`` in seconds."""
        self._add(self._answers, Answer(_status(status), _wait(retry_after)), times)

    def cut_answer(self, bytes: int, times: int = 1) -> None:
        """End the connection after ``bytes`` of the body of each of the next ``times`` answers."""
        self._add(self._answers, Cut(_count("bytes", bytes, 0)), times)

    def stall_answer(self, times: int = 1) -> None:
        """Never answer the next ``times`` REST requests."""
        self._add(self._answers, Cut(None), times)

    # dials

    def refuse(self, seconds: float | None = None) -> None:
        """Refuse every dial, REST and WebSocket alike, for ``seconds``, or until :meth:`accept`."""
        self._on_refuse(None if seconds is None else _seconds("seconds", seconds))
        self.note("dials are refused" + ("" if seconds is None else f" for {seconds:g} s"))

    def accept(self) -> None:
        """Accept dials again."""
        self._on_refuse(0.0)

    def refuse_handshake(self, times: int = 1, status: int = 503, retry_after: int | None = None) -> None:
        """Answer the next ``times`` WebSocket handshakes with ``status``."""
        self._add(self._handshakes, Answer(_status(status), _wait(retry_after)), times)

    # how connections end

    def drop_after(
        self, frames: int | None = None, times: int = 1, *, bytes: int | None = None, seconds: float | None = None
    ) -> None:
        """End each of the next ``times`` connections, without a close frame, after so many messages.

        Args:
            frames: Messages to the client; 0 ends it right after the handshake.
            times: Of how many connections.
            bytes: Instead of messages: bytes to the client after the handshake, so that a frame may be cut.
            seconds: Instead of messages: seconds after the handshake.
        """
        self._end("drop", times, frames, bytes, seconds)

    def reset_after(
        self, frames: int | None = None, times: int = 1, *, bytes: int | None = None, seconds: float | None = None
    ) -> None:
        """Reset each of the next ``times`` connections (a TCP reset) after so many messages, bytes or seconds."""
        self._end("reset", times, frames, bytes, seconds)

    def reset_instead_of_close(self, times: int = 1) -> None:
        """Reset each of the next ``times`` connections where the server would have closed it."""
        self._add(self._endings, Ending("reset"), times)

    def close_after(
        self,
        frames: int | None = None,
        code: int = 1000,
        reason: str = "",
        times: int = 1,
        *,
        bytes: int | None = None,
        seconds: float | None = None,
    ) -> None:
        """Close each of the next ``times`` connections with ``code`` and ``reason``.

        After ``frames`` messages, or after whole messages of ``bytes`` or more, or after ``seconds``.
        """
        self._end("close", times, frames, bytes, seconds, _close_code(code), _reason(reason))

    def stall_after(
        self, frames: int | None = None, times: int = 1, *, bytes: int | None = None, seconds: float | None = None
    ) -> None:
        """Send nothing more, not even a pong, on each of the next ``times`` connections; they stay open."""
        self._end("stall", times, frames, bytes, seconds)

    # what becomes of messages

    def truncate(self, *frames: int, times: int = 1) -> None:
        """Deliver the first half only of these messages of each of the next ``times`` connections."""
        self._change("truncate", frames, times)

    def duplicate(self, *frames: int, times: int = 1) -> None:
        """Deliver these messages, counted from 1, twice."""
        self._change("duplicate", frames, times)

    def reorder(self, *frames: int, times: int = 1) -> None:
        """Deliver each of these messages after the one that follows it."""
        self._change("reorder", frames, times)

    def corrupt(self, *frames: int, times: int = 1) -> None:
        """Change some characters of these messages; a text stays UTF-8."""
        self._change("corrupt", frames, times)

    def invalid_utf8(self, *frames: int, times: int = 1) -> None:
        """Put a byte into these messages that is no UTF-8, and send them as text."""
        self._change("invalid_utf8", frames, times)

    # the wire

    def latency(self, seconds: float, jitter: float = 0.0) -> None:
        """Delay all that is sent from now on by ``seconds``, give or take ``jitter``; 0 lifts it."""
        delay, spread = _seconds("seconds", seconds), _seconds("jitter", jitter)
        with self._lock:
            self._pace = self._pace._replace(latency=delay, jitter=spread)

    def bandwidth(self, bytes_per_second: float | None) -> None:
        """Send no more than that from now on, on each connection; None lifts it."""
        if bytes_per_second is not None and _seconds("bytes_per_second", bytes_per_second) == 0:
            raise ConfigError("bytes_per_second must be above zero; None lifts it")
        with self._lock:
            self._pace = self._pace._replace(bandwidth=bytes_per_second)

    def clear(self) -> None:
        """Take back whatever has not happened yet, and accept dials at full speed."""
        with self._lock:
            for queue in self._queues():
                queue.clear()
            self._pace = Pace()
        self.accept()

    # what became of it

    def pending(self) -> int:
        """Return how many faults have not happened yet."""
        with self._lock:
            return sum(len(queue) for queue in self._queues())

    def happened(self) -> list[str]:
        """Return what has gone wrong so far, a line each, in its order."""
        with self._lock:
            return list(self._happened)

    # what a server asks

    def next_answer(self) -> Answer | Cut | None:
        """Return the fault of this REST request, if it has one."""
        return self._next(self._answers)

    def next_handshake(self) -> Answer | None:
        """Return the fault of this handshake, if it has one."""
        return self._next(self._handshakes)

    def connection(self) -> Trouble:
        """Return all that is to go wrong on the connection that has just been accepted."""
        with self._lock:
            self._connections += 1
            number = self._connections
            ending = self._endings.popleft() if self._endings else None
            changes = {
                (kind, frame) for kind, queue in self._changes.items() for frame in (queue.popleft() if queue else ())
            }
        return Trouble(self, number, ending, changes, random.Random(f"{self._seed}:{number}"))  # noqa: S311

    def pace(self) -> Pace:
        """Return how slow the wire is by now."""
        return self._pace

    def random(self) -> random.Random:
        """Return the source of chance for what belongs to no connection."""
        return random.Random(f"{self._seed}")  # noqa: S311

    def on_refuse(self, act: Callable[[float | None], object]) -> None:
        """Have ``act`` called with seconds, or None, when dials are to be refused; with 0 when no longer."""
        self._on_refuse = act

    def note(self, what: str) -> None:
        """Remember that something went wrong, for the report."""
        with self._lock:
            self._happened.append(what)

    def _end(
        self,
        kind: EndingKind,
        times: int,
        frames: int | None,
        bytes: int | None,
        seconds: float | None,
        code: int = 1000,
        reason: str = "",
    ) -> None:
        if [frames, bytes, seconds].count(None) != 2:
            raise ConfigError(f"{kind}_after needs one of frames, bytes and seconds")
        ending = Ending(
            kind,
            None if frames is None else _count("frames", frames, 0),
            None if bytes is None else _count("bytes", bytes, 0),
            None if seconds is None else _seconds("seconds", seconds),
            code,
            reason,
        )
        self._add(self._endings, ending, times)

    def _change(self, kind: FrameFault, frames: tuple[int, ...], times: int) -> None:
        if not frames:
            raise ConfigError(f"{kind} needs the number of a message, counted from 1")
        for frame in frames:
            _count("frame", frame, 1)
        self._add(self._changes.setdefault(kind, deque()), frames, times)

    def _queues(self) -> list[deque[Any]]:
        return [self._answers, self._handshakes, self._endings, *self._changes.values()]

    def _add(self, queue: deque[_Fault], fault: _Fault, times: int) -> None:
        with self._lock:
            queue.extend([fault] * _count("times", times, 1))

    def _next(self, queue: deque[_Fault]) -> _Fault | None:
        with self._lock:
            return queue.popleft() if queue else None


class Trouble:
    """What is to go wrong on one connection.

    Attributes:
        number: The connection, counted from 1 in the order of the handshakes.
        ending: How it ends, if by a fault.
        chance: Makes jitter and corrupted bytes.
    """

    def __init__(
        self,
        faults: Faults,
        number: int,
        ending: Ending | None,
        changes: set[tuple[FrameFault, int]],
        chance: random.Random,
    ) -> None:
        self.number = number
        self.ending = ending
        self.chance = chance
        self._faults = faults
        self._changes = changes
        self._frames = 0
        self._held: list[tuple[bool, bytes]] = []

    @property
    def harmless(self) -> bool:
        """Whether nothing goes wrong but the pace."""
        return self.ending is None and not self._changes

    @property
    def frames(self) -> int:
        """How many messages of the server there were, as they were before anything went wrong with them."""
        return self._frames

    def message(self, text: bool, payload: bytes) -> list[tuple[bool, bytes]]:
        """Take a message, and return what is sent in its place: whether it is text, and its bytes."""
        self._frames += 1
        changed = [(text, payload)]
        for kind in _CHANGES:
            if (kind, self._frames) in self._changes:
                self.note(f"{kind} at message {self._frames}")
                if kind == "reorder":
                    self._held += changed
                    return []
                changed = [made for one in changed for made in _changed(kind, *one, self.chance)]
        return [*changed, *self.held()]

    def held(self) -> list[tuple[bool, bytes]]:
        """Return what waited for a message to go before it."""
        held, self._held = self._held, []
        return held

    def over(self, sent: int) -> bool:
        """Tell whether the end is due, after ``sent`` bytes."""
        ending = self.ending
        if ending is None:
            return False
        if ending.frames is not None:
            return self._frames >= ending.frames
        return ending.bytes is not None and sent >= ending.bytes

    def pace(self) -> Pace:
        """Return how slow the wire is by now."""
        return self._faults.pace()

    def note(self, what: str) -> None:
        """Remember that something went wrong, for the report."""
        self._faults.note(f"connection {self.number}: {what}")


_CHANGES: tuple[FrameFault, ...] = ("truncate", "corrupt", "invalid_utf8", "duplicate", "reorder")


def _changed(kind: FrameFault, text: bool, payload: bytes, chance: random.Random) -> list[tuple[bool, bytes]]:
    if kind == "truncate":
        half = payload[: len(payload) // 2]
        return [(text, half.decode("utf-8", "ignore").encode() if text else half)]
    if kind == "duplicate":
        return [(text, payload)] * 2
    if kind == "invalid_utf8":
        place = chance.randrange(len(payload) + 1)
        return [(True, payload[:place] + b"\xff" + payload[place:])]
    changed = bytearray(payload)
    for place in chance.sample(range(len(payload)), k=min(len(payload), 1 + len(payload) // 50)):
        if not text or changed[place] < 0x80:
            changed[place] = (
                (changed[place] + chance.randrange(1, 95) - 32) % 95 + 32 if text else changed[place] ^ 0xFF
            )
    return [(text, bytes(changed))]


def parse_fault(script: str) -> tuple[str, dict[str, Any]]:
    """Return the method of :class:`Faults` and its arguments that ``script`` names.

    Args:
        script: A name, and arguments after a colon: ``close_after:frames=10,code=1012,reason=restart``.

    Raises:
        ConfigError: There is no such fault, or no such argument.
    """
    name, _, listed = script.partition(":")
    if name not in SCRIPTABLE:
        raise ConfigError(f"there is no fault {name!r}; there are {', '.join(SCRIPTABLE)}")
    arguments: dict[str, Any] = {}
    for given in filter(None, listed.split(",")):
        key, equals, value = given.partition("=")
        if not equals:
            raise ConfigError(f"{given!r} in {script!r} is no argument: write name=value")
        arguments[key.strip()] = _read(value.strip())
    return name, arguments


SCRIPTABLE = (
    "answer",
    "cut_answer",
    "stall_answer",
    "refuse_handshake",
    "drop_after",
    "reset_after",
    "reset_instead_of_close",
    "close_after",
    "stall_after",
    "truncate",
    "duplicate",
    "reorder",
    "corrupt",
    "invalid_utf8",
    "latency",
    "bandwidth",
    "refuse",
)
"""The faults that a command line can ask for."""


def apply_fault(faults: Faults, script: str) -> None:
    """Add the fault that ``script`` describes; see :func:`parse_fault`.

    Raises:
        ConfigError: There is no such fault, or it cannot be had with these arguments.
    """
    name, arguments = parse_fault(script)
    positional = () if "frame" not in arguments else (arguments.pop("frame"),)
    try:
        getattr(faults, name)(*positional, **arguments)
    except TypeError as exc:
        raise ConfigError(f"{script!r}: {str(exc).partition('() ')[2] or exc}") from None


def _read(value: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


def _status(status: int) -> int:
    if not _is_whole(status) or not 400 <= status <= 599:
        raise ConfigError(f"a fault answers with a status between 400 and 599, not {status!r}")
    return status


def _close_code(code: int) -> int:
    if not _is_whole(code) or not (code in _SENDABLE or 3000 <= code <= 4999):
        raise ConfigError(
            f"a close code that may be sent is one of {', '.join(map(str, sorted(_SENDABLE)))}, or between 3000 and "
            f"4999, not {code!r}; drop_after ends a connection without one"
        )
    return code


def _reason(reason: str) -> str:
    if len(str(reason).encode()) > _LONGEST_REASON:
        raise ConfigError(f"the reason of a close has at most {_LONGEST_REASON} bytes, not {len(reason.encode())}")
    return str(reason)


def _wait(seconds: int | None) -> int | None:
    return None if seconds is None else _count("retry_after", seconds, 0)


def _seconds(name: str, value: float) -> float:
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not usable or value < 0:
        raise ConfigError(f"{name} must be a number, zero or more, not {value!r}")
    return float(value)


def _count(name: str, value: int, least: int) -> int:
    if not _is_whole(value) or value < least:
        raise ConfigError(f"{name} must be a whole number, {least} or more, not {value!r}")
    return value


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
