"""Dials of a test that goes on after its verdict."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace

import pytest

from pytest_connex.errors import CassetteError, ReplayAborted
from pytest_connex.plugin.trial import Trial


class Ending:
    """Counts what is asked, and bears with the first questions only."""

    def __init__(self, patience: int) -> None:
        self.asked = 0
        self._patience = patience

    def asked_again(self) -> None:
        self.asked += 1
        if self.asked > self._patience:
            raise ReplayAborted("the test went on")


def trial(verdict: CassetteError | None, patience: int = 0) -> Trial:
    return Trial(SimpleNamespace(verdict=verdict), Ending(patience))


def test_the_verdict_is_that_of_its_recordings():
    verdict = CassetteError("no")
    assert trial(verdict).verdict is verdict
    assert trial(None).verdict is None


async def test_without_a_verdict_every_dial_passes():
    running = trial(None)
    await running.dials()
    running.dials_sync()
    assert running.ending.asked == 0


async def test_after_it_dials_pass_as_long_as_they_are_borne_with():
    running = trial(CassetteError("no"), patience=2)
    await running.dials()
    running.dials_sync()
    assert running.ending.asked == 2


def test_a_blocking_dial_is_aborted_then():
    with pytest.raises(ReplayAborted):
        trial(CassetteError("no")).dials_sync()


async def test_a_task_that_dials_then_rests_until_it_is_cancelled():
    task = asyncio.create_task(trial(CassetteError("no")).dials())
    done, _ = await asyncio.wait([task], timeout=0.01)
    assert not done
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_in_another_thread_it_is_aborted():
    raised: list[BaseException] = []

    def work() -> None:
        try:
            asyncio.run(trial(CassetteError("no")).dials())
        except ReplayAborted as exc:
            raised.append(exc)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert [type(error) for error in raised] == [ReplayAborted]
