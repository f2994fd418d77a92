"""What the clients of one test are given: its recording, or the servers behind it while it is recorded."""

from __future__ import annotations

from typing import Any, assert_never

from ..cassette.session import CassetteSession
from ..errors import CassetteError
from .endpoint import Behaviour
from .relay import RelayDialler, Unrecorded
from .replay import ReplayDialler, Verdict


class Served:
    """The WebSocket connections of one test; every method is called on the loop that serves them.

    Args:
        session: Its recordings.
    """

    def __init__(self, session: CassetteSession) -> None:
        self.session = session
        self._dialler: RelayDialler | ReplayDialler | None = None
        self._behaviours: list[Behaviour] = []

    def dial(self, url: str, dial: dict[str, Any]) -> Behaviour:
        """Answer a dial.

        Args:
            url: What is dialled, with the host of the server.
            dial: The keyword arguments of ``websockets.connect``.
        """
        behaviour = self._answer(url, dial)
        self._behaviours.append(behaviour)
        return behaviour

    def has(self, behaviour: Behaviour) -> bool:
        """Tell whether a connection is one of this test."""
        return any(behaviour is known for known in self._behaviours)

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
