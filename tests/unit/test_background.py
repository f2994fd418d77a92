"""An event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from pytest_connex.background import BackgroundLoop


async def thread_of() -> threading.Thread:
    return threading.current_thread()


def test_work_runs_in_a_daemon_thread_of_that_name(background):
    thread = background.run(thread_of())
    assert (thread.name, thread.daemon) == ("connex-test", True)
    assert thread is not threading.current_thread()


def test_all_work_shares_one_loop(background):
    async def loop_of() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    assert background.run(loop_of()) is background.run(loop_of())


def test_what_work_raises_is_raised(background):
    async def fail() -> None:
        raise LookupError("not there")

    with pytest.raises(LookupError, match="not there"):
        background.run(fail())


def test_work_that_takes_too_long_is_a_time_out(background):
    with pytest.raises(TimeoutError):
        background.run(asyncio.sleep(60), timeout=0.01)


def test_work_of_several_threads_goes_on_at_once(background):
    meeting = background.run(barrier_of(3))
    arrived: list[int] = []

    def arrive() -> None:
        arrived.append(background.run(wait_at(meeting)))

    threads = [threading.Thread(target=arrive) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert sorted(arrived) == [0, 1, 2]


async def barrier_of(parties: int) -> asyncio.Barrier:
    return asyncio.Barrier(parties)


async def wait_at(barrier: asyncio.Barrier) -> int:
    return await barrier.wait()


def test_a_callback_is_called_in_the_thread(background):
    called: list[str] = []
    background.call(lambda: called.append(threading.current_thread().name))
    background.run(thread_of())
    assert called == ["connex-test"]


def waiting_until_cancelled(background: BackgroundLoop, then: Callable[[], Awaitable[None]]) -> asyncio.Future[None]:
    """Start a task that waits for ever, and at its end for ``then``."""
    started = threading.Event()

    async def wait() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            await then()

    tasks: list[asyncio.Future[None]] = []
    background.call(lambda: tasks.append(asyncio.ensure_future(wait())))
    assert started.wait(5)
    return tasks[0]


def test_stopping_cancels_what_still_runs_and_ends_the_thread(background):
    ended: list[str] = []

    async def note() -> None:
        ended.append("cancelled")

    task = waiting_until_cancelled(background, note)
    thread = background.run(thread_of())
    background.stop()
    assert ended == ["cancelled"]
    assert (task.cancelled(), thread.is_alive()) == (True, False)


def test_stopping_waits_for_a_task_that_cleans_up(background):
    cleaned: list[str] = []

    async def clean() -> None:
        await asyncio.sleep(0)
        cleaned.append("cleaned")

    waiting_until_cancelled(background, clean)
    background.stop()
    assert cleaned == ["cleaned"]


def test_stopping_twice_does_nothing(background):
    thread = background.run(thread_of())
    background.stop()
    background.stop()
    assert not thread.is_alive()


def test_one_that_was_never_started_can_be_stopped():
    loop = BackgroundLoop("connex-test")
    loop.stop()
    with pytest.raises(RuntimeError, match="closed"):
        loop.call(lambda: None)
