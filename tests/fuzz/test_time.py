"""Recorded time-outs, keep-alive losses and back-offs come out of a replay as they went in, in no real time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.http11 import Request

from pytest_connex.cassette.events import Closed, Refused, Rejected
from pytest_connex.cassette.store import Recording

from .stage import HOST, Connect, Server, record, replay

URL = f"{HOST}/"

Talk = Callable[[Server], Awaitable[None]]


class Scripted:
    """A server that accepts and talks."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk

    async def handshake(self, server: Server, request: Request) -> bool:
        server.accept(request, {})
        return True

    async def talk(self, server: Server) -> None:
        await self._talk(server)


class Rejecting:
    """A server that has had enough."""

    async def handshake(self, server: Server, request: Request) -> bool:
        server.reject(429, {"Retry-After": "2"}, "slow down")
        return False

    async def talk(self, server: Server) -> None:
        raise AssertionError("nobody is there")


class Watch:
    """Seconds of the loop's clock."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._start = self._loop.time()

    @property
    def seconds(self) -> float:
        return round(self._loop.time() - self._start, 3)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tape.ws.jsonl"


def always(talk: Talk) -> Callable[[dict[str, Any]], Server]:
    return lambda options: Server(Scripted(talk))


async def three_frames_a_second_apart(server: Server) -> None:
    await server.has_heard(1)
    for number in range(3):
        server.send(f"frame {number}")
        await asyncio.sleep(1)


async def three_frames_at_once(server: Server) -> None:
    await server.has_heard(1)
    for number in range(3):
        server.send(f"frame {number}")


# --- A receive time-out -----------------------------------------------------------------------------------


async def waits_30_s_for_the_fourth_frame(connect: Connect) -> list[Any]:
    async with connect(URL) as ws:
        await ws.send("subscribe")
        seen: list[Any] = [await ws.recv() for _ in range(3)]
        watch = Watch()
        try:
            await asyncio.wait_for(ws.recv(), 30)
        except TimeoutError:
            seen.append(("timed out after", watch.seconds))
        await ws.close(4000, "silence")
        return [*seen, ws.close_code]


@pytest.mark.parametrize("pace", [0, 1])
def test_a_recorded_receive_time_out_of_30_s_times_out_after_30_s(path: Path, pace: int) -> None:
    expected = ["frame 0", "frame 1", "frame 2", ("timed out after", 30.0), 4000]
    assert record(path, waits_30_s_for_the_fourth_frame, always(three_frames_a_second_apart)) == expected
    replayed = replay(path, waits_30_s_for_the_fourth_frame, pace)
    assert (replayed.result, replayed.verdicts, replayed.unplayed) == (expected, [], None)


@pytest.mark.parametrize("pace", [0, 1])
def test_a_client_that_waits_longer_than_it_was_recorded_to_is_told_so(path: Path, pace: int) -> None:
    record(path, waits_30_s_for_the_fourth_frame, always(three_frames_at_once))

    async def waits_on(connect: Connect) -> float:
        async with connect(URL) as ws:
            await ws.send("subscribe")
            for _ in range(3):
                await ws.recv()
            watch = Watch()
            with pytest.raises(ConnectionClosed):
                await ws.recv()
            return watch.seconds

    replayed = replay(path, waits_on, pace)
    assert replayed.result == 35.0
    assert "before the client closes the connection\nwaited 5 s longer" in str(replayed.verdicts[0])


async def one_frame_a_second(server: Server) -> None:
    for number in range(40):
        server.send(f"frame {number}")
        await asyncio.sleep(1)


@pytest.mark.parametrize("pace", [0, 1])
def test_a_client_that_sends_a_heartbeat_every_20_s_is_not_given_up(path: Path, pace: int) -> None:
    """It waits for a frame all the while, and the recording has the frames of 20 s before each heartbeat."""

    async def session(connect: Connect) -> list[Any]:
        async def beat() -> None:
            for _ in range(2):
                await asyncio.sleep(19.5)
                await ws.send("heartbeat")

        async with connect(URL) as ws:
            beating = asyncio.create_task(beat())
            seen = [await ws.recv() for _ in range(40)]
            await beating
        return seen

    expected = [f"frame {number}" for number in range(40)]
    assert record(path, session, always(one_frame_a_second)) == expected
    replayed = replay(path, session, pace)
    assert (replayed.result, replayed.verdicts, replayed.unplayed) == (expected, [], None)


# --- A keep-alive loss ------------------------------------------------------------------------------------


async def falls_silent(server: Server) -> None:
    await server.has_heard(1)
    server.send("frame 0")
    await asyncio.sleep(0.001)
    server.answers_pings = False


async def keeps_alive(connect: Connect) -> list[Any]:
    async with connect(URL, ping_interval=20, ping_timeout=25, close_timeout=0) as ws:
        watch = Watch()
        await ws.send("subscribe")
        seen: list[Any] = [await ws.recv()]
        try:
            await ws.recv()
        except ConnectionClosed as exc:
            seen += [type(exc).__name__, exc.rcvd, ws.close_code]
        return [*seen, watch.seconds]


def test_a_recorded_keep_alive_loss_is_a_loss_again(path: Path) -> None:
    *outcome, after = record(path, keeps_alive, always(falls_silent))
    assert outcome == ["frame 0", "ConnectionClosedError", None, 1006]
    assert 45 <= after <= 55
    [connection] = Recording(path).connections
    assert (connection.closing.by, connection.closing.code) == ("client", 1011)
    assert connection.closing.no_pong_since is not None
    assert (connection.closing.no_close, connection.closing.hung_up) == (True, False)

    at_its_pace = replay(path, keeps_alive, pace=1)
    assert (at_its_pace.result, at_its_pace.verdicts, at_its_pace.unplayed) == ([*outcome, after], [], None)
    at_once = replay(path, keeps_alive)
    assert (at_once.result, at_once.verdicts, at_once.unplayed) == ([*outcome, after], [], None)


# --- A session with three reconnections -------------------------------------------------------------------


async def restarts(server: Server) -> None:
    await server.has_heard(1)
    server.send("book 0")
    await asyncio.sleep(3)
    server.close(1012, "restart")


async def breaks_off(server: Server) -> None:
    await server.has_heard(1)
    server.send("book 1")
    await asyncio.sleep(2)
    server.transport.abort()


async def stays(server: Server) -> None:
    await server.has_heard(1)
    server.send("book 2")


def one_after_the_other() -> Callable[[dict[str, Any]], Server]:
    """A restart, a refused and a rejected dial, an abort, and a connection that lasts."""
    refused = ConnectionRefusedError(111, "refused")
    scripts: Iterator[Any] = iter([Scripted(restarts), refused, Rejecting(), Scripted(breaks_off), Scripted(stays)])

    def server(options: dict[str, Any]) -> Server:
        script = next(scripts)
        if isinstance(script, OSError):
            raise script
        return Server(script)

    return server


async def reconnects_with_back_off(connect: Connect) -> list[Any]:
    """Dial until the third book; wait 5 s, 10 s, ... after each failure in a row, or what the server asks for."""
    seen: list[Any] = []
    watch, failures = Watch(), 0
    while True:
        before = watch.seconds
        try:
            async with connect(URL) as ws:
                failures = 0
                await ws.send("subscribe")
                seen.append((before, await ws.recv()))
                if seen[-1][1] == "book 2":
                    return seen
                await ws.recv()
        except InvalidStatus as exc:
            seen.append((before, exc.response.status_code))
            await asyncio.sleep(float(exc.response.headers["Retry-After"]))
        except (OSError, ConnectionClosed) as exc:
            lost = exc.rcvd and exc.rcvd.code if isinstance(exc, ConnectionClosed) else exc.errno
            seen.append(lost)
            failures += 1
            await asyncio.sleep(5 * failures)


def test_a_session_with_three_reconnections_replays(path: Path) -> None:
    recorded = record(path, reconnects_with_back_off, one_after_the_other())
    assert recorded == [(0.0, "book 0"), 1012, 111, (18.0, 429), (20.0, "book 1"), None, (27.0, "book 2")]
    kinds = [type(connection.closing or connection.answer) for connection in Recording(path).connections]
    assert kinds == [Closed, Refused, Rejected, Closed, Closed]

    at_its_pace = replay(path, reconnects_with_back_off, pace=1)
    assert (at_its_pace.result, at_its_pace.verdicts, at_its_pace.unplayed) == (recorded, [], None)
    at_once = replay(path, reconnects_with_back_off)
    waited = [(0.0, "book 0"), 1012, 111, (15.0, 429), (17.0, "book 1"), None, (22.0, "book 2")]
    assert (at_once.result, at_once.verdicts, at_once.unplayed) == (waited, [], None)


# --- Again and again --------------------------------------------------------------------------------------


def test_200_replays_are_alike(path: Path) -> None:
    recorded = record(path, reconnects_with_back_off, one_after_the_other())
    assert [replay(path, reconnects_with_back_off, pace=1).result for _ in range(200)] == [recorded] * 200
