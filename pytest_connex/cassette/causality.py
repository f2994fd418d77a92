"""The order of one tape: what the server does is due when what the client did before it has happened.

A sans-I/O core, which both players share, and several threads may use at once. It knows of every recorded connection
and request what has happened and what comes next, and answers quickly, however many there are.

*What the client does*: it dials, sends a message, asks a request. *What the server does*: it sends a message, closes,
answers a request.

- What the server does on a WebSocket is due when everything that the client did before it, on all connections and
  over HTTP, has happened, and when every part of an answer that came before it has been given: a fill never precedes
  its order, nor the answer that names the order.
- An answer of HTTP is due when every dial, every message sent and every message received before it has happened: a
  poll never shows what is not there yet. Requests among themselves have no order: pools and locks take turns as they
  like, and waiting for each other would be a deadlock. So beyond the first request that has not been asked yet,
  nothing is waited for. But answers to requests that have been asked come in the order in which they came.
- A connection that the replaying client has closed, or on which there is nothing left to say, holds nobody up.

Recordings of version 1 have no common clock. There, a message waits only for what was sent before it on connections
that were open at the same time, and HTTP has no order.
"""

from __future__ import annotations

import math
import sys
import threading
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, NamedTuple, TypeVar

from .exchange import Interaction
from .store import Place, RecordedConnection, Recording

_Key = TypeVar("_Key", Place, float)

_ONE_CLOCK = 2
"""The first version of recordings whose times are those of the whole tape."""


class Limits(NamedTuple):
    """How far a connection may be played: what stands on a later line, or happened later, is not due."""

    line: int
    at: float


class Standing(NamedTuple):
    """How far a connection has been played.

    Attributes:
        sends: What the client is expected to send next; None where it has sent everything.
        next_at: When the next message was sent or received, in seconds; None where there is none left.
    """

    sends: Place | None
    next_at: float | None


