"""Retries: what is tried again, after which waits, and what is not."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from pytest_connex import ConnexRest, capture_orderbook
from pytest_connex.errors import AuthenticationError, ConnectionLost, RateLimitError, RequestError
from pytest_connex.model import Snapshot


class Waits(list):
    """Takes the place of a sleep: remembers the seconds, and does not wait."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)

    async def asynchronously(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture
def waits() -> Waits:
    return Waits()


# --- REST, against a sandbox that misbehaves ---------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_rest_tries_again_after_a_passing_failure(connex_sandbox, waits, status):
    connex_sandbox.faults.answer(status, times=2)

    with ConnexRest(connex_sandbox.config, sleep=waits) as client:
        assert client.get("/v1/status").status_code == 200
    assert connex_sandbox.faults.pending() == 0


def test_rest_waits_as_long_as_it_is_told_to(connex_sandbox, waits):
    connex_sandbox.faults.answer(429, times=1, retry_after=7)

    with ConnexRest(connex_sandbox.config, sleep=waits) as client:
        assert client.get("/v1/status").status_code == 200
    assert waits == [7]


def test_rest_returns_the_last_answer_when_every_try_failed(connex_sandbox, waits):
    connex_sandbox.faults.answer(503, times=4)

    with ConnexRest(connex_sandbox.config, sleep=waits) as client:
        with pytest.raises(RequestError) as caught:
            client.check(client.get("/v1/status"))
    assert caught.value.status == 503
    assert connex_sandbox.faults.pending() == 0


def test_rest_reports_a_lasting_rate_limit_with_its_wait(connex_sandbox, waits):
    connex_sandbox.faults.answer(429, times=4, retry_after=2)

    with ConnexRest(connex_sandbox.config, sleep=waits) as client:
        with pytest.raises(RateLimitError) as caught:
            client.check(client.get("/v1/status"))
    assert caught.value.retry_after == 2
    assert waits == [2, 2, 2]


def test_rest_does_not_repeat_what_may_have_had_an_effect(connex_sandbox, waits):
    connex_sandbox.faults.answer(503, times=2)

    with ConnexRest(connex_sandbox.config, sleep=waits) as client:
        assert client.post("/v1/status").status_code == 503
    assert waits == []
    assert connex_sandbox.faults.pending() == 1


# --- REST, scripted by hand --------------------------------------------------------------------------------


async def test_the_asynchronous_client_tries_again(connex_respx, connex_config, waits):
    from pytest_connex.client.rest_async import ConnexRestAsync

    route = connex_respx.get("/v1/status")
    route.side_effect = [_answer(503), _answer(429, {"Retry-After": "3"}), _answer(200)]

    async with ConnexRestAsync(connex_config, sleep=waits.asynchronously) as client:
        response = await client.get("/v1/status")

    assert response.status_code == 200
    assert route.call_count == 3
    assert waits[-1] == 3


async def test_the_asynchronous_client_does_not_repeat_a_post(connex_respx, connex_config, waits):
    from pytest_connex.client.rest_async import ConnexRestAsync

    route = connex_respx.post("/v1/status")
    route.side_effect = [_answer(503), _answer(200)]

    async with ConnexRestAsync(connex_config, sleep=waits.asynchronously) as client:
        response = await client.post("/v1/status")

    assert (response.status_code, route.call_count, list(waits)) == (503, 1, [])


def _answer(status: int, headers: dict[str, str] | None = None):
    import httpx

    return httpx.Response(status, headers=headers, json={})


# --- WebSocket, with the waits of the notebook on a clock that jumps -----------------------------------------

VIRTUAL = pytest.mark.connex(clock="virtual")


@pytest.fixture
def capture(connex_sandbox, connex_connect):
    """Run ``capture_orderbook`` against the sandbox; return its result and the seconds it took."""

    async def run(config=connex_sandbox.config, **settings):
        loop = asyncio.get_running_loop()
        start = loop.time()
        result = await capture_orderbook(config=config, connect=connex_connect, sample_messages=3, **settings)
        return result, loop.time() - start

    return run


@VIRTUAL
async def test_a_dropped_connection_is_opened_again(connex_sandbox, capture):
    connex_sandbox.faults.drop_after(3)
    result, seconds = await capture()

    assert (result.status, result.attempts) == ("success", 2)
    assert 5 <= seconds < 6
    assert [event["event"] for event in result.events].count("connection_closed") == 1


@VIRTUAL
async def test_refused_handshakes_are_tried_again_with_growing_waits(connex_sandbox, capture):
    connex_sandbox.faults.refuse_handshake(times=2)
    result, seconds = await capture()

    assert (result.status, result.attempts) == ("success", 3)
    assert 5 + 10 <= seconds < 16


@VIRTUAL
async def test_used_up_attempts_are_a_failed_result_without_a_wait_after_the_last(connex_sandbox, capture):
    connex_sandbox.faults.refuse_handshake(times=3)
    result, seconds = await capture()

    assert (result.status, result.attempts) == ("failed", 3)
    assert 5 + 10 <= seconds < 16
    assert "503" in result.last_error


@VIRTUAL
async def test_the_number_of_attempts_is_the_callers(connex_sandbox, capture):
    connex_sandbox.faults.refuse_handshake(times=3)
    result, seconds = await capture(max_retries=1)

    assert (result.status, result.attempts) == ("failed", 1)
    assert seconds < 5


@VIRTUAL
async def test_rejected_credentials_are_not_tried_again(connex_sandbox, capture):
    loop = asyncio.get_running_loop()
    start = loop.time()
    with pytest.raises(AuthenticationError):
        await capture(replace(connex_sandbox.config, api_secret="this-is-not-the-secret"))
    assert loop.time() - start < 5


@VIRTUAL
async def test_a_client_reads_on_after_the_connection_was_lost(connex_sandbox, connex_ws_connect):
    connex_sandbox.faults.drop_after(4)
    async with connex_ws_connect() as ws:
        await ws.subscribe("ETH/USDT", depth=5)
        frames = []
        async for frame in ws.frames():
            frames.append(frame)
            if len(frames) == 5:
                break

    assert sum(isinstance(frame, Snapshot) for frame in frames) == 2


async def test_a_lost_connection_is_an_error_with_its_close_code(connex_sandbox, connex_ws):
    await connex_ws.subscribe("ETH/USDT", depth=5)
    connex_sandbox.drop_connections()

    with pytest.raises(ConnectionLost) as caught:
        await anext(frame async for frame in connex_ws if frame is None)
    assert caught.value.code == 1006


async def test_reconnecting_authenticates_and_subscribes_again(connex_ws):
    await connex_ws.subscribe("ETH/USDT", depth=5)
    first = await connex_ws.recv()
    await connex_ws.reconnect()
    again = await connex_ws.recv()

    assert isinstance(first, Snapshot)
    assert isinstance(again, Snapshot)
    assert again.symbol == first.symbol
