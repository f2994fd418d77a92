"""One connection of a client, played from a recording."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from ..errors import CassetteMismatch
from ..secrets.redaction import Redactor
from .causality import Order
from .credentials import ANY_HEADERS, HeaderRules
from .events import Answer, Closed, Late, Left, Open, Payload, Received, Sent
from .generated import advice, generated
from .matching import Decode, Difference, differences, fingerprint, nothing
from .places import fixture_of
from .store import Recording
from .track import Track

_NOT_SENT = frozenset({1005, 1006})
"""Close codes that stand for the absence of one."""


@dataclass(frozen=True)
class Rules:
    """How messages are compared and what a test must use up.

    Attributes:
        volatile: Dotted paths whose values differ in every run.
        redactor: Applied to what the client sends before it is compared, as it was when it was recorded.
        strict: Whether received messages after the last sent one must be delivered too.
        again: The command that records the test again, for messages.
        echoed: Dotted paths of volatile members that the server repeats.
        volatile_query: Names of parameters in the URL of a dial whose values differ in every run.
        headers: Which headers of a dial matter.
        decode: Reads binary messages that are no JSON.
    """

    volatile: Collection[str]
    redactor: Redactor
    strict: bool = False
    again: str = ""
    echoed: Collection[str] = ()
    volatile_query: Collection[str] = ()
    headers: HeaderRules = ANY_HEADERS
    decode: Decode = nothing


class Waiting(NamedTuple):
    """What a playback cannot go on without.

    ``closed`` is set when the recorded end is due; otherwise a message of the client is, or, with ``line``
    naming the close, its close.
    """

    closed: Closed | None
    line: int


class Claims(Protocol):
    """Who has which recorded connection: a :class:`~pytest_connex.cassette.player.Player`."""

    recording: Recording
    rules: Rules
    order: Order

    def held_by(self, playback: Playback) -> Track:
        """Return the track that ``playback`` claims, for good or tentatively."""

    def narrow(self, playback: Playback, tracks: list[Track]) -> None:
        """Leave ``playback`` only ``tracks``."""

    def moved(self, playback: Playback) -> None:
        """Note how far ``playback`` is."""

    def fingerprint(self, line: int, payload: Payload) -> Hashable:
        """Return that of a recorded message."""


class Playback:
    """One connection of the client, played from the recording."""

    def __init__(self, player: Claims, tracks: list[Track]) -> None:
        self._player = player
        self.tracks = tracks
        self.answer: Answer
        self._pings = 0
        self.over = False
        self._lates = 0

    @property
    def track(self) -> Track:
        """The recorded connection this playback is, or will be when nothing tells otherwise."""
        with self._player.order.lock:
            return self._player.held_by(self)

    def sent(self, message: Payload) -> None:
        """Take a message of the client.

        Raises:
            CassetteMismatch: The recording expects another one, or none.
        """
        with self._player.order.moving():
            fitting = self._fitting(message)
            if not fitting:
                raise self._mismatch(self.track, message)
            self._player.narrow(self, fitting)
            for track in fitting:
                track.accept(message)
            if len(self.tracks) == 1:
                self.tracks[0].echoes.share()
            self._player.moved(self)

    def deliver(self, limit: int) -> list[Payload]:
        """Return the messages that are due now, at most ``limit``; nothing when it has to wait."""
        with self._player.order.moving():
            batch = self._deliver(limit)
            if batch:
                self._player.moved(self)
        return batch

    def _deliver(self, limit: int) -> list[Payload]:
        batch: list[Payload] = []
        while len(self.tracks) > 1 and len(batch) < limit:
            first = self._player.held_by(self)
            event = first.due()
            if event is None:
                return batch
            if not isinstance(event, Received):
                self._player.narrow(self, [first])
                break
            message = first.payload(event)
            alike = [track for track in self.tracks if track is first or self._comes(track, message)]
            self._player.narrow(self, alike)
            batch.append(message)
            for track in alike:
                track.take()
        if len(self.tracks) == 1:
            batch += self.tracks[0].take_messages(limit - len(batch))
        return batch

    @staticmethod
    def _comes(track: Track, message: Payload) -> bool:
        """Tell whether the same message comes next on a track."""
        event = track.coming()
        return isinstance(event, Received) and track.payload(event) == message

    def waiting(self) -> Waiting:
        """Say what has to happen next, after :meth:`deliver` returned nothing."""
        track = self.track
        event = track.due()
        return Waiting(event if isinstance(event, Closed) else None, track.line)

    @property
    def is_played_out(self) -> bool:
        """Whether nothing is left but the end, and nothing but the client's own doing keeps that back."""
        track = self.track
        due = track.due()
        if not isinstance(track.connection.answer, Open):
            return True
        event = track.event
        return isinstance(event, Closed) and (due is event or event.by in ("client", "test"))

    def gap(self) -> float:
        """Return how long it took, when it was recorded, from the last event to the next one; in seconds."""
        track = self.track
        track.due()
        return track.gap()

    def patience(self) -> float:
        """Return how long the client took, when it was recorded, from its last message to what comes next."""
        return self.track.patience()

    @property
    def strict(self) -> bool:
        """Whether the test must use up everything, and may send nothing more."""
        return self._player.rules.strict

    @property
    def counts_reads(self) -> bool:
        """Whether it matters what the client has read: in a strict test, and where any test may go on with it."""
        return self.strict or fixture_of(self._player.recording.path) is not None

    def read(self) -> None:
        """The client has read a message."""
        for track in self.tracks:
            track.read += 1

    def closed(self, code: int) -> CassetteMismatch | None:
        """Take the end of the connection; return what is wrong with the close code of the client, if anything is.

        Only codes that travelled are compared, and only where the recording has a close of the client.
        """
        with self._player.order.moving():
            self.over = True
            self._player.moved(self)
        connection = self.track.connection
        recorded = connection.closing
        if recorded is None or recorded.by != "client" or {code, recorded.code} & _NOT_SENT or code == recorded.code:
            return None
        return CassetteMismatch(
            f"the client closed connection {connection.number} with {code}, expected {recorded.code}\n"
            f"{self._player.rules.again}",
            self._player.recording.path,
            connection.last_line,
        )

    def late(self, message: Payload) -> CassetteMismatch | None:
        """Return what is wrong with a message that a strict test sends after the recorded close of the server."""
        connection = self.track.connection
        if self._lates < len(connection.late):
            expected = connection.late[self._lates]
            self._lates += 1
            if not self._differences(expected, message):
                return None
        return self._mismatch(self.track, message)

    def pinged(self) -> bool:
        """Take a ping of the client, and tell whether the server answers it.

        It does as often as it did, and, to a client that sends more of them, for as long as it did.
        """
        track = self.track
        closing = track.connection.closing
        if closing is None or closing.no_pong_since is None:
            return True
        self._pings += 1
        track.due()
        return self._pings <= closing.pongs or track.event.at < closing.no_pong_since

    @property
    def ends_with_test(self) -> bool:
        """Whether nothing more is said before the test is over, after which the connection goes on."""
        return (end := self.end) is not None and end.by == "test"

    @property
    def end(self) -> Closed | None:
        """The recorded end, where it is what comes next."""
        track = self.track
        track.due()
        return track.event if isinstance(track.event, Closed) else None

    @property
    def blocked(self) -> bool:
        """Whether nothing is due before the client sends or closes."""
        return self.track.due() is None

    def expectation(self) -> str:
        """Say what the recording waits for, for a message."""
        track = self.track
        if track.coming() is not None:
            awaited = self._player.order.awaited_by(track.connection, track.place)
            if awaited:
                return awaited
        if isinstance(track.event, Left):
            return "the client gives up its dial"
        if track.expected is None:
            return "the client closes the connection"
        return f"the client sends {track.expected[1].payload!r}"

    @property
    def gates_passed(self) -> int:
        """How many messages of the client have had their turn in the order of the recording."""
        return self.track.gates_passed

    def _fitting(self, message: Payload) -> list[Track]:
        """Return the tracks on which ``message`` is the one that is expected, as it is or redacted."""
        if len(self.tracks) == 1:
            expected = self.tracks[0].expected
            return self.tracks if expected and not self._differences(expected[1], message) else []
        rules = self._player.rules
        forms = message, rules.redactor.payload(message)
        actual = {fingerprint(form, rules.volatile, rules.decode) for form in forms}
        return [
            track
            for track in self.tracks
            if track.expected and self._player.fingerprint(track.expected[0], track.expected[1].payload) in actual
        ]

    def _differences(self, expected: Sent | Late, message: Payload) -> list[Difference]:
        rules = self._player.rules
        if not differences(expected.payload, message, rules.volatile, rules.decode):
            return []
        redacted = rules.redactor.payload(message)
        return differences(expected.payload, redacted, rules.volatile, rules.decode)

    def _mismatch(self, track: Track, message: Payload) -> CassetteMismatch:
        path, rules = self._player.recording.path, self._player.rules
        actual = rules.redactor.payload(message)
        if track.expected is None:
            return CassetteMismatch(
                f"the client sent a message on connection {track.connection.number}, "
                f"where nothing more is recorded as sent\n  actual: {actual!r}\n{rules.again}",
                path,
                track.line,
            )
        line, expected = track.expected
        found = self._differences(expected, message)
        listing = "".join(f"\n  {one}" for one in found)
        hint = advice(generated(found), "@pytest.mark.connex(volatile=[{}])\n")
        return CassetteMismatch(
            "the client sent another message than the recording expects\n"
            f"  expected: {expected.payload!r}\n  actual:   {actual!r}{listing}\n{hint}{rules.again}",
            path,
            line,
        )
