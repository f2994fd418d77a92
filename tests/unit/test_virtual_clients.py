"""Clients as everybody has them, together on a virtual clock over TCP: each run is like every other.

    CONNEX_VIRTUAL_RUNS=200 pytest tests/unit/test_virtual_clients.py

runs each program 200 times instead of a few.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import aiohttp
import httpx
import pytest
import trustme
import websockets
from aiohttp import web

from pytest_connex.virtual import VirtualLoop

from .stopwatch import Stopwatch

RUNS = int(os.environ.get("CONNEX_VIRTUAL_RUNS", "5"))

Entry = tuple[object, ...]


class Tls(NamedTuple):
    """What both sides of a connection need."""

    serving: ssl.SSLContext
    dialling: ssl.SSLContext


@pytest.fixture(scope="module")
def tls() -> Tls:
    authority = trustme.CA()
    contexts = Tls(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context())
    authority.issue_cert("127.0.0.1").configure_cert(contexts.serving)
    authority.configure_trust(contexts.dialling)
    return contexts


@pytest.fixture
def busy() -> Iterator[None]:
    """Every core of the machine has something else to do."""
    command = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(command) for _ in range(os.cpu_count() or 1)]
    yield
    for process in processes:
        process.kill()
        process.wait()


def runs_of(main: Callable[[], Awaitable[list[Entry]]]) -> list[list[Entry]]:
    """Return the different logs that ``main`` returns, each run on a loop of its own."""
    seen: list[list[Entry]] = []
    for _ in range(RUNS):
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            log = runner.run(main())
        if log not in seen:
            seen.append(log)
    return seen


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A gateway that takes its time: what comes after ``http`` or ``ws`` of its URL."""
    watch = Stopwatch()

    async def stream(request: web.Request) -> web.WebSocketResponse:
        """Answer each message three times, two seconds apart, and break off after two messages."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        messages = 0
        async for message in socket:
            for number in range(3):
                await asyncio.sleep(2)
                await socket.send_str(f"{message.data}-{number}")
            messages += 1
            if messages == 2:
                request.transport.abort()
                break
        return socket

    async def status(request: web.Request) -> web.Response:
        await asyncio.sleep(1.5)
        return web.json_response({"at": watch.seconds})

    application = web.Application()
    application.add_routes([web.get("/stream", stream), web.get("/status", status)])
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    yield f"{'s' if tls else ''}://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def follow(url: str, watch: Stopwatch, log: list[Entry], tls: ssl.SSLContext | None, dials: int) -> None:
    """Ask four things on a connection, and dial again after a while that grows when it is lost."""
    for dial in range(dials):
        try:
            async with websockets.connect(f"ws{url}/stream", ssl=tls) as connection:
                for number in range(4):
                    await connection.send(str(number))
                    for _ in range(3):
                        log.append(("websockets", dial, await asyncio.wait_for(connection.recv(), 30), watch.seconds))
        except websockets.ConnectionClosed:
            log.append(("lost", dial, watch.seconds))
            await asyncio.sleep(5 * (dial + 1))


async def poll_by_aiohttp(
    url: str, watch: Stopwatch, log: list[Entry], tls: ssl.SSLContext | None, polls: int
) -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(polls):
            async with session.get(f"http{url}/status", ssl=tls or True) as response:
                log.append(("aiohttp", (await response.json())["at"], watch.seconds))
            await asyncio.sleep(3)


async def poll_by_httpx(url: str, watch: Stopwatch, log: list[Entry], tls: ssl.SSLContext | None, polls: int) -> None:
    async with httpx.AsyncClient(verify=tls or True) as client:
        for _ in range(polls):
            log.append(("httpx", (await client.get(f"http{url}/status")).json()["at"], watch.seconds))
            await asyncio.sleep(4)


def together(tls: Tls | None = None) -> list[list[Entry]]:
    async def main() -> list[Entry]:
        watch, log = Stopwatch(), []
        async with serving(tls.serving if tls else None) as url:
            given = url, watch, log, tls.dialling if tls else None
            await asyncio.gather(follow(*given, 3), poll_by_aiohttp(*given, 10), poll_by_httpx(*given, 10))
        return [*log, ("end", watch.seconds)]

    return runs_of(main)


def check(logs: list[list[Entry]]) -> None:
    assert len(logs) == 1
    [log] = logs
    assert [entry for entry in log if entry[0] == "lost"] == [("lost", 0, 12), ("lost", 1, 29), ("lost", 2, 51)]
    for client, pause in (("aiohttp", 3), ("httpx", 4)):
        times = [1.5 + (1.5 + pause) * poll for poll in range(10)]
        assert [entry[1:] for entry in log if entry[0] == client] == [(time, time) for time in times]
    assert log[-1] == ("end", 66)


def test_clients_of_three_libraries_run_alike():
    check(together())


def test_they_do_over_tls(tls):
    check(together(tls))


def test_they_do_while_every_core_is_busy(busy):
    check(together())


def test_a_minute_of_reconnects_and_polls_by_rest_and_websocket_is_alike():
    async def main() -> list[Entry]:
        watch, log = Stopwatch(), []
        async with serving() as url:
            async with asyncio.timeout(60):
                await asyncio.gather(follow(url, watch, log, None, 2), poll_by_aiohttp(url, watch, log, None, 13))
        return [*log, ("end", watch.seconds)]

    [log] = runs_of(main)
    assert log[-1] == ("end", 58.5)
    assert len(log) == 13 + 2 * (6 + 1) + 1


def test_a_client_whose_server_never_answers_times_out_when_it_should():
    async def main() -> list[Entry]:
        watch, log = Stopwatch(), []
        async with serving() as url:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1.25)) as session:
                for _ in range(3):
                    with pytest.raises(TimeoutError):
                        await session.get(f"http{url}/status")
                    log.append(("timed out", watch.seconds))
        return log

    assert runs_of(main) == [[("timed out", 1.25), ("timed out", 2.5), ("timed out", 3.75)]]
