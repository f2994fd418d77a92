"""Playing a WebSocket recording: which recorded connection a dial becomes, and what may be delivered when.

A sans-I/O core, which several threads may use at once. :meth:`Player.dial` answers a dial with a
:class:`Playback`; its owner hands every message of the client to :meth:`Playback.sent` and, after it, writes what
:meth:`Playback.deliver` returns. When that is nothing, :meth:`Playback.waiting` says what has to happen next.

*Claim.* Several recorded connections may fit one dial. A playback follows all of them for as long as they
agree, and becomes one of them at the first message that tells them apart; where nothing does, the one that
was dialled first. A tentative claim is held all the while, so that two playbacks never end on one recording.

*Causality.* A received message is due once every message recorded as sent before it has been sent, on its own
connection and on those that were open at the same time: a fill on one never precedes its order on another.

*Echoes.* What the client made up anew and the server repeated is delivered with the new value.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Collection, Hashable, Iterator
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

from ..errors import CassetteMismatch, CassetteUnplayed
from ..secrets.redaction import Redactor
from .causality import Awaited, Expectations
from .echoes import Echoes
from .events import Answer, Closed, Event, Left, Open, Payload, Received, Sent
from .generated import advice, generated
from .matching import Difference, differences, fingerprint
from .store import RecordedConnection, Recording


@dataclass(frozen=True)
class Rules:
    """How messages are compared and what a test must use up.

    Attributes:
        volatile: Dotted paths whose values differ in every run.
        redactor: Applied to what the client sends before it is compared, as it was when it was recorded.
        strict: Whether received messages after the last sent one must be delivered too.
        again: The command that records the test again, for messages.
        echoed: Dotted paths of volatile members that the server repeats.
    """

    volatile: Collection[str]
    redactor: Redactor
    strict: bool = False
    again: str = ""
    echoed: Collection[str] = ()


_NOT_SENT = frozenset({1005, 1006})
"""Close codes that stand for the absence of one."""

_NO_BARRIER = sys.maxsize


class Waiting(NamedTuple):
    """What a playback cannot go on without.

    ``closed`` is set when the recorded end is due; otherwise a message of the client is, or, with ``line``
    naming the close, its close.
    """

    closed: Closed | None
    line: int


class _Track:
    """Two cursors on one recorded connection: what is due, and what the client is expected to send."""

    def __init__(self, connection: RecordedConnection, echoes: Echoes, barrier: Callable[[_Track], int]) -> None:
        self.connection = connection
        self.echoes = echoes
        self.sent = 0
        self.read = 0
        self._barrier = barrier
        self.gates_passed = 0
        self._stretches = connection.stretches()
        self._events: list[Event] = []
        self._index = 0
        self._first_line = 0
        self._expected = connection.sent()
        unanswered = isinstance(connection.answer, Left)
        self._last_at = self._gate_at = connection.dial.at if unanswered else connection.answer.at
        self.expected = next(self._expected, None)
        self._advance()
        if isinstance(connection.answer, Open):  # any other answer is the end of its connection
            self._advance()

    @property
    def event(self) -> Event:
        """What happens next, when its time has come."""
        return self._events[self._index]

    @property
    def line(self) -> int:
        """Where that stands in the file."""
        return self._first_line + self._index

    def due(self) -> Event | None:
        """Return what the server does now, a message or the end; None where it is the client's turn."""
        while type(event := self._events[self._index]) is Sent:
            if self.gates_passed == self.sent:
                return None
            self.gates_passed += 1
            self._last_at = self._gate_at = event.at
            self._advance()
        if isinstance(event, Closed) and event.by == "client":
            return None
        return event if self.line < self._barrier(self) else None

    def payload(self, event: Received) -> Payload:
        """Return a message as this client is to get it."""
        return self.echoes.apply(event.payload) if self.echoes else event.payload

    def take(self) -> None:
        """Go on after a delivered message."""
        self._last_at = self.event.at
        self._advance()

    def take_messages(self, limit: int) -> list[Payload]:
        """Go over the messages that are due, at most ``limit`` of them, and return them.

        No line of another connection stands within a stretch: where its first message is due, all of them are.
        """
        batch: list[Payload] = []
        while len(batch) < limit and type(self.due()) is Received:
            events, index = self._events, self._index
            stop = min(len(events), index + limit - len(batch))
            while index < stop and type(event := events[index]) is Received:
                text = event.text
                batch.append(event.payload if text is None else text)
                index += 1
            self._last_at = events[index - 1].at
            self._index = index - 1
            self._advance()
        return [self.echoes.apply(message) for message in batch] if self.echoes else batch

    def accept(self, message: Payload) -> None:
        """Go on after the expected message was sent, as ``message``."""
        if self.expected is not None:
            self.echoes.learn(self.expected[1].payload, message)
        self.sent += 1
        self.expected = next(self._expected, None)

    def gap(self) -> float:
        """Return how long it took, when it was recorded, until the next event; in seconds."""
        return max(0.0, self.event.at - self._last_at)

    def patience(self) -> float:
        """Return how long the client took, when it was recorded, from its last message to what comes next.

        Messages received in between do not count: a replay delivers them faster than they came.
        """
        return max(0.0, self.event.at - self._gate_at)

    def _advance(self) -> None:
        self._index += 1
        if self._index >= len(self._events):
            self._first_line, self._events = next(self._stretches)
            self._index = 0


