"""What the clients of one test are given: its recording, or the servers behind it while it is recorded.

A connection that a shared fixture has opened goes on while tests come and go: what passes on it while a test runs is
on the tape of that test.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, assert_never

from ..cassette.session import CassetteSession
from ..errors import CassetteError
from .endpoint import Behaviour
from .relay import Between, Relay, RelayDialler, Unrecorded
from .replay import Replay, ReplayDialler, Verdict


class Served:
    """The WebSocket connections of one test or fixture; every method is called on the loop that serves them.

    Args:
        session: Its recordings.
    """

    def __init__(self, session: CassetteSession) -> None:
        self.session = session
        self._dialler: RelayDialler | ReplayDialler | None = None
        self._connections: list[_Connection] = []

    def dial(self, url: str, dial: dict[str, Any]) -> Behaviour:
        """Answer a dial.

        Args:
            url: What is dialled, with the host of the server.
            dial: The keyword arguments of ``websockets.connect``.
        """
        behaviour = self._answer(url, dial)
        self._connections.append(_Connection(url, len(self._connections) + 1, behaviour))
        return behaviour

    def has(self, behaviour: Behaviour) -> bool:
        """Tell whether a connection is one of these."""
        return any(connection.behaviour is behaviour for connection in self._connections)

    def turn_to(self, session: CassetteSession | None) -> None:
        """Have what passes from now on be on the tape of ``session``; for None, on that of whoever comes next."""
        for connection in self._connections:
            connection.turn_to(session, self.session)

    async def stop(self) -> None:
        """Give up the connections to servers."""
        if isinstance(self._dialler, RelayDialler):
            await self._dialler.stop_here()

    def _answer(self, url: str, dial: dict[str, Any]) -> Behaviour:
        if self.session.verdict is not None:
            return Verdict(self.session.verdict)
        try:
            if self._dialler is None:
                self._dialler = self._made_dialler()
            return self._dialler.behaviour(url, dial)
        except CassetteError as exc:
            self.session.fail(exc)
            return Verdict(exc)

    def _made_dialler(self) -> RelayDialler | ReplayDialler:
        session, plan = self.session, self.session.plan
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
    """

    def __init__(self, url: str, number: int, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self._url = url
        self._number = number
        self._playback = behaviour.playback if isinstance(behaviour, Replay) else None
        self._part: Callable[[], None] = lambda: None

    def turn_to(self, session: CassetteSession | None, own: CassetteSession) -> None:
        """Be on the tape of ``session``; ``own`` is that of whoever dialled."""
        self._part()
        self._part = lambda: None
        if isinstance(self.behaviour, Relay) and self.behaviour.is_open:
            self._record(self.behaviour, session, own)
        elif isinstance(self.behaviour, Replay) and self.behaviour.is_open:
            self._play(self.behaviour, session, own)

    def _record(self, relay: Relay, session: CassetteSession | None, own: CassetteSession) -> None:
        if session is None:
            relay.turn_to(Between(), 0)
        elif session.plan.action != "record":
            relay.turn_to(Unrecorded(), 0)
        elif session is own:
            relay.turn_to(session.recorder(), self._number)
        else:
            recorder, now = session.recorder(), session.clock.now
            conn = recorder.joined(now(), self._url, own.plan.stem.name, self._number)
            self._part = lambda: recorder.parted(conn, now())
            relay.turn_to(recorder, conn)

    def _play(self, replay: Replay, session: CassetteSession | None, own: CassetteSession) -> None:
        if session is own:
            replay.turn_to(self._playback, session.fail)
        elif session is None or session.plan.action != "replay" or not session.has_websockets:
            replay.turn_to(None, own.fail if session is None else session.fail)
        else:
            number = self._playback.track.connection.number if self._playback else self._number
            player = session.player()
            player.order.listen(replay.nudge_soon)
            replay.turn_to(player.join(own.plan.stem.name, number), session.fail)
