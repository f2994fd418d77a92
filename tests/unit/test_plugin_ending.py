"""A phase of a test that goes on after its verdict ends, and none that is over or comes later is touched.

Phases have no limit here, or one that no test reaches; what swallows its end is pressed again after a moment.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any

import pytest

from pytest_connex.errors import CassetteMismatch, ReplayAborted
from pytest_connex.plugin import ending as module
from pytest_connex.plugin.driving import Driven
from pytest_connex.plugin.ending import PATIENCE, Ending

from .stopwatch import on_a_virtual_clock

VERDICT = CassetteMismatch("other")
FOR_EVER = 3600.0


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ending]:
    """One with little patience."""
    monkeypatch.setattr(module, "_AGAIN", 0.001)
    ending = Ending(0.2)
    ending.open()
    yield ending
    ending.close()
    for thread in watchers():
        thread.join(10)
        assert not thread.is_alive()


def watchers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "connex-ending"]


def raised_by(work: Callable[[], object]) -> BaseException | None:
    try:
        work()
    except BaseException as exc:
        return exc
    return None


def ended(ending: Ending, work: Callable[[], object], limit: float | None = 0.0) -> BaseException | None:
    """Return what left a phase in which ``work`` goes on after the verdict."""

    def phase() -> None:
        with ending.phase(limit):
            work()

    return raised_by(phase)


def spin(swallow: type[BaseException], begin: Callable[[], object] = lambda: None, often: int = 10**9) -> int:
    """Swallow what is raised here, ``often`` times, and return how often that was."""
    swallowed = 0
    while swallowed < often:
        try:
            if not swallowed:
                begin()
            while True:
                pass
        except swallow:
            swallowed += 1
    return swallowed


def ask(ending: Ending, times: int = 1) -> None:
    for _ in range(times):
        ending.asked_again()


def insist(ending: Ending) -> None:
    """Go on asking until that is not borne with any more."""
    with suppress(ReplayAborted):
        ask(ending, PATIENCE + 1)


def wait_for_ever(swallowing: int = 0) -> Coroutine[Any, Any, None]:
    """Wait for ever, and swallow so many cancellations."""

    async def work() -> None:
        for _ in range(swallowing):
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        await asyncio.Event().wait()

    return work()


# --- Without a loop ----------------------------------------------------------------------------------------------


def test_code_that_swallows_every_exception_is_interrupted(ending):
    assert isinstance(ended(ending, lambda: spin(Exception, lambda: ending.begin(VERDICT))), ReplayAborted)


def test_code_that_swallows_its_interruption_is_interrupted_again(ending):
    counted: list[int] = []
    ended(ending, lambda: counted.append(spin(BaseException, lambda: ending.begin(VERDICT), often=3)))
    assert counted == [3]


def test_code_that_waits_for_another_thread_is_interrupted(ending):
    def work() -> None:
        ending.begin(VERDICT)
        threading.Event().wait(FOR_EVER)

    assert isinstance(ended(ending, work), ReplayAborted)


def test_a_phase_that_ends_in_time_is_left_alone_and_its_watcher_ends(ending):
    with ending.phase(FOR_EVER):
        ending.begin(VERDICT)


def test_a_phase_that_came_after_the_verdict_is_ended_too(ending):
    ending.begin(VERDICT)
    assert isinstance(ended(ending, lambda: spin(Exception)), ReplayAborted)


def test_a_phase_within_a_phase_is_ended_alone(ending):
    inner: list[BaseException | None] = []

    def work() -> None:
        inner.append(ended(ending, lambda: spin(Exception, lambda: ending.begin(VERDICT))))

    assert ended(ending, work, limit=FOR_EVER) is None
    assert list(map(type, inner)) == [ReplayAborted]


def test_a_phase_goes_on_being_watched_when_one_within_it_is_over(ending):
    def work() -> None:
        ended(ending, lambda: ending.begin(VERDICT), limit=None)
        spin(Exception)

    assert isinstance(ended(ending, work), ReplayAborted)


@pytest.mark.parametrize("limit", [None, FOR_EVER])
def test_a_phase_that_goes_on_asking_is_ended_whatever_its_limit(ending, limit):
    def go_on() -> None:
        ending.begin(VERDICT)
        insist(ending)

    assert isinstance(ended(ending, lambda: spin(Exception, go_on), limit), ReplayAborted)


def test_outside_of_phases_nothing_is_ended(ending):
    ending.begin(VERDICT)
    insist(ending)
    assert watchers() == []


def test_a_finalizer_is_not_interrupted(ending):
    """What is raised there is only printed, and the interruption would be lost."""
    raised: list[BaseException | None] = []

    class Made:
        def __del__(self) -> None:
            raised.append(raised_by(lambda: signal.raise_signal(signal.SIGUSR2)))

    with ending.phase(FOR_EVER):
        ending.begin(VERDICT)
        Made()
        raised.append(raised_by(lambda: signal.raise_signal(signal.SIGUSR2)))
    assert list(map(type, raised)) == [type(None), ReplayAborted]


class Guarded:
    """Has taken something when it is entered, and gives it back when it is left."""

    taken = False

    def __enter__(self) -> None:
        self.taken = True
        signal.raise_signal(signal.SIGUSR2)

    def __exit__(self, *_: object) -> None:
        signal.raise_signal(signal.SIGUSR2)
        self.taken = False


def test_what_is_entered_is_left(ending):
    guarded = Guarded()
    with ending.phase(FOR_EVER):
        ending.begin(VERDICT)
        with guarded:
            assert guarded.taken
    assert not guarded.taken


@pytest.mark.parametrize("module", ["importlib._bootstrap", "logging.handlers", "tempfile", "http.cookiejar"])
def test_what_takes_a_lock_a_moment_before_its_try_is_not_interrupted(ending, module):
    held = {"__name__": module, "signal": signal}
    exec("def hold():\n    signal.raise_signal(signal.SIGUSR2)\n    return 'given back'", held)
    with ending.phase(FOR_EVER):
        ending.begin(VERDICT)
        assert held["hold"]() == "given back"
        assert held["hold"]() == "given back"


def test_code_that_stands_at_no_line_is_not_interrupted(ending):
    """Some instructions of the compiler belong to none."""

    def work() -> str:
        for _ in range(2):
            signal.raise_signal(signal.SIGUSR2)
        return "went on"

    work.__code__ = work.__code__.replace(co_linetable=b"")
    with ending.phase(FOR_EVER):
        ending.begin(VERDICT)
        assert work() == "went on"


def test_what_waits_while_it_is_entered_is_interrupted(ending):
    condition = threading.Condition()
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with condition:
            held.set()
            over.wait(FOR_EVER)

    def work() -> None:
        ending.begin(VERDICT)
        with condition:
            raise AssertionError("it is held")

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        assert isinstance(ended(ending, work), ReplayAborted)
    finally:
        over.set()
        thread.join()


# --- The signal --------------------------------------------------------------------------------------------------


def test_the_signal_is_left_as_it_was_found():
    ending = Ending(FOR_EVER)
    ending.open()
    assert signal.getsignal(signal.SIGUSR2) is not signal.SIG_DFL
    ending.close()
    ending.close()
    assert signal.getsignal(signal.SIGUSR2) is signal.SIG_DFL


@pytest.fixture
def foreign() -> Iterator[object]:
    """A handler of somebody else."""
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    yield signal.SIG_IGN
    signal.signal(signal.SIGUSR2, signal.SIG_DFL)


def test_a_handler_of_somebody_else_stays(foreign):
    ending = Ending(FOR_EVER)
    ending.open()
    assert signal.getsignal(signal.SIGUSR2) is foreign
    ending.close()
    assert signal.getsignal(signal.SIGUSR2) is foreign


def test_a_handler_that_was_set_meanwhile_stays_and_is_not_called():
    ending, called = Ending(0.0), []
    ending.open()
    signal.signal(signal.SIGUSR2, lambda number, frame: called.append(number))
    try:
        with ending.phase(0.0):
            ending.begin(VERDICT)
        ending.close()
        signal.raise_signal(signal.SIGUSR2)
        assert called == [signal.SIGUSR2]
    finally:
        signal.signal(signal.SIGUSR2, signal.SIG_DFL)


def test_a_signal_of_somebody_else_interrupts_nothing(ending):
    with ending.phase(FOR_EVER):
        signal.raise_signal(signal.SIGUSR2)
    signal.raise_signal(signal.SIGUSR2)


def test_in_another_thread_there_is_no_signal():
    found: list[object] = []

    def work() -> None:
        ending = Ending(0.0)
        ending.open()
        with ending.phase(0.0):
            ending.begin(VERDICT)
            found.append(signal.getsignal(signal.SIGUSR2))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.SIG_DFL]


# --- Loops -------------------------------------------------------------------------------------------------------


async def after_the_verdict(ending: Ending, work: Coroutine[Any, Any, object]) -> object:
    ending.begin(VERDICT)
    return await work


@pytest.mark.parametrize("swallowing", [0, 1, 99])
def test_a_driven_coroutine_raises_the_verdict(ending, swallowing):
    work = after_the_verdict(ending, wait_for_ever(swallowing))
    with asyncio.Runner() as runner:
        assert ended(ending, lambda: runner.run(ending.driven(work))) is VERDICT


def test_another_task_that_never_suspends_is_interrupted_and_the_coroutine_ended(ending):
    async def spinning() -> None:
        spin(Exception, lambda: ending.begin(VERDICT))

    async def work() -> None:
        task = asyncio.create_task(spinning())
        await asyncio.Event().wait()
        await task

    with asyncio.Runner() as runner:
        assert ended(ending, lambda: runner.run(ending.driven(work()))) is VERDICT


@pytest.mark.parametrize(
    ("swallowing", "raised"), [(0, asyncio.CancelledError), (1, asyncio.CancelledError), (99, RuntimeError)]
)
def test_a_loop_of_its_own_is_ended(ending, swallowing, raised):
    work = after_the_verdict(ending, wait_for_ever(swallowing))
    # A loop that does not come round in time is taken for one whose task never suspends.
    assert isinstance(ended(ending, lambda: asyncio.run(work)), (raised, ReplayAborted))


def test_without_a_phase_a_coroutine_is_awaited_as_it_is(ending):
    assert asyncio.run(ending.driven(asyncio.sleep(0, "done"))) == "done"


def test_tasks_of_others_go_on(ending):
    async def main() -> str:
        released = asyncio.Event()
        task = asyncio.create_task(released.wait())
        with ending.phase(0.0), pytest.raises(CassetteMismatch):
            await ending.driven(after_the_verdict(ending, wait_for_ever()))
        released.set()
        return "went on" if await task else ""

    assert asyncio.run(main()) == "went on"


# --- A test that goes on asking ------------------------------------------------------------------------------------


def test_a_test_that_goes_on_asking_is_borne_with_for_a_while_and_then_aborted(ending):
    ending.begin(VERDICT)
    ask(ending, PATIENCE)
    with pytest.raises(ReplayAborted) as caught:
        ask(ending)
    assert str(caught.value) == "the test went on after its verdict: other"


def test_an_abort_is_not_caught_by_a_client_that_catches_every_exception(ending):
    asked = 0

    def stubborn() -> None:
        nonlocal asked
        for _ in range(2 * PATIENCE):
            asked += 1
            with suppress(Exception):
                ask(ending)

    ending.begin(VERDICT)
    with pytest.raises(ReplayAborted):
        stubborn()
    assert asked == PATIENCE + 1


async def test_a_test_that_waits_for_ever_after_its_verdict_ends_with_it(ending):
    async def stubborn() -> None:
        ending.begin(VERDICT)
        await asyncio.Event().wait()

    with ending.phase(0.0), pytest.raises(CassetteMismatch, match="other"):
        await asyncio.wait_for(ending.driven(stubborn()), 5)


async def test_a_test_that_goes_on_asking_is_not_waited_for(ending):
    async def stubborn() -> None:
        ending.begin(VERDICT)
        ask(ending, PATIENCE)
        with pytest.raises(ReplayAborted):
            ask(ending)
        await asyncio.Event().wait()

    with ending.phase(FOR_EVER), pytest.raises(CassetteMismatch, match="other"):
        await asyncio.wait_for(ending.driven(stubborn()), 5)


@on_a_virtual_clock
async def test_what_is_cancelled_for_the_last_time_is_borne_with_no_more(ending):
    asked = []
    ending.begin(VERDICT)

    async def stubborn() -> None:
        while True:
            try:
                ask(ending)
                asked.append("borne with")
            except ReplayAborted:
                asked.append("aborted")
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    driven = Driven(stubborn(), lambda: VERDICT)
    with ending.phase(None), ending.pressing(driven):
        for second in range(1, 4):
            driven.loop.call_later(second, driven.press)
        with pytest.raises(CassetteMismatch, match="other"):
            await driven
    assert asked == ["borne with", "borne with", "aborted"]
