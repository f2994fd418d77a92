"""A phase of a test that goes on after its verdict ends: by cancelling, from within, and in its threads.

Loops have a virtual clock here, so that nobody waits for the patience; the grace of threads is taken away.
"""

from __future__ import annotations

import asyncio
import inspect
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from pytest_connex.cassette import ending as module
from pytest_connex.cassette.ending import Ending
from pytest_connex.clock import VirtualLoop
from pytest_connex.errors import ReplayAborted

PATIENCE = 60.0


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    yield loop
    loop.close()


@pytest.fixture
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_GRACE", 0.0)


class Stubborn:
    """Waits for ever, and swallows what would end it, ``often`` times."""

    def __init__(self, often: int, note: Callable[[], None] = lambda: None) -> None:
        self.often = often
        self.swallowed: list[type[BaseException]] = []
        self._note = note

    async def wait(self) -> None:
        self._note()
        while True:
            try:
                await asyncio.Event().wait()
            except BaseException as exc:
                self.swallowed.append(type(exc))
                if len(self.swallowed) > self.often:
                    raise


def condemned(
    ending: Ending, work: Callable[[], Coroutine[Any, Any, object]]
) -> Callable[[], Coroutine[Any, Any, None]]:
    """A test whose verdict is there before it does ``work``."""

    async def test() -> None:
        ending.note_task()
        ending.begin()
        await work()

    return test


def ended(loop: VirtualLoop, test: Callable[[], Coroutine[Any, Any, None]]) -> tuple[BaseException | None, float]:
    """Return what a test raised, and the seconds that it took; its task is the only one."""
    start, task = loop.time(), loop.create_task(test())
    task.add_done_callback(lambda _: loop.stop())
    overdue = loop.call_later(10 * PATIENCE, loop.stop)
    loop.run_forever()
    overdue.cancel()
    assert task.done(), "the test goes on"
    return (asyncio.CancelledError() if task.cancelled() else task.exception()), loop.time() - start


def raised_by(work: Callable[[], object]) -> BaseException | None:
    """Return what ``work`` raised, in the main thread."""
    try:
        work()
    except BaseException as exc:
        return exc
    return None


def interrupters() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "connex-ending"]


# --- Tasks -----------------------------------------------------------------------------------------------


def test_a_test_that_waits_for_ever_is_cancelled_when_patience_ends(loop):
    ending = Ending(PATIENCE)
    with ending:
        raised, seconds = ended(loop, condemned(ending, lambda: asyncio.Event().wait()))
    assert isinstance(raised, asyncio.CancelledError)
    assert seconds == pytest.approx(PATIENCE)


def test_a_test_that_ends_in_time_is_left_alone(loop):
    ending = Ending(PATIENCE)
    with ending:
        raised, seconds = ended(loop, condemned(ending, lambda: asyncio.sleep(PATIENCE - 1)))
    assert (raised, seconds) == (None, pytest.approx(PATIENCE - 1))


def test_a_swallowed_cancellation_is_followed_by_an_end_from_within(loop):
    ending, stubborn = Ending(PATIENCE), Stubborn(often=1)
    with ending:
        ended(loop, condemned(ending, stubborn.wait))
    assert stubborn.swallowed == [asyncio.CancelledError, ReplayAborted]


def test_an_end_from_within_is_repeated_as_often_as_it_is_swallowed(loop):
    ending, stubborn = Ending(PATIENCE), Stubborn(often=20)
    with ending:
        _, seconds = ended(loop, condemned(ending, stubborn.wait))
    assert stubborn.swallowed == [asyncio.CancelledError, *[ReplayAborted] * 20]
    assert seconds == pytest.approx(PATIENCE + 0.05)


def test_where_the_task_of_the_test_is_not_known_every_task_is_cancelled(loop):
    ending, others = Ending(PATIENCE), [Stubborn(often=0), Stubborn(often=0)]

    async def main() -> None:
        tasks = [asyncio.create_task(other.wait()) for other in others]
        ending.begin()
        await asyncio.gather(*tasks)

    with ending:
        raised, _ = ended(loop, main)
    assert isinstance(raised, asyncio.CancelledError)
    assert [other.swallowed for other in others] == [[asyncio.CancelledError]] * 2


