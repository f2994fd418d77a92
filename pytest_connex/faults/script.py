"""The script: what a test asks to go wrong, and what a server is told is next."""

from __future__ import annotations

import math
import random
import threading
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from ..errors import ConfigError
from . import kinds
from .connection import Trouble
from .kinds import Answer, Change, Cut, Ending, EndingKind, HttpFault, Pace

_Fault = TypeVar("_Fault")


class Faults:
    """What goes wrong next.

    Faults of a kind happen in the order they were added, each once: answers to the next requests, refusals to the
    next handshakes, endings and changed messages to the next connections that open. Latency, bandwidth and refused
    dials last until they are lifted, and concern connections that are open too.

    Messages are those of the server to its client, counted from 1 as the server sends them: one that a fault
    doubles or holds back counts once. Every method may be called from any thread.

    Args:
        seed: Makes jitter and corrupted characters; connection *n* of one seed always has the same.
    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._lock = threading.RLock()
        self._answers: deque[HttpFault] = deque()
        self._handshakes: deque[Answer] = deque()
        self._endings: deque[Ending] = deque()
        self._changes: dict[Change, deque[tuple[int, ...]]] = {}
        self._pace = Pace()
        self._refused_for = 0.0
        self._gates: list[Callable[[float], object]] = []
        self._connections = 0
        self._under_way: set[Trouble] = set()
        self._happened: list[str] = []

    # HTTP answers

    def answer(self, status: int, times: int = 1, retry_after: int | None = None) -> None:
        """Answer the next ``times`` REST requests with ``status``, and ``Retry-After`` in seconds."""
        self._add(self._answers, _answer(status, retry_after), times)

    def cut_answer(self, bytes: int, times: int = 1) -> None:
        """End the connection after ``bytes`` of the body of each of the next ``times`` answers."""
        self._add(self._answers, Cut(kinds.count("bytes", bytes, 0)), times)

    def stall_answer(self, times: int = 1) -> None:
        """Never answer the next ``times`` REST requests."""
        self._add(self._answers, Cut(None), times)

    # dials

    def refuse(self, seconds: float | None = None) -> None:
        """Refuse every dial, REST and WebSocket alike, for ``seconds``, or until :meth:`accept`.

        Connections that are open stay open.
        """
        wait = math.inf if seconds is None else kinds.seconds("seconds", seconds, above_zero=True)
        self.note("dials are refused" + ("" if seconds is None else f" for {seconds:g} s"))
        self._tell_gates(wait)

    def accept(self) -> None:
        """Accept dials again."""
        self._tell_gates(0.0)

    def refuse_handshake(self, times: int = 1, status: int = 503, retry_after: int | None = None) -> None:
        """Answer the next ``times`` WebSocket handshakes with ``status``, and ``Retry-After`` in seconds."""
        self._add(self._handshakes, _answer(status, retry_after), times)

    # how connections end

    def drop_after(
        self, frames: int | None = None, times: int = 1, *, bytes: int | None = None, seconds: float | None = None
    ) -> None:
        """End each of the next ``times`` connections, without a close frame.

        Args:
            frames: After so many messages to the client; 0 ends it right after the handshake.
            times: Of how many connections.
            bytes: Instead: after so many bytes of messages, their heads included, so that one may be cut.
            seconds: Instead: so long after the handshake.
        """
        self._end("drop", times, frames, bytes, seconds)

    def reset_after(
        self, frames: int | None = None, times: int = 1, *, bytes: int | None = None, seconds: float | None = None
    ) -> None:
        """Reset each of the next ``times`` connections (a TCP reset) after so many messages, bytes or seconds.

        As with every reset, what is on its way may be lost. Within one event loop, without TCP, it is a drop.
        """
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
        code, reason = kinds.close_code(code), kinds.close_reason(reason)
        self._end("close", times, frames, bytes, seconds, code, reason)

    def stall_after(
        self, frames: int | None = None, times: int = 1, *, bytes: int | None = None, seconds: float | None = None
    ) -> None:
        """Leave each of the next ``times`` connections open and dead: no message, no pong, no close.

        What the client says from then on reaches nobody either.
        """
        self._end("stall", times, frames, bytes, seconds)

    # what becomes of messages

    def truncate(self, *frames: int, times: int = 1) -> None:
        """Deliver only the first half of these messages of each of the next ``times`` connections."""
        self._change("truncate", frames, times)

    def duplicate(self, *frames: int, times: int = 1) -> None:
        """Deliver these messages of each of the next ``times`` connections twice."""
        self._change("duplicate", frames, times)

    def reorder(self, *frames: int, times: int = 1) -> None:
        """Deliver each of these messages after the one that follows it; the last one when the connection ends."""
        self._change("reorder", frames, times)

    def corrupt(self, *frames: int, times: int = 1) -> None:
        """Change some characters of these messages: the length stays, and a text stays UTF-8."""
        self._change("corrupt", frames, times)

    def invalid_utf8(self, *frames: int, times: int = 1) -> None:
        """Put a byte into these messages that is no UTF-8, and send them as text."""
        self._change("invalid_utf8", frames, times)

    # the wire

    def latency(self, seconds: float, jitter: float = 0.0) -> None:
        """Delay all that is sent to clients from now on by ``seconds``, give or take ``jitter``; 0 lifts it."""
        delay, spread = kinds.seconds("seconds", seconds), kinds.seconds("jitter", jitter)
        with self._lock:
            self._pace = self._pace._replace(latency=delay, jitter=spread)

    def bandwidth(self, bytes_per_second: float | None) -> None:
        """Send no more than that to each client from now on; None lifts it."""
        if bytes_per_second is not None:
            bytes_per_second = kinds.seconds("bytes_per_second", bytes_per_second, above_zero=True)
        with self._lock:
            self._pace = self._pace._replace(bandwidth=bytes_per_second)

    def clear(self) -> None:
        """Take back whatever has not happened yet, on open connections too; accept dials, at full speed."""
        with self._lock:
            self._answers.clear()
            self._handshakes.clear()
            self._endings.clear()
            self._changes.clear()
            for trouble in self._under_way:
                trouble.clear()
            self._pace = Pace()
        self.accept()

    def renew(self, seed: int = 0) -> None:
        """Be as new: nothing is scripted, nothing has happened, and the next connection is the first."""
        self.clear()
        with self._lock:
            self._seed = seed
            self._connections = 0
            self._under_way.clear()
            self._happened.clear()

    # what became of it

    def pending(self) -> int:
        """Return how many faults have not happened yet.

        Those count that a connection which is open still has before it; one that ended sooner has none.
        """
        with self._lock:
            changes = sum(len(frames) for queue in self._changes.values() for frames in queue)
            waiting = len(self._answers) + len(self._handshakes) + len(self._endings) + changes
            return waiting + sum(trouble.pending for trouble in self._under_way)

    def happened(self) -> list[str]:
        """Return what has gone wrong so far, a line each, in its order."""
        with self._lock:
            return list(self._happened)

    # what a server asks

    def next_answer(self, request: str) -> HttpFault | None:
        """Return the fault of a REST request, if it has one; ``request`` is what :meth:`happened` calls it."""
        return self._next(self._answers, request)

    def next_handshake(self, path: str) -> Answer | None:
        """Return the fault of the handshake on ``path``, if it has one."""
        return self._next(self._handshakes, f"handshake of {path}")

    def connection(self) -> Trouble:
        """Return what goes wrong on a connection that asks for its handshake."""
        with self._lock:
            self._connections += 1
            return Trouble(self, self._connections)

    def claim(self, trouble: Trouble) -> tuple[Ending | None, set[tuple[Change, int]]]:
        """Give a connection that opens its share: how it ends, and which of its messages change in what way."""
        with self._lock:
            self._under_way.add(trouble)
            ending = self._endings.popleft() if self._endings else None
            queues = [(kind, queue) for kind, queue in self._changes.items() if queue]
            return ending, {(kind, frame) for kind, queue in queues for frame in queue.popleft()}

    def release(self, trouble: Trouble) -> None:
        """Forget a connection: nothing more will happen to it."""
        with self._lock:
            self._under_way.discard(trouble)

    def pace(self) -> Pace:
        """Return how slow the wire is by now."""
        return self._pace

    def chance(self, of: object) -> random.Random:
        """Return the source of chance for something; the same for the same thing and seed."""
        return random.Random(f"{self._seed}:{of}")  # noqa: S311

    def add_gate(self, act: Callable[[float], object]) -> None:
        """Have ``act`` called with the seconds for which dials are refused: ``inf``, or 0 when no longer.

        It is called outside of any lock, from the thread that asks; and at once if dials were refused before there
        was anybody to refuse them, or are refused for good.
        """
        with self._lock:
            self._gates.append(act)
            refused_for = self._refused_for
            if refused_for < math.inf:
                self._refused_for = 0.0
        if refused_for:
            act(refused_for)

    def remove_gate(self, act: Callable[[float], object]) -> None:
        """Call it no more."""
        with self._lock:
            self._gates.remove(act)

    def note(self, what: str) -> None:
        """Remember that something went wrong, for :meth:`happened`."""
        with self._lock:
            self._happened.append(what)

    # inside

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
            None if frames is None else kinds.count("frames", frames, 0),
            None if bytes is None else kinds.count("bytes", bytes, 0),
            None if seconds is None else kinds.seconds("seconds", seconds),
            code,
            reason,
        )
        self._add(self._endings, ending, times)

    def _change(self, kind: Change, frames: tuple[int, ...], times: int) -> None:
        if not frames:
            raise ConfigError(f"{kind} needs the number of a message, counted from 1")
        for frame in frames:
            kinds.count("the number of a message", frame, 1)
        self._add(self._changes.setdefault(kind, deque()), tuple(dict.fromkeys(frames)), times)

    def _add(self, queue: deque[_Fault], fault: _Fault, times: int) -> None:
        with self._lock:
            queue.extend([fault] * kinds.count("times", times, 1))

    def _next(self, queue: deque[_Fault], where: str) -> _Fault | None:
        with self._lock:
            if not queue:
                return None
            fault = queue.popleft()
            self.note(f"{where}: {fault}")
            return fault

    def _tell_gates(self, seconds: float) -> None:
        with self._lock:
            gates = list(self._gates)
            self._refused_for = 0.0 if gates and seconds < math.inf else seconds
        for act in gates:
            act(seconds)


def _answer(status: int, retry_after: int | None) -> Answer:
    wait = None if retry_after is None else kinds.count("retry_after", retry_after, 0)
    return Answer(kinds.status(status), wait)
