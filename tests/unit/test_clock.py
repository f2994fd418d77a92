"""A clock that jumps: the order and the distance of timers stay, the waiting goes."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable

import pytest

from pytest_connex.clock import VirtualLoop


def run(main: Callable[[], Awaitable[object]]) -> object:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())


def test_a_sleep_takes_its_full_virtual_time():
    async def main() -> float:
        loop = asyncio.get_running_loop()
        start = loop.time()
        await asyncio.sleep(3_600)
        return loop.time() - start

    assert run(main) == pytest.approx(3_600)


def test_decades_pass_without_anybody_waiting():
    run(lambda: asyncio.sleep(10**9))


def test_timers_fire_in_their_order():
    async def main() -> list[int]:
        fired: list[int] = []
        loop = asyncio.get_running_loop()
        for delay in (30, 5, 20, 10):
            loop.call_later(delay, fired.append, delay)
        await asyncio.sleep(31)
        return fired

    assert run(main) == [5, 10, 20, 30]


def test_a_timeout_comes_after_what_happens_before_it():
    async def main() -> str:
        async with asyncio.timeout(30):
            await asyncio.sleep(29.999)
        try:
            async with asyncio.timeout(30):
                await asyncio.sleep(30.001)
        except TimeoutError:
            return "timed out"
        return "in time"

    assert run(main) == "timed out"


def test_data_that_is_there_comes_before_any_timer():
    async def main() -> bytes:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            loop.call_later(5, theirs.send, b"early")
            async with asyncio.timeout(5.000001):
                return await loop.sock_recv(ours, 10)

    assert run(main) == b"early"


def test_the_clock_stands_still_while_a_thread_works():
    async def main() -> tuple[str, float]:
        loop = asyncio.get_running_loop()
        start, gate = loop.time(), threading.Event()
        threading.Timer(0.05, gate.set).start()
        async with asyncio.timeout(0.001):
            await asyncio.to_thread(gate.wait, 10)
        return "in time", loop.time() - start

    assert run(main) == ("in time", 0.0)


def test_advancing_lets_timers_become_due():
    async def main() -> list[str]:
        fired: list[str] = []
        loop = asyncio.get_running_loop()
        loop.call_later(5, fired.append, "due")
        loop.call_later(8, fired.append, "not yet")
        loop.advance(6)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return fired

    assert run(main) == ["due"]


@pytest.mark.parametrize(
    "dial",
    [
        lambda loop: loop.create_connection(asyncio.Protocol, "127.0.0.1", 1),
        lambda loop: loop.create_server(asyncio.Protocol, "127.0.0.1", 0),
        lambda loop: loop.sock_connect(None, ("127.0.0.1", 1)),
    ],
)
def test_a_real_network_is_refused_with_what_to_do(dial):
    async def main() -> None:
        await dial(asyncio.get_running_loop())

    with pytest.raises(RuntimeError, match="a virtual clock cannot wait for a real network.*drop clock="):
        run(main)


def test_the_same_program_runs_alike_every_time():
    async def main() -> list[tuple[float, int]]:
        loop = asyncio.get_running_loop()
        seen: list[tuple[float, int]] = []

        async def worker(number: int) -> None:
            for _ in range(5):
                await asyncio.sleep(0.1 * number)
                seen.append((loop.time(), number))

        await asyncio.gather(*(worker(number) for number in range(1, 6)))
        return seen

    first = run(main)
    assert all(run(main) == first for _ in range(200))
