"""Playing a WebSocket recording: which recorded connection a dial becomes, and what may be delivered when.

A sans-I/O core, which several threads may use at once. :meth:`Player.dial` answers a dial with a
:class:`Playback`; its owner hands every message of the client to :meth:`Playback.sent` and, after it, writes what
:meth:`Playback.deliver` returns. When that is nothing, :meth:`Playback.waiting` says what has to happen next.

*Claim.* Several recorded connections may fit one dial. A playback follows all of them for as long as they
agree, and becomes one of them at the first message that tells them apart; where nothing does, the one that
was dialled first. A tentative claim is held all the while, so that two playbacks never end on one recording.

*Causality.* What the server does is due once everything that the client did before it has happened (see
:mod:`~pytest_connex.cassette.causality`).

*Echoes.* What the client made up anew and the server repeated is delivered with the new value.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator
from typing import TypeAlias
from urllib.parse import urlsplit

from ..errors import CassetteMismatch, CassetteUnplayed
from .causality import Order
from .echoes import Distinctive, Echoes
from .events import Answer, Open, Payload, fields
from .exchange import Fields
from .generated import advice, generated
from .matching import fingerprint
from .parameters import Parameters, different, made_up, parameters
from .playback import Playback, Rules
from .store import RecordedConnection, Recording
from .track import Track

_Target: TypeAlias = tuple[str, str, Parameters]
"""Host, path, and what the query says."""

__all__ = ["Playback", "Player", "Rules"]


class Player:
    """Plays one recording to the connections of one test.

    Args:
        recording: What is played.
        rules: How messages are compared.
        order: Of the whole tape, where HTTP is on it, too.
        tape: What the client has made up on the whole tape.
    """

    def __init__(
        self, recording: Recording, rules: Rules, order: Order | None = None, tape: Distinctive | None = None
    ) -> None:
        self.recording = recording
        self.rules = rules
        self._holders: dict[int, tuple[Playback, Track]] = {}
        self._claims: dict[Playback, Track] = {}
        self.order = order or Order(recording)
        self._tape = Distinctive() if tape is None else tape
        self._echoes, self._limits = self._made_echoes, self.order.limits  # made once, for each of many tracks
        self._fingerprints: dict[int, Hashable] = {}
        self._targets: dict[int, _Target] = {}

    def dial(self, url: str, subprotocols: Collection[str] = (), headers: Iterable[tuple[str, str]] = ()) -> Playback:
        """Answer a dial of ``url``, with the host that recordings carry.

        Args:
            url: That.
            subprotocols: What the client offers.
            headers: Those that the client adds to the handshake.

        Raises:
            CassetteMismatch: No recorded connection is left that fits.
        """
        with self.order.moving():
            shown = [(name, self.rules.redactor.header(name, value)) for name, value in headers]
            return self._dial(url, list(subprotocols), shown)

    def _dial(self, url: str, offered: list[str], headers: Fields) -> Playback:
        settled = self._settled()
        targets = {self._target(url), self._target(self.rules.redactor.text(url))}
        fitting = [
            connection
            for connection in self.recording.connections
            if connection.number not in settled
            and not connection.dial.of
            and self._recorded_target(connection) in targets
            and connection.dial.subprotocols == offered
        ]
        candidates = list(map(self._track, self._with_headers(fitting, headers)))
        playback = Playback(self, candidates)
        if not self._place(playback, set()):
            raise self._no_candidate(url, offered, self._lacking(fitting, headers))
        chosen = playback.track.connection.answer
        same = [track for track in candidates if _same_answer(track.connection.answer, chosen)]
        self.narrow(playback, same)
        self._learn(playback, url)
        playback.answer = chosen
        return playback

    def join(self, fixture: str, number: int) -> Playback | None:
        """Go on with a connection that a shared fixture has opened; None where nothing is recorded of it here.

        Args:
            fixture: Whose recording has its beginning.
            number: Its number there.
        """
        with self.order.moving():
            for connection in self.recording.connections:
                if (connection.dial.of, connection.dial.number) == (fixture, number):
                    playback = Playback(self, [self._track(connection)])
                    if self._place(playback, set()):
                        playback.answer = connection.answer
                        return playback
        return None

    def moved(self, playback: Playback) -> None:
        """Note how far ``playback`` is."""
        self._note(self.held_by(playback).connection.number)

    def fingerprint(self, line: int, payload: Payload) -> Hashable:
        """Return that of a recorded message; kept, because every connection that has a choice asks for it."""
        if line not in self._fingerprints:
            self._fingerprints[line] = fingerprint(payload, self.rules.volatile, self.rules.decode)
        return self._fingerprints[line]

    def held_by(self, playback: Playback) -> Track:
        """Return the track that ``playback`` claims, for good or tentatively."""
        return self._claims[playback]

    def narrow(self, playback: Playback, tracks: list[Track]) -> None:
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

    def _with_headers(self, fitting: list[RecordedConnection], headers: Fields) -> list[RecordedConnection]:
        """Return those that were dialled with these headers; where there are none, those with some of them."""
        rules = self.rules.headers
        if not rules.same and not headers and not any(connection.dial.headers for connection in fitting):
            return fitting
        recorded = [(connection, list(fields(connection.dial.headers))) for connection in fitting]
        equal = [connection for connection, known in recorded if rules.are_equal(known, headers)]
        return equal or [connection for connection, known in recorded if not rules.misses(known, headers)]

    def _lacking(self, fitting: list[RecordedConnection], headers: Fields) -> str:
        """Say which headers a dial lacks that fits else."""
        for connection in fitting:
            if misses := self.rules.headers.misses(list(fields(connection.dial.headers)), headers):
                return "".join(f"\n  headers: {miss}" for miss in misses)
        return ""

    def _track(self, connection: RecordedConnection) -> Track:
        return Track(connection, self._echoes, self._limits)

    def _made_echoes(self) -> Echoes:
        return Echoes(self.rules.echoed, self._tape, self.rules.decode)

    def _learn(self, playback: Playback, url: str) -> None:
        """Remember what a dial has in the place of recorded values, for whichever of its connections it is."""
        actual = urlsplit(url).query
        if not any(name in self.rules.echoed for name, _ in parameters(actual)):
            return
        for track in playback.tracks:
            recorded = urlsplit(track.connection.dial.url).query
            track.echoes.note(made_up(recorded, actual, self.rules.echoed))
        if len(playback.tracks) == 1:
            playback.tracks[0].echoes.share()

    def _recorded_target(self, connection: RecordedConnection) -> _Target:
        """Return what was dialled; kept, because every dial is compared with all that are left."""
        if connection.number not in self._targets:
            self._targets[connection.number] = self._target(connection.dial.url)
        return self._targets[connection.number]

    def _target(self, url: str) -> _Target:
        parts = urlsplit(url)
        return parts.netloc, parts.path or "/", parameters(parts.query, self.rules.volatile_query)

    def _hint(self, url: str) -> str:
        """Say what differs from a recorded dial in the query alone, and what to do where that looks made up."""
        *place, actual = self._target(self.rules.redactor.text(url))
        settled = self._settled()
        for connection in self.recording.connections:
            *recorded, expected = self._recorded_target(connection)
            if connection.number not in settled and recorded == place and expected != actual:
                found = different(expected, actual)
                lines = [f"  query: {one}" for one in found]
                cure = advice(generated(found), "@pytest.mark.connex(volatile=[{}])")
                return "".join(f"\n{line}" for line in (*lines, cure) if line)
        return ""

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

    def _hold(self, playback: Playback, track: Track) -> None:
        self._holders[track.connection.number] = (playback, track)
        self._claims[playback] = track
        self._note(track.connection.number)

    def _release(self, number: int) -> None:
        del self._holders[number]
        self._note(number)

    def _note(self, number: int) -> None:
        """Tell the order how far a connection is: as far as whoever claims it."""
        connection = self.recording.connections[number - 1]
        holder, track = self._holders.get(number, (None, None))
        if holder is None or track is None:
            self.order.begin(connection)
        elif holder.over:
            self.order.leave(connection)
        else:
            self.order.stand(connection, track.standing())

    def _no_candidate(self, url: str, subprotocols: list[str], lacking: str) -> CassetteMismatch:
        recorded = "".join(
            f"\n  line {connection.line}: {connection.dial.url} {connection.dial.subprotocols or ''}"
            for connection in self.recording.connections[:10]
        )
        return CassetteMismatch(
            f"no recorded connection is left for {self.rules.redactor.text(url)} {subprotocols or ''}\n"
            f"recorded are:{recorded or ' none'}{lacking or self._hint(url)}\n{self.rules.again}",
            self.recording.path,
            self.recording.connections[-1].line if self.recording.connections else 1,
        )


def _same_answer(left: Answer, right: Answer) -> bool:
    if not isinstance(left, Open) or not isinstance(right, Open):
        return left is right
    return (left.subprotocol, left.headers) == (right.subprotocol, right.headers)
