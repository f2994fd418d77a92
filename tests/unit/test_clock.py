"""Time that no frozen clock stops: our own loops, and what we wait for on the loop of a test."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext

import pytest

from pytest_connex.clock import RealTimeLoop, Timer, real_time, time_of
from pytest_connex.virtual import VirtualLoop

freezegun = pytest.importorskip("freezegun")


def run(main: Callable[[], Awaitable[object]], loop: Callable[[], asyncio.AbstractEventLoop]) -> object:
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(main())


@pytest.mark.parametrize("moment", ["1970-01-01", "2020-01-01"], ids=["behind", "ahead"])
def test_a_real_time_loop_fires_its_timers_on_a_frozen_clock(moment):
    async def main() -> float:
        start = real_time()
        with freezegun.freeze_time(moment):
            await asyncio.sleep(0.01)
        return asyncio.get_running_loop().time() - start

    assert run(main, RealTimeLoop) >= 0.01


@pytest.mark.parametrize("moment", ["1970-01-01", "2020-01-01"], ids=["behind", "ahead"])
def test_a_timer_fires_on_a_frozen_clock_after_real_time(moment):
    async def main() -> float:
        fired = asyncio.Event()
        with freezegun.freeze_time(moment):
            start = time_of(asyncio.get_running_loop())
            Timer(asyncio.get_running_loop(), 0.01, fired.set)
            await fired.wait()
        return real_time() - start

    assert run(main, asyncio.SelectorEventLoop) >= 0.01


def test_a_timer_is_not_early_where_the_clock_is_frozen_ahead_meanwhile():
    async def main() -> float:
        fired = asyncio.Event()
        start = real_time()
        Timer(asyncio.get_running_loop(), 0.02, fired.set)
        with freezegun.freeze_time("2020-01-01"):
            await fired.wait()
        return real_time() - start

    assert run(main, asyncio.SelectorEventLoop) >= 0.019


def test_a_timer_in_steps_counts_time_in_which_nothing_ran_as_one_of_them():
    async def main() -> float:
        loop, fired = asyncio.get_running_loop(), asyncio.Event()
        start = time_of(loop)
        Timer(loop, 60, fired.set, steps=4)
        loop.advance(1_000)
        await fired.wait()
        return time_of(loop) - start

    assert run(main, VirtualLoop) == pytest.approx(1_000 + 45)


@pytest.mark.parametrize("clock", [nullcontext(), freezegun.freeze_time("2020-01-01")], ids=["real", "frozen"])
def test_a_cancelled_timer_does_not_fire(clock):
    async def main() -> list[str]:
        fired: list[str] = []
        done = asyncio.Event()
        with clock:
            Timer(asyncio.get_running_loop(), 0.001, fired.append, "cancelled").cancel()
            Timer(asyncio.get_running_loop(), 0.002, done.set)
            await done.wait()
        return fired

    assert run(main, asyncio.SelectorEventLoop) == []


def test_a_timer_whose_loop_is_gone_is_quiet():
    async def main() -> Timer:
        with freezegun.freeze_time("2020-01-01"):
            return Timer(asyncio.get_running_loop(), 0.05, lambda: None)

    timer = run(main, asyncio.SelectorEventLoop)
    timer._waiting.join()  # an exception of a thread fails the test


def test_a_loop_with_a_time_of_its_own_keeps_it():
    async def main() -> float:
        loop = asyncio.get_running_loop()
        fired = asyncio.Event()
        with freezegun.freeze_time("2020-01-01"):
            start = time_of(loop)
            Timer(loop, 3_600, fired.set)
            await fired.wait()
        return time_of(loop) - start

    assert run(main, VirtualLoop) == pytest.approx(3_600)
