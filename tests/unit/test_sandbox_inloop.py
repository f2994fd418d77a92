"""The sandbox within a loop, on a virtual clock: every fault at its exact time."""

from __future__ import annotations

import asyncio
import json

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus

from .stopwatch import Stopwatch

pytestmark = pytest.mark.connex(clock="virtual")

PING = '{"action": "ping", "id": 7}'
PONG = '{"event": "pong", "id": 7}'


@pytest.fixture
def faults(connex_sandbox):
    return connex_sandbox.faults


@pytest.fixture
def dial(connex_sandbox, connex_connect):
    return lambda **options: connex_connect(connex_sandbox.ws_url, **options)


async def pong(ws: ClientConnection) -> str:
    await ws.send(PING)
    return str(await ws.recv())


async def until_the_end(ws: ClientConnection) -> ConnectionClosed:
    try:
        while True:
            await ws.recv()
    except ConnectionClosed as exc:
        return exc


# --- The wire --------------------------------------------------------------------------------------------


async def test_latency_takes_as_long(faults, dial):
    faults.latency(0.5)
    watch = Stopwatch()
    async with dial() as ws:
        opened = watch.seconds
        assert (await pong(ws), opened, watch.seconds) == (PONG, 0.5, 1.0)


async def test_latency_may_begin_and_end_while_a_connection_is_open(faults, dial):
    async with dial() as ws:
        watch, times = Stopwatch(), []
        for seconds in (0, 2, 0):
            faults.latency(seconds)
            await pong(ws)
            times.append(watch.seconds)
    assert times == [0.0, 2.0, 2.0]


async def test_jitter_is_around_the_latency_and_the_same_for_a_seed(faults, dial):
    faults.latency(2, jitter=1)
    runs = []
    for _ in range(2):
        async with dial() as ws:
            times = []
            for _ in range(20):
                watch = Stopwatch()
                await pong(ws)
                times.append(watch.seconds)
            runs.append(times)
    assert 1 <= min(runs[0]) < 1.5 < 2.5 < max(runs[0]) <= 3
    assert runs[0] != runs[1]


async def test_bandwidth_is_the_bytes_of_a_second(faults, dial):
    async with dial() as ws:
        watch = Stopwatch()
        faults.bandwidth(10)
        await pong(ws)
        assert watch.seconds == (len(PONG) + 2) / 10


# --- How connections end ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "seconds", "received", "happened"),
    [
        (lambda faults: faults.drop_after(seconds=3), 3.0, None, "drop after 3 s"),
        (lambda faults: faults.reset_after(seconds=0.25), 0.25, None, "reset after 0.25 s"),
        (lambda faults: faults.drop_after(seconds=0), 0.0, None, "drop after 0 s"),
        (
            lambda faults: faults.close_after(seconds=2.5, code=1012, reason="restart"),
            2.5,
            (1012, "restart"),
            "close after 2.5 s with 1012 restart",
        ),
        (lambda faults: faults.drop_after(1), 5.0, None, "drop after 1 message"),  # the heartbeat
        (lambda faults: faults.drop_after(2), 10.0, None, "drop after 2 messages"),
    ],
)
async def test_a_connection_ends_at_its_time(faults, dial, script, seconds, received, happened):
    script(faults)
    async with dial() as ws:
        watch = Stopwatch()
        end = await until_the_end(ws)
    assert (watch.seconds, end.rcvd and (end.rcvd.code, end.rcvd.reason)) == (seconds, received)
    assert faults.happened() == [f"connection 1: {happened}"]


async def test_an_end_comes_after_what_was_delayed_before_it(faults, dial):
    faults.drop_after(1)
    async with dial() as ws:
        watch = Stopwatch()
        faults.latency(4)
        assert await pong(ws) == PONG
        await until_the_end(ws)
        assert watch.seconds == 4.0


async def test_a_client_with_keepalive_notices_a_stall_when_its_ping_is_overdue(faults, dial):
    faults.stall_after(0)
    async with dial(ping_interval=20, ping_timeout=15, close_timeout=5) as ws:
        watch = Stopwatch()
        end = await until_the_end(ws)
    assert (watch.seconds, end.rcvd, end.sent.code, end.sent.reason) == (40.0, None, 1011, "keepalive ping timeout")


