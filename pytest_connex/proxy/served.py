"""What the clients of one test are given: its recording, or the servers behind it while it is recorded.

A connection that a shared fixture has opened goes on while tests come and go: what passes on it while a test runs is
on the tape of that test.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, assert_never

from ..cassette.player import Playback
from ..cassette.session import CassetteSession
from ..errors import CassetteError
from .endpoint import Behaviour
from .relay import Between, Relay, RelayDialler, Unrecorded
from .replay import Replay, ReplayDialler, Verdict

Whose = Callable[[], CassetteSession | None]


class Served:
    """The WebSocket connections of one test or fixture; every method is called on the loop that serves them.

    Args:
        session: Its recordings.
        owner: Returns whose recordings count at the moment.
    """

    def __init__(self, session: CassetteSession, owner: Whose) -> None:
        self._session = session
        self._owner = owner
        self._dialler: RelayDialler | ReplayDialler | None = None
        self._connections: list[_Connection] = []

    def dial(self, url: str, dial: dict[str, Any]) -> Behaviour:
        """Answer a dial.

        Args:
            url: What is dialled, with the host of the server.
            dial: The keyword arguments of ``websockets.connect``.
        """
        behaviour = self._answer(url, dial)
        number = len(self._connections) + 1
        self._connections.append(_Connection(url, number, behaviour, self._session, self._owner))
        return behaviour

    def has(self, behaviour: Behaviour) -> bool:
        """Tell whether a connection is one of these."""
        return any(connection.behaviour is behaviour for connection in self._connections)

    def turn(self, before: CassetteSession | None, after: CassetteSession | None) -> None:
        """Have what is on the tape of ``before``, or for None on that of nobody, be on that of ``after``."""
        for connection in self._connections:
            if connection.tape is before:
                connection.turn_to(after)

    def part(self, session: CassetteSession) -> None:
        """Have nothing more be on the tape of ``session``, which is complete."""
        for connection in self._connections:
            connection.part(session)

    def take_back(self) -> None:
        """Have all connections be on the tape of whoever dialled them."""
        for connection in self._connections:
            connection.turn_to(self._session)

    async def stop(self) -> None:
        """Give up the connections to servers."""
        if isinstance(self._dialler, RelayDialler):
            await self._dialler.stop_here()

    def _answer(self, url: str, dial: dict[str, Any]) -> Behaviour:
        if self._session.verdict is not None:
            return Verdict(self._session.verdict)
        try:
            if self._dialler is None:
                self._dialler = self._made_dialler()
            return self._dialler.behaviour(url, dial)
        except CassetteError as exc:
            self._session.fail(exc)
            return Verdict(exc)

    def _made_dialler(self) -> RelayDialler | ReplayDialler:
        session, plan = self._session, self._session.plan
        match plan.action:
            case "replay":
                return ReplayDialler(session.player(), plan.replay_timeout, session.fail, plan.pace)
            case "record":
                return RelayDialler(session.recorder(), now=session.clock.now)
            case "pass":
                return RelayDialler(Unrecorded())
            case _:
                assert_never(plan.action)


class _Connection:
    """One connection, and on whose tape it is.

    Args:
        url: What was dialled.
        number: Its number among those of whoever dialled it.
        behaviour: What answers it.
        own: The recordings of whoever dialled it.
        owner: Returns whose recordings count at the moment.

    Attributes:
        tape: The recordings that have what passes at the moment; None where nobody uses it.
    """

    def __init__(self, url: str, number: int, behaviour: Behaviour, own: CassetteSession, owner: Whose) -> None:
        self.behaviour = behaviour
        self.tape: CassetteSession | None = own
        self._url = url
        self._number = number
        self._own = own
        self._owner = owner
        self._playback = behaviour.playback if isinstance(behaviour, Replay) else None
        self._tapes: dict[CassetteSession, _Tape] = {}
        self._playbacks: dict[CassetteSession, Playback | None] = {}

    def turn_to(self, session: CassetteSession | None) -> None:
        """Be on the tape of ``session``; for None, on that of whoever uses it next."""
        if session is self.tape:
            return
        self.tape = session
        if isinstance(self.behaviour, Relay) and self.behaviour.is_open:
            self._record(self.behaviour, session)
        elif isinstance(self.behaviour, Replay) and self.behaviour.is_open:
            self._play(self.behaviour, session)

    def part(self, session: CassetteSession) -> None:
        """Be on the tape of ``session`` no longer, nor ever again."""
        if self.tape is session:
            self.turn_to(None)
        self._playbacks.pop(session, None)
        if (tape := self._tapes.pop(session, None)) is not None:
            tape.end()

    def _used(self) -> None:
        """The client has sent something, while nobody was known to use the connection."""
        self.turn_to(self._owner())

    def _record(self, relay: Relay, session: CassetteSession | None) -> None:
        if session is None:
            relay.turn_to(Between(self._used), 0)
        elif session.plan.action != "record":
            relay.turn_to(Unrecorded(), 0)
        elif session is self._own:
            relay.turn_to(session.recorder(), self._number)
        else:
            if session not in self._tapes:
                self._tapes[session] = _Tape(session, self._url, self._own.plan.stem.name, self._number)
            relay.turn_to(self._tapes[session], 0)

    def _play(self, replay: Replay, session: CassetteSession | None) -> None:
        if session is self._own:
            replay.turn_to(self._playback, session.fail)
        elif session is None:
            replay.turn_to(None, self._own.fail, self._used)
        elif session.plan.action != "replay" or not session.has_websockets:
            replay.turn_to(None, session.fail)
        else:
            if session not in self._playbacks:
                self._playbacks[session] = self._joined(session, replay)
            replay.turn_to(self._playbacks[session], session.fail)

    def _joined(self, session: CassetteSession, replay: Replay) -> Playback | None:
        number = self._playback.track.connection.number if self._playback else self._number
        player = session.player()
        player.order.listen(replay.nudge_soon)
        return player.join(self._own.plan.stem.name, number)


class _Tape:
    """What a test, or another fixture, records of a connection that a shared fixture has dialled.

    It begins with the first that passes, so that a connection which was only open has no part in the recording.

    Args:
        session: The recordings of the test.
        url: What was dialled.
        fixture: Whose recording has the beginning of the connection.
        number: Its number there.
    """

    def __init__(self, session: CassetteSession, url: str, fixture: str, number: int) -> None:
        self._session = session
        self._beginning = url, fixture, number
        self._conn: int | None = None

    def __getattr__(self, name: str) -> Any:
        def tell(conn: int, now: float, *args: Any, **kwargs: Any) -> None:
            recorder = self._session.recorder()
            if self._conn is None:
                self._conn = recorder.joined(now, *self._beginning)
            getattr(recorder, name)(self._conn, now, *args, **kwargs)

        return tell

    def end(self) -> None:
        """Note that nothing more of it is recorded here."""
        if self._conn is not None:
            self._session.recorder().parted(self._conn, self._session.clock.now())
