"""What runs on a loop is ended by cancelling it twice, and left behind after that; nothing else is touched."""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from pytest_connex.errors import CassetteMismatch, ReplayAborted
from pytest_connex.plugin import driving
from pytest_connex.plugin.driving import Closing, Driven, Tasks, abort, hush
from pytest_connex.virtual import VirtualLoop

VERDICT = CassetteMismatch("other")


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    yield loop
    loop.close()


@pytest.fixture(autouse=True)
def left_behind(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is left behind; it stays alive as long as the test, and is then ended by what it lets through."""
    kept: list[object] = []
    monkeypatch.setattr(driving, "_left_behind", kept)
    return kept


class Stubborn:
    """Waits for ever, and swallows what would end it, ``often`` times."""

    def __init__(self, often: int) -> None:
        self.often = often
        self.swallowed: list[type[BaseException]] = []

    async def wait(self) -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except GeneratorExit:
                raise
            except BaseException as exc:
                self.swallowed.append(type(exc))
                if len(self.swallowed) > self.often:
                    raise


def outcome(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, object], presses: int) -> object:
    """Press ``work`` to end so often, a second apart, and return what became of it."""

    async def driven() -> object:
        pressed = Driven(work, lambda: VERDICT)
        for second in range(1, presses + 1):
            loop.call_later(second, pressed.press)
        return await pressed

    async def main() -> object:
        task = asyncio.create_task(driven())
        await asyncio.wait([task], timeout=60)
        assert task.done(), "it goes on"
        assert task.cancelling() == 0
        return task.exception() or task.result()

    return loop.run_until_complete(main())


def test_what_is_not_pressed_is_as_without():
    async def work() -> str:
        await asyncio.sleep(0.001)
        task = asyncio.current_task()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 0.001)
        assert asyncio.current_task() is task
        return "done"

    async def main() -> object:
        return await Driven(work(), lambda: VERDICT)

    assert asyncio.run(main()) == "done"


def test_its_own_errors_are_raised_as_they_are(loop):
    async def work() -> None:
        raise ValueError("mine")

    assert str(outcome(loop, work(), 0)) == "mine"


def test_a_cancellation_by_others_is_none_of_ours(loop):
    async def main() -> None:
        async def driven() -> None:
            await Driven(asyncio.Event().wait(), lambda: VERDICT)

        task = asyncio.create_task(driven())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    loop.run_until_complete(main())


def test_what_waits_for_ever_raises_the_verdict(loop):
    stubborn = Stubborn(often=0)
    assert outcome(loop, stubborn.wait(), 1) is VERDICT
    assert stubborn.swallowed == [asyncio.CancelledError]


def test_what_swallows_one_cancellation_is_cancelled_again(loop):
    stubborn = Stubborn(often=1)
    assert outcome(loop, stubborn.wait(), 2) is VERDICT
    assert stubborn.swallowed == [asyncio.CancelledError] * 2


def test_what_swallows_two_is_left_behind_and_not_resumed(loop, left_behind):
    stubborn = Stubborn(often=99)
    coroutine = stubborn.wait()
    assert outcome(loop, coroutine, 3) is VERDICT
    assert stubborn.swallowed == [asyncio.CancelledError] * 2
    assert left_behind == [coroutine]
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_SUSPENDED
    assert not asyncio.all_tasks(loop)


def test_cleaning_up_after_the_cancellation_is_finished(loop):
    done: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.5)
            done.append("cleaned up")

    assert outcome(loop, work(), 1) is VERDICT
    assert done == ["cleaned up"]


def test_a_press_that_comes_too_late_does_nothing(loop):
    async def main() -> str:
        pressed = Driven(asyncio.sleep(0, "done"), lambda: VERDICT)
        result: str = await pressed
        pressed.press()
        await asyncio.sleep(1)
        return result

    assert loop.run_until_complete(main()) == "done"


def test_it_is_unanswered_until_the_loop_comes_round(loop):
    async def main() -> list[bool]:
        pressed = Tasks(loop)
        pressed.press()
        seen = [pressed.unanswered]
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(0)
        return [*seen, pressed.unanswered]

    assert loop.run_until_complete(main()) == [True, False]


def test_a_closed_loop_is_not_pressed(loop):
    pressed = Tasks(loop)
    loop.close()
    pressed.press()


# --- Loops that a test runs by itself ----------------------------------------------------------------------------


def run_by_itself(often: int) -> Callable[[], object]:
    stubborn = Stubborn(often)

    async def main() -> None:
        pressed = Tasks(asyncio.get_running_loop())
        for second in range(1, 4):
            pressed.loop.call_later(second, pressed.press)
        await stubborn.wait()

    def run() -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(main())

    return run


def test_all_tasks_of_a_loop_are_cancelled():
    with pytest.raises(asyncio.CancelledError):
        run_by_itself(often=0)()


def test_a_loop_whose_tasks_swallow_that_is_stopped_and_can_be_closed(left_behind):
    with pytest.raises(RuntimeError, match="stopped before Future completed"):
        run_by_itself(often=99)()
    assert len(left_behind) >= 1


def test_what_is_left_on_a_loop_is_ended_before_it_is_closed(loop, left_behind):
    polite, stubborn = Stubborn(often=0), Stubborn(often=99)
    tasks = [loop.create_task(polite.wait()), loop.create_task(stubborn.wait())]
    loop.run_until_complete(asyncio.sleep(0))
    Closing(loop).end_tasks(1.0)
    assert [task.cancelled() for task in tasks] == [True, False]
    assert (polite.swallowed, stubborn.swallowed) == ([asyncio.CancelledError], [asyncio.CancelledError] * 2)
    assert not asyncio.all_tasks(loop)
    assert left_behind == tasks[1:]


def test_a_loop_without_tasks_is_left_alone(loop, left_behind):
    Closing(loop).end_tasks(1.0)
    assert left_behind == []


def test_what_swallows_its_cancellation_learns_which_is_the_last(loop):
    closing, told = Closing(loop), []

    async def work() -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                told.append(closing.at_last)

    task = loop.create_task(work())
    loop.run_until_complete(asyncio.sleep(0))
    closing.end_tasks(1.0)
    assert (told, task.done()) == ([False, True], False)


# --- What nobody waited for --------------------------------------------------------------------------------------


def complained(caplog: pytest.LogCaptureFixture, loop: asyncio.AbstractEventLoop) -> list[str]:
    async def main() -> None:
        async def work() -> None:
            raise ValueError("nobody asks")

        asyncio.create_task(work())  # noqa: RUF006
        await asyncio.sleep(0)

    caplog.clear()
    with caplog.at_level(logging.ERROR, "asyncio"):
        loop.run_until_complete(main())
        loop.run_until_complete(asyncio.sleep(0))
        gc.collect()
    return [record.getMessage().partition("\n")[0] for record in caplog.records]


def test_a_hushed_loop_does_not_complain_and_others_do(caplog, loop):
    assert complained(caplog, loop) == ["Task exception was never retrieved"]
    restore = hush(loop)
    assert complained(caplog, loop) == []
    restore()
    assert complained(caplog, loop) == ["Task exception was never retrieved"]


def test_a_hushed_loop_passes_on_what_else_happens(loop):
    seen: list[str] = []
    loop.set_exception_handler(lambda loop, context: seen.append(context["message"]))
    hush(loop)
    loop.call_exception_handler({"message": "something else"})
    assert seen == ["something else"]


def test_a_handler_that_was_set_meanwhile_stays(loop):
    restore = hush(loop)
    loop.set_exception_handler(print)
    restore()
    assert loop.get_exception_handler() is print


def test_an_aborted_task_does_not_complain(caplog, loop):
    async def main() -> None:
        async def work() -> None:
            abort(VERDICT)

        asyncio.create_task(work())  # noqa: RUF006
        await asyncio.sleep(0)

    loop.run_until_complete(main())
    gc.collect()
    assert caplog.records == []


def test_abort_raises_outside_of_loops_too():
    with pytest.raises(ReplayAborted, match="went on after its verdict: other"):
        abort(VERDICT)