class Playback:
    """One connection of the client, played from the recording."""

    def __init__(self, player: Player, tracks: list[_Track]) -> None:
        self._player = player
        self.tracks = tracks
        self.answer: Answer
        self._pings = 0

    @property
    def track(self) -> _Track:
        """The recorded connection this playback is, or will be when nothing tells otherwise."""
        with self._player.lock:
            return self._player.held_by(self)

    def sent(self, message: Payload) -> None:
        """Take a message of the client.

        Raises:
            CassetteMismatch: The recording expects another one, or none.
        """
        with self._player.lock:
            fitting = self._fitting(message)
            if not fitting:
                raise self._mismatch(self.track, message)
            self._player.narrow(self, fitting)
            for track in fitting:
                track.accept(message)
                self._player.accepted(track)

    def deliver(self, limit: int) -> list[Payload]:
        """Return the messages that are due now, at most ``limit``; nothing when it has to wait."""
        with self._player.lock:
            return self._deliver(limit)

    def _deliver(self, limit: int) -> list[Payload]:
        batch: list[Payload] = []
        while len(self.tracks) > 1 and len(batch) < limit:
            if not self._agree():
                self._player.narrow(self, [self.track])
                break
            first = self.tracks[0]
            event = first.due()
            if not isinstance(event, Received):
                return batch
            batch.append(first.payload(event))
            for track in self.tracks:
                track.take()
        if len(self.tracks) == 1:
            batch += self.tracks[0].take_messages(limit - len(batch))
        return batch

    def waiting(self) -> Waiting:
        """Say what has to happen next, after :meth:`deliver` returned nothing."""
        track = self.track
        event = track.due()
        return Waiting(event if isinstance(event, Closed) else None, track.line)

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

    def read(self) -> None:
        """The client has read a message."""
        for track in self.tracks:
            track.read += 1

    def closed(self, code: int) -> CassetteMismatch | None:
        """Return what is wrong with the close code of the client, if anything is.

        Only codes that travelled are compared, and only where the recording has a close of the client.
        """
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
    def end(self) -> Closed | None:
        """The recorded end, where it is what comes next."""
        track = self.track
        track.due()
        return track.event if isinstance(track.event, Closed) else None

    def late(self, message: Payload) -> CassetteMismatch:
        """Return the verdict on a message that a strict test sends after the recorded close of the server."""
        return self._mismatch(self.track, message)

    @property
    def blocked(self) -> bool:
        """Whether nothing is due before the client sends or closes."""
        return self.track.due() is None

    def expectation(self) -> str:
        """Say what the recording waits for, for a message."""
        awaited = self._player.awaited(self.track)
        if awaited is not None and self.track.line >= awaited.line:
            return f"the client sends on connection {awaited.connection.number} what it sends on line {awaited.line}"
        if self.track.expected is None:
            return "the client closes the connection"
        return f"the client sends {self.track.expected[1].payload!r}"

    @property
    def gates_passed(self) -> int:
        """How many messages of the client have had their turn in the order of the recording."""
        return self.track.gates_passed

    def _fitting(self, message: Payload) -> list[_Track]:
        """Return the tracks on which ``message`` is the one that is expected, as it is or redacted."""
        if len(self.tracks) == 1:
            expected = self.tracks[0].expected
            return self.tracks if expected and not self._differences(expected[1], message) else []
        rules = self._player.rules
        actual = {fingerprint(form, rules.volatile) for form in (message, rules.redactor.payload(message))}
        return [
            track
            for track in self.tracks
            if track.expected and self._player.fingerprint(track.expected[0], track.expected[1].payload) in actual
        ]

    def _differences(self, expected: Sent, message: Payload) -> list[Difference]:
        rules = self._player.rules
        if not differences(expected.payload, message, rules.volatile):
            return []
        redacted = rules.redactor.payload(message)
        return differences(expected.payload, redacted, rules.volatile)

    def _agree(self) -> bool:
        """Tell whether the next thing to happen is the same on every track that still fits."""
        dues = [(track, track.due()) for track in self.tracks]
        if all(due is None for _, due in dues):
            return True
        messages = [track.payload(due) for track, due in dues if isinstance(due, Received)]
        return len(messages) == len(dues) and all(message == messages[0] for message in messages[1:])

    def _mismatch(self, track: _Track, message: Payload) -> CassetteMismatch:
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


