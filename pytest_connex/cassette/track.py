"""Two cursors on one recorded connection: what is due, and what the client is expected to send.

Each has its own, so that a client that sends early is compared at once, while what it gets keeps the recorded order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import islice

from .causality import Limits, Standing
from .echoes import Echoes
from .events import Closed, Event, Left, Open, Payload, Received, Sent
from .store import Place, RecordedConnection


class Track:
    """Follows one recorded connection.

    Most of those that fit a dial are dropped at its first message, so what only a played one needs is made later.

    Args:
        connection: Which.
        echoes: Makes what comes back to its client.
        limits: Returns how far it may be played now.
    """

    def __init__(
        self,
        connection: RecordedConnection,
        echoes: Callable[[], Echoes],
        limits: Callable[[RecordedConnection], Limits],
    ) -> None:
        self.connection = connection
        self._made_echoes = echoes
        self.sent = 0
        self.read = 0
        self._limits = limits
        self.gates_passed = 0
        unanswered = isinstance(connection.answer, Left)
        self._last_at = self._gate_at = connection.dial.at if unanswered else connection.answer.at
        self.expected = connection.first_sent

    @cached_property
    def echoes(self) -> Echoes:
        """What comes back to its client."""
        return self._made_echoes()

    @cached_property
    def _later(self) -> Iterator[tuple[int, Sent]]:
        """What the client is expected to send after its first message."""
        return islice(self.connection.sent(), 1, None)

    @cached_property
    def _cursor(self) -> _Cursor:
        return _Cursor(self.connection)

    @property
    def event(self) -> Event:
        """What happens next, when its time has come."""
        return self._cursor.event

    @property
    def line(self) -> int:
        """Where that stands in the file."""
        return self._cursor.line

    @property
    def place(self) -> Place:
        """The same, and when it happened."""
        return Place(self.line, self.event.at)

    def due(self) -> Event | None:
        """Return what the server does now, a message or the end; None where it is the client's turn."""
        event = self.coming()
        if event is None:
            return None
        limits = self._limits(self.connection)
        return event if self.line < limits.line and event.at <= limits.at else None

    def coming(self) -> Event | None:
        """Return what the server does next, due or not; None where it is the turn of this connection's client."""
        cursor = self._cursor
        while type(event := cursor.event) is Sent:
            if self.gates_passed == self.sent:
                return None
            self.gates_passed += 1
            self._last_at = self._gate_at = event.at
            cursor.advance()
        return None if isinstance(event, Closed) and event.by in ("client", "test") else event

    def standing(self) -> Standing:
        """Return how far it has been played."""
        self.coming()
        event = self.event
        sends = Place(self.expected[0], self.expected[1].at) if self.expected else None
        return Standing(sends, event.at if isinstance(event, Sent | Received) else None)

    def payload(self, event: Received) -> Payload:
        """Return a message as this client is to get it."""
        return self.echoes.apply(event.payload) if self.echoes else event.payload

    def take(self) -> None:
        """Go on after a delivered message."""
        self._last_at = self.event.at
        self._cursor.advance()

    def take_messages(self, limit: int) -> list[Payload]:
        """Go over the messages that are due, at most ``limit`` of them, and return them.

        No line of another connection stands within a stretch: where its first message is due, all of them are, up
        to the time of a request that has not been asked.
        """
        batch: list[Payload] = []
        while len(batch) < limit and type(self.due()) is Received:
            cursor, latest = self._cursor, self._limits(self.connection).at
            events, index = cursor.events, cursor.index
            stop = min(len(events), index + limit - len(batch))
            while index < stop and type(event := events[index]) is Received and event.at <= latest:
                text = event.text
                batch.append(event.payload if text is None else text)
                index += 1
            self._last_at = events[index - 1].at
            cursor.advance(index - cursor.index)
        return [self.echoes.apply(message) for message in batch] if self.echoes else batch

    def accept(self, message: Payload) -> None:
        """Go on after the expected message was sent, as ``message``."""
        if self.expected is not None:
            self.echoes.learn(self.expected[1].payload, message)
        self.sent += 1
        self.expected = next(self._later, None)

    def gap(self) -> float:
        """Return how long it took, when it was recorded, until the next event; in seconds."""
        return max(0.0, self.event.at - self._last_at)

    def patience(self) -> float:
        """Return how long the client took, when it was recorded, from its last message to what comes next.

        Messages received in between do not count: a replay delivers them faster than they came.
        """
        return max(0.0, self.event.at - self._gate_at)


class _Cursor:
    """Goes over what is recorded of a connection after its answer.

    Attributes:
        events: A stretch of the recording.
        index: Where the next one stands in it.
    """

    def __init__(self, connection: RecordedConnection) -> None:
        self._stretches = connection.stretches()
        self._first_line, self.events = next(self._stretches)
        self.index = 0
        if isinstance(connection.answer, Open):  # any other answer is the end of its connection
            self.advance()

    @property
    def event(self) -> Event:
        """The next one."""
        return self.events[self.index]

    @property
    def line(self) -> int:
        """The line that it stands on."""
        return self._first_line + self.index

    def advance(self, count: int = 1) -> None:
        """Go on by so many, at most to the next stretch."""
        self.index += count
        if self.index >= len(self.events):
            self._first_line, self.events = next(self._stretches)
            self.index = 0