async def test_a_stalled_client_is_heard_by_nobody(faults, dial):
    faults.stall_after(1)
    async with dial(ping_interval=None, close_timeout=1) as ws:
        assert await pong(ws) == PONG
        await ws.send(PING)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3_600):
                await ws.recv()


async def test_a_stalled_connection_can_be_dropped(connex_sandbox, faults, dial):
    faults.stall_after(0)
    async with dial(ping_interval=None) as ws:
        watch = Stopwatch()
        asyncio.get_running_loop().call_later(3, connex_sandbox.drop_connections)
        assert ((await until_the_end(ws)).rcvd, watch.seconds) == (None, 3.0)


async def test_a_session_that_is_rejected_is_reset_instead_of_closed(faults, dial):
    faults.reset_instead_of_close()
    unknown = {"apiKey": "unknown", "nonce": "1", "signature": "none"}
    async with dial() as ws:
        await ws.send(json.dumps({"action": "authenticate", "data": unknown}))
        assert json.loads(await ws.recv())["code"] == "unknown_key"
        with pytest.raises(ConnectionClosedError) as caught:
            await ws.recv()
    assert (caught.value.rcvd, faults.happened()) == (None, ["connection 1: reset instead of a close"])


# --- What becomes of messages ----------------------------------------------------------------------------


async def test_messages_become_what_was_scripted(faults, dial):
    faults.truncate(1)
    faults.duplicate(2)
    faults.reorder(3)
    subscribe = {"action": "subscribe", "channel": "orderbook", "symbol": "ETH/USDT", "depth": 1}
    async with dial() as ws:
        await ws.send(PING)
        assert await ws.recv() == PONG[: len(PONG) // 2]
        await ws.send(PING)
        assert [await ws.recv(), await ws.recv()] == [PONG, PONG]
        await ws.send(json.dumps(subscribe))
        assert [json.loads(await ws.recv()).get("type") for _ in range(3)] == ["snapshot", None, "update"]
    assert faults.happened() == [f"connection 1: {kind}" for kind in _AT]


_AT = ("truncate at message 1", "duplicate at message 2", "reorder at message 3")


async def test_what_is_no_utf8_is_refused_by_the_client(faults, dial):
    faults.invalid_utf8(1)
    async with dial() as ws:
        await ws.send(PING)
        end = await until_the_end(ws)
    assert (end.sent.code, faults.happened()) == (1007, ["connection 1: invalid_utf8 at message 1"])


# --- Dials -----------------------------------------------------------------------------------------------


async def test_a_refused_handshake_is_told_and_uses_up_nothing_else(faults, dial):
    faults.refuse_handshake(status=429, retry_after=9)
    faults.drop_after(1)
    with pytest.raises(InvalidStatus) as caught:
        await dial()
    response = caught.value.response
    assert (response.status_code, response.headers["Retry-After"], faults.pending()) == (429, "9", 1)
    async with dial() as ws:
        await until_the_end(ws)
    assert faults.happened() == ["handshake of /ws: answered with 429", "connection 1: drop after 1 message"]


async def test_dials_are_refused_for_their_seconds(faults, dial):
    faults.refuse(5)
    with pytest.raises(ConnectionRefusedError):
        await dial()
    await asyncio.sleep(4.999)
    with pytest.raises(ConnectionRefusedError):
        await dial()
    await asyncio.sleep(0.001)
    async with dial() as ws:
        assert await pong(ws) == PONG


@pytest.mark.parametrize("lift", ["accept", "clear"])
async def test_dials_are_refused_until_they_are_accepted(faults, dial, lift):
    faults.refuse()
    await asyncio.sleep(1_000_000)
    with pytest.raises(ConnectionRefusedError):
        await dial()
    getattr(faults, lift)()
    async with dial() as ws:
        assert await pong(ws) == PONG


async def test_a_connection_that_is_open_stays_open_while_dials_are_refused(faults, dial):
    async with dial() as ws:
        faults.refuse()
        assert await pong(ws) == PONG