def test_where_it_is_known_other_tasks_go_on(loop):
    ending = Ending(PATIENCE)
    other = loop.create_task(asyncio.sleep(PATIENCE + 1, "went on"))
    with ending:
        ended(loop, condemned(ending, lambda: asyncio.Event().wait()))
    assert loop.run_until_complete(other) == "went on"


def test_cancelling_outside_of_a_phase_does_nothing(loop):
    ending = Ending(PATIENCE)

    async def main() -> str:
        ending.note_task()
        ending.cancel()
        await asyncio.sleep(1)
        return "went on"

    assert loop.run_until_complete(main()) == "went on"


def test_cancelling_outside_of_a_loop_does_nothing():
    ending = Ending(PATIENCE)
    with ending:
        ending.cancel()


def test_a_task_that_its_loop_left_behind_is_ended_with_its_phase(loop):
    ending = Ending(PATIENCE)
    stubborn = Stubborn(often=1, note=ending.note_task)
    coroutine = stubborn.wait()
    with ending:
        task = loop.create_task(coroutine)
        loop.run_until_complete(asyncio.sleep(0))
        ending.begin()
        loop.run_until_complete(asyncio.sleep(PATIENCE + 0.01))
        assert not task.done()
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))


# --- The main thread ---------------------------------------------------------------------------------------------


def goes_on(swallow: type[BaseException], often: int = 10**9) -> int:
    """Swallow what is raised here, ``often`` times, and return how often that was."""
    swallowed = 0
    while swallowed < often:
        try:
            while True:
                pass
        except swallow:
            swallowed += 1
    return swallowed


def test_a_test_that_swallows_every_exception_is_interrupted(no_grace):
    def work() -> None:
        ending = Ending(0.01)
        with ending:
            ending.begin()
            goes_on(Exception)

    assert isinstance(raised_by(work), ReplayAborted)


def test_a_test_that_swallows_its_interruption_is_interrupted_again(no_grace):
    counted: list[int] = []

    def work() -> None:
        ending = Ending(0.01)
        with ending:
            ending.begin()
            counted.append(goes_on(BaseException, often=3))

    assert raised_by(work) is None
    assert counted == [3]


def test_a_test_that_waits_for_another_thread_is_interrupted(no_grace):
    never = threading.Event()

    def work() -> None:
        ending = Ending(0.01)
        with ending:
            ending.begin()
            never.wait(30)

    assert isinstance(raised_by(work), ReplayAborted)


def test_the_signal_is_left_as_it_was_found(no_grace):
    with Ending(0.01):
        assert signal.getsignal(signal.SIGUSR2) is not signal.SIG_DFL
    assert signal.getsignal(signal.SIGUSR2) is signal.SIG_DFL


def test_a_handler_of_somebody_else_stays(no_grace):
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    try:
        with Ending(0.01):
            assert signal.getsignal(signal.SIGUSR2) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGUSR2, signal.SIG_DFL)


def test_a_phase_that_is_over_is_not_interrupted(no_grace):
    def work() -> int:
        ending = Ending(0.01)
        with ending:
            ending.begin()
        for thread in interrupters():
            thread.join(10)
            assert not thread.is_alive()
        return sum(range(100_000))

    assert raised_by(work) is None


def test_a_verdict_outside_of_a_phase_interrupts_nobody():
    before = interrupters()
    Ending(PATIENCE).begin()
    assert set(interrupters()) <= set(before)


def test_every_phase_of_a_test_can_be_ended(no_grace):
    def work() -> None:
        ending = Ending(0.01)
        with ending:
            pass
        with ending:
            ending.begin()
            goes_on(Exception)

    assert isinstance(raised_by(work), ReplayAborted)