class Player:
    """Plays one recording to the connections of one test."""

    def __init__(self, recording: Recording, rules: Rules) -> None:
        self.recording = recording
        self.rules = rules
        self._holders: dict[int, tuple[Playback, _Track]] = {}
        self._expectations = Expectations(recording.connections)
        self._fingerprints: dict[int, Hashable] = {}
        self._alone = len(recording.connections) < 2
        self.lock = threading.RLock()

    def dial(self, url: str, subprotocols: Collection[str] = ()) -> Playback:
        """Answer a dial of ``url``, with the host that recordings carry.

        Raises:
            CassetteMismatch: No recorded connection is left that fits.
        """
        with self.lock:
            return self._dial(url, list(subprotocols))

    def _dial(self, url: str, offered: list[str]) -> Playback:
        settled = self._settled()
        candidates = [
            _Track(connection, Echoes(self.rules.echoed), self.barrier)
            for connection in self.recording.connections
            if connection.number not in settled
            and _target(connection.dial.url) == _target(url)
            and connection.dial.subprotocols == offered
        ]
        playback = Playback(self, candidates)
        if not self._place(playback, set()):
            raise self._no_candidate(url, offered)
        chosen = playback.track.connection.answer
        same = [track for track in candidates if _same_answer(track.connection.answer, chosen)]
        self.narrow(playback, same)
        playback.answer = chosen
        return playback

    def barrier(self, track: _Track) -> int:
        """Return the line beyond which ``track`` waits for a message that another connection has to send."""
        if self._alone:
            return _NO_BARRIER
        awaited = self._expectations.before(track.connection)
        return _NO_BARRIER if awaited is None else awaited.line

    def awaited(self, track: _Track) -> Awaited | None:
        """Return that line, and the connection, if there is one."""
        return self._expectations.before(track.connection)

    def accepted(self, track: _Track) -> None:
        """Go on after ``track`` has accepted a message."""
        if self._holders.get(track.connection.number, (None, None))[1] is track:
            self._expect(track.connection.number)

    def fingerprint(self, line: int, payload: Payload) -> Hashable:
        """Return that of a recorded message; kept, because every connection that has a choice asks for it."""
        if line not in self._fingerprints:
            self._fingerprints[line] = fingerprint(payload, self.rules.volatile)
        return self._fingerprints[line]

    def held_by(self, playback: Playback) -> _Track:
        """Return the track that ``playback`` claims, for good or tentatively."""
        return next(track for holder, track in self._holders.values() if holder is playback)

    def narrow(self, playback: Playback, tracks: list[_Track]) -> None:
        """Leave ``playback`` only ``tracks``, moving its claim when it is not among them."""
        playback.tracks = tracks
        held = self.held_by(playback)
        if held in tracks:
            return
        self._release(held.connection.number)
        if not self._place(playback, set()):
            self._hold(playback, held)
            raise CassetteMismatch(
                f"two connections of the test are the recorded connection {tracks[0].connection.number}\n"
                f"{self.rules.again}",
                self.recording.path,
                tracks[0].connection.line,
            )

    def unplayed(self) -> CassetteUnplayed | None:
        """Return what of the recording the test has not used, or None when it used it up."""
        found = list(self._unplayed())
        if not found:
            return None
        listing = "".join(f"\n  line {line}: {what}" for line, what in found)
        return CassetteUnplayed(
            f"the test left a part of its recording unused:{listing}\n{self.rules.again}",
            self.recording.path,
            found[0][0],
        )

    def _unplayed(self) -> Iterator[tuple[int, str]]:
        for connection in self.recording.connections:
            if connection.number not in self._holders:
                yield connection.line, f"connection {connection.number} was never opened"
                continue
            _, track = self._holders[connection.number]
            if track.expected is not None:
                line, event = track.expected
                yield line, f"never sent: {event.payload!r}"
            elif self.rules.strict and track.read < connection.received_count:
                left = connection.received_count - track.read
                yield (
                    connection.last_line,
                    f"{left} received messages were never read on connection {connection.number}",
                )

    def _settled(self) -> set[int]:
        return {number for number, (holder, _) in self._holders.items() if len(holder.tracks) == 1}

    def _place(self, playback: Playback, seen: set[int]) -> bool:
        """Find a claim for ``playback``, moving those of others that have a choice."""
        for track in playback.tracks:
            if track.connection.number not in self._holders:
                self._hold(playback, track)
                return True
        for track in playback.tracks:
            number = track.connection.number
            if number in seen:
                continue
            seen.add(number)
            holder, _ = self._holders[number]
            if self._place(holder, seen):
                self._hold(playback, track)
                return True
        return False

    def _hold(self, playback: Playback, track: _Track) -> None:
        self._holders[track.connection.number] = (playback, track)
        self._expect(track.connection.number)

    def _release(self, number: int) -> None:
        del self._holders[number]
        self._expect(number)

    def _expect(self, number: int) -> None:
        """Note what has to be sent next on a connection: by who holds it, or from its beginning."""
        connection = self.recording.connections[number - 1]
        _, track = self._holders.get(number, (None, None))
        line = connection.first_sent.line if connection.first_sent else None
        if track is not None:
            line = track.expected[0] if track.expected else None
        self._expectations.expect(connection, line)

    def _no_candidate(self, url: str, subprotocols: list[str]) -> CassetteMismatch:
        recorded = "".join(
            f"\n  line {connection.line}: {connection.dial.url} {connection.dial.subprotocols or ''}"
            for connection in self.recording.connections[:10]
        )
        return CassetteMismatch(
            f"no recorded connection is left for {self.rules.redactor.text(url)} {subprotocols or ''}\n"
            f"recorded are:{recorded or ' none'}\n{self.rules.again}",
            self.recording.path,
            self.recording.connections[-1].line if self.recording.connections else 1,
        )


def _target(url: str) -> tuple[str, str, str]:
    parts = urlsplit(url)
    return parts.netloc, parts.path or "/", parts.query


def _same_answer(left: Answer, right: Answer) -> bool:
    if not isinstance(left, Open) or not isinstance(right, Open):
        return left is right
    return (left.subprotocol, left.headers) == (right.subprotocol, right.headers)
