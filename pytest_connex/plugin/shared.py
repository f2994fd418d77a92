"""Recordings of fixtures that several tests share: what they ask and dial while they are set up, and while they end.

Which test comes first does not matter, because each such fixture has a recording of its own. It is begun when the
first client of the fixture arrives, and settled when the fixture is finished.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from ..cassette.session import CassetteSession
from ..errors import CassetteError
from .planning import plan_shared
from .run import ACTIVE, PROXY, RUN
from .settings import settings_of

if TYPE_CHECKING:
    from ..cassette.session import Plan

_OWN = ("connex_", "_connex_")

UNDER_WAY = pytest.StashKey[list["Shared"]]()
"""The fixtures that are being set up or finished; the last of them is what traffic belongs to."""

_LIVING = pytest.StashKey[list["Shared"]]()
"""The fixtures that have been set up, or are about to be."""


class Shared:
    """One set-up of a fixture of a wider scope than a test.

    Args:
        name: That of the fixture.
        plan: What becomes of its recordings.
        config: pytest's.

    Attributes:
        told: Whether its verdict has failed its set-up.
    """

    def __init__(self, name: str, plan: Plan, config: pytest.Config) -> None:
        self.name = name
        self._plan = plan
        self._config = config
        self._session: CassetteSession | None = None
        self.told = False
        self._lock = threading.Lock()
        self.failures = config.stash[RUN].failures

    def session(self) -> CassetteSession:
        """Return its recordings, which begin now if they have not; from whichever thread asks."""
        with self._lock:
            if self._session is None:
                run = self._config.stash[RUN]
                self._session = CassetteSession(
                    self._plan, lambda: settings_of(run, run.known), self, run.now, run.learned, run.share
                )
                self._session.open()
            return self._session

    def has(self, session: CassetteSession) -> bool:
        """Tell whether recordings are its own."""
        return self._session is session

    @property
    def verdict(self) -> CassetteError | None:
        """What its recordings say, where it did something else."""
        return self._session.verdict if self._session is not None else None

    # who is told of verdicts: the test that runs is what can be ended

    def begin(self, verdict: CassetteError) -> None:
        """End what the running test waits for."""
        if (trial := self._config.stash.get(ACTIVE, None)) is not None:
            trial.ending.begin(verdict)

    def asked_again(self) -> None:
        """Take note that it goes on.

        Raises:
            ReplayAborted: It has done so for long.
        """
        if (trial := self._config.stash.get(ACTIVE, None)) is not None:
            trial.ending.asked_again()

    # the end of the fixture

    def begin_to_end(self) -> None:
        """What is asked from now on belongs to it again, unless nothing is recorded of it."""
        _hear(self._config)
        if self._session is None and self._plan.action == "replay" and not self._plan.exists():
            return  # what asks now is more likely to be left behind by the test
        self._config.stash[UNDER_WAY].append(self)
        if self._session is not None and (proxy := self._config.stash.get(PROXY, None)) is not None:
            proxy.take_back(self._session)

    def hand_over(self) -> None:
        """Its set-up is over: its connections, and those that it has used, are for the tests."""
        if (proxy := self._config.stash.get(PROXY, None)) is not None:
            proxy.hand_over(self._session)

    def finish(self) -> None:
        """It is gone: write what it recorded, unless a test has failed meanwhile.

        Raises:
            CassetteError: It has not used up its recording, or that cannot be written.
        """
        under_way = self._config.stash[UNDER_WAY]
        _hear(self._config)
        if self in under_way:
            under_way.remove(self)
        self._config.stash[_LIVING].remove(self)
        if self._session is None and self._plan.action == "replay" and self._plan.exists():
            self.session()
        if (session := self._session) is None:
            return
        if (proxy := self._config.stash.get(PROXY, None)) is not None:
            proxy.leave(session)
        session.close()
        try:
            if self.told:
                return
            if error := session.verdict or session.unplayed():
                raise error
            if self.failures == self._config.stash[RUN].failures:
                session.commit()
        finally:
            session.discard()
            self._config.stash[RUN].accounts.append(session.account)


@contextmanager
def attributed(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> Iterator[None]:
    """Have what is asked while a fixture is set up belong to it, if tests share it."""
    run = request.config.stash[RUN]
    if fixturedef.scope == "function" or not run.proxied or fixturedef.argname.startswith(_OWN) or run.item is None:
        yield
        return
    config, planned = request.config, plan_shared(run.item, fixturedef, request, run)
    shared = Shared(fixturedef.argname, planned, config)
    under_way = config.stash.setdefault(UNDER_WAY, [])
    if (proxy := config.stash.get(PROXY, None)) is not None:
        proxy.pause()
    config.stash.setdefault(_LIVING, []).append(shared)
    fixturedef.addfinalizer(shared.finish)
    under_way.append(shared)
    try:
        yield
    finally:
        _hear(config)
        if shared in under_way:
            under_way.remove(shared)
        shared.hand_over()
        if shared.verdict is not None:
            shared.told = True
            raise shared.verdict
    fixturedef.addfinalizer(shared.begin_to_end)


def users(item: pytest.Item) -> Callable[[CassetteSession], bool]:
    """Return what tells whether a test requests the shared fixture with some recordings, itself or by another one."""
    names = frozenset(getattr(item, "fixturenames", ()))
    living = item.config.stash.setdefault(_LIVING, [])
    return lambda session: any(shared.name in names and shared.has(session) for shared in living)


def owner(config: pytest.Config) -> CassetteSession | None:
    """Return whose recordings count at the moment: those of a shared fixture, of a test, or of nobody."""
    if under_way := config.stash.get(UNDER_WAY, None):
        return under_way[-1].session()
    trial = config.stash.get(ACTIVE, None)
    return trial.session if trial is not None else None


def _hear(config: pytest.Config) -> None:
    if (proxy := config.stash.get(PROXY, None)) is not None:
        proxy.hear()