class Order:
    """The order of a tape.

    Args:
        recording: Of its WebSockets, if there is one.
        interactions: Of HTTP.

    Attributes:
        lock: Held while a player looks or moves.
    """

    def __init__(self, recording: Recording | None = None, interactions: Sequence[Interaction] = ()) -> None:
        self.lock = threading.RLock()
        self._connections = [] if recording is None else recording.connections
        self._one_clock = recording is None or recording.header.version >= _ONE_CLOCK
        self._interactions = interactions
        self._actions: _Earliest[Place] = _Earliest()
        self._events: _Earliest[float] = _Earliest()
        self._answers: _Earliest[float] = _Earliest()
        asked = ((one.asked, index) for index, one in enumerate(interactions) if one.asked is not None)
        self._unasked = sorted(asked) if self._one_clock else []
        self._first_unasked = 0
        self._asked: set[int] = set()
        self._listeners: list[Callable[[], None]] = []
        self._moved = False
        self._telling = False
        for connection in self._connections:
            self.begin(connection)

    # what happens

    @contextmanager
    def moving(self) -> Iterator[None]:
        """Hold the lock, and tell the listeners afterwards if anything may have become due."""
        with self.lock:
            yield
            tells = self._moved and not self._telling
            self._telling |= tells
        if tells:
            self._tell()

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Have ``listener`` called when something may have become due, from any thread; return what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def begin(self, connection: RecordedConnection) -> None:
        """Nobody plays a connection: its dial is what comes next."""
        if self._one_clock:
            self._stand(connection, Place(connection.line, connection.dial.at), connection.dial.at)
        else:
            first = connection.first_sent
            self._stand(connection, first and Place(first[0], first[1].at), None)

    def stand(self, connection: RecordedConnection, standing: Standing) -> None:
        """A connection has been played so far."""
        self._stand(connection, standing.sends, standing.next_at if self._one_clock else None)

    def leave(self, connection: RecordedConnection) -> None:
        """The client has ended a connection."""
        self._stand(connection, None, None)

    def ask(self, index: int) -> None:
        """The client has asked the request of an interaction."""
        self._asked.add(index)
        while self._first_unasked < len(self._unasked) and self._unasked[self._first_unasked][1] in self._asked:
            self._first_unasked += 1
            self._moved = True

    def answer(self, index: int, at: float | None) -> None:
        """The next part of the answer to a request came ``at`` these seconds; None where there is none left."""
        self._moved |= self._answers.put(index, at if self._one_clock else None)

    # what is due

    def limits(self, connection: RecordedConnection) -> Limits:
        """Return how far a connection may be played."""
        first = self._first_action(connection)
        return Limits(sys.maxsize if first is None else first[0].line, min(self._unasked_at, self._ungiven_at))

    def is_due(self, at: float | None) -> bool:
        """Tell whether an answer of HTTP, or a piece of it, that came ``at`` these seconds is due."""
        if at is None:
            return True
        first = self._events.first
        return at <= self._ungiven_at and (first is None or first[0] >= min(at, self._unasked_at))

    # what is waited for, for messages

    def awaited_by(self, connection: RecordedConnection, place: Place) -> str:
        """Say what has to happen before what stands at ``place`` is due; an empty text where nothing has to."""
        first = self._first_action(connection)
        if self._unasked_at < min(place.at, math.inf if first is None else first[0].at):
            request = self._interactions[self._unasked[self._first_unasked][1]].request
            return f"the client asks {request.method} {request.url}"
        if first is not None and first[0].line < place.line:
            return self._said(*first)
        return self._said_of_answer() if self._ungiven_at < place.at else ""

    def awaited_by_answer(self, at: float | None) -> str:
        """Say what has to happen before an answer of HTTP is due; an empty text where nothing has to."""
        first = self._events.first
        if self.is_due(at):
            return ""
        if first is None or self._ungiven_at < first[0]:
            return self._said_of_answer()
        next_at, number = first
        action = self._actions.of(number)
        if action is not None and action.at <= next_at:
            return self._said(action, number)
        return f"the client takes what it received on connection {number} at {next_at:g} s"

    # inside

    def _tell(self) -> None:
        """Tell the listeners, again and again while what they do moves something.

        One tells at a time: were a listener to tell the others, they would stand as deep in each other as there are.
        """
        try:
            while self._take_news():
                for listener in tuple(self._listeners):
                    listener()
        finally:
            self._telling = False

    def _take_news(self) -> bool:
        with self.lock:
            moved, self._moved = self._moved, False
            self._telling = moved
            return moved

    @property
    def _unasked_at(self) -> float:
        if self._first_unasked == len(self._unasked):
            return math.inf
        return self._unasked[self._first_unasked][0]

    @property
    def _ungiven_at(self) -> float:
        first = self._answers.first
        return math.inf if first is None else first[0]

    def _stand(self, connection: RecordedConnection, action: Place | None, next_at: float | None) -> None:
        before = self._events.first
        self._moved |= self._actions.put(connection.number, action)
        self._moved |= self._events.put(connection.number, next_at) and self._events.first != before

    def _first_action(self, connection: RecordedConnection) -> tuple[Place, int] | None:
        """Return what the client does next, on any connection that concerns this one."""
        if self._one_clock:
            return self._actions.first
        for place, number in self._actions:
            other = self._connections[number - 1]
            if other is not connection and other.overlaps(connection):
                return place, number
        return None

    def _said_of_answer(self) -> str:
        if (first := self._answers.first) is None:
            return ""
        request = self._interactions[first[1]].request
        return f"the client takes the answer to {request.method} {request.url} that came at {first[0]:g} s"

    def _said(self, action: Place, number: int) -> str:
        connection = self._connections[number - 1]
        if action.line == connection.line:
            return f"the client dials {connection.dial.url}, connection {number}, which stands on line {action.line}"
        return f"the client sends on connection {number} what it sends on line {action.line}"


class _Earliest(Generic[_Key]):
    """What comes next of each of many connections, or of many answers, and which of it is the first."""

    def __init__(self) -> None:
        self._keys: dict[int, _Key] = {}
        self._ordered: list[tuple[_Key, int]] = []

    @property
    def first(self) -> tuple[_Key, int] | None:
        """What comes first, and the number of its connection or answer."""
        return self._ordered[0] if self._ordered else None

    def of(self, number: int) -> _Key | None:
        """Return what comes next of a connection or an answer."""
        return self._keys.get(number)

    def put(self, number: int, key: _Key | None) -> bool:
        """Note what comes next of a connection or an answer, None where nothing does; tell whether that is news."""
        known = self._keys.get(number)
        if known == key:
            return False
        if known is not None:
            del self._ordered[bisect_left(self._ordered, (known, number))]
        if key is None:
            del self._keys[number]
        else:
            self._keys[number] = key
            insort(self._ordered, (key, number))
        return True

    def __iter__(self) -> Iterator[tuple[_Key, int]]:
        return iter(self._ordered)
