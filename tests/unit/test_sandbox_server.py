"""The sandbox on its port, seen by real clients, with and without faults."""

from __future__ import annotations

import json

import pytest
import requests
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from pytest_connex.errors import ConfigError
from pytest_connex.faults import Faults
from pytest_connex.protocol import Dialect
from pytest_connex.sandbox.server import Sandbox

pytestmark = pytest.mark.connex_sandbox

SUBSCRIBE = json.dumps({"action": "subscribe", "channel": "orderbook", "symbol": "ETH/USDT", "depth": 2})


def test_two_sandboxes_are_two_places():
    with Sandbox() as one, Sandbox() as two:
        assert one.rest_url != two.rest_url
        assert one.config.mode == "sandbox"
        assert one.api_secret not in repr(one)


def test_stopping_twice_or_before_starting_does_nothing():
    sandbox = Sandbox()
    sandbox.stop()
    sandbox.stop()


def test_a_stopped_sandbox_answers_no_more():
    with Sandbox() as sandbox:
        url = sandbox.rest_url
        assert requests.get(url, timeout=5).status_code == 401
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=5)


def test_a_plain_request_to_the_websocket_is_refused(connex_sandbox):
    answer = requests.get(connex_sandbox.rest_url + "/ws", timeout=5)
    assert (answer.status_code, answer.text) == (400, "this is a WebSocket endpoint")


def test_further_keys_are_known_too(connex_sandbox):
    made = connex_sandbox.new_credentials()
    headers = {"X-CONNEX-API-KEY": made.api_key, "X-CONNEX-API-SECRET": made.api_secret}
    assert requests.get(connex_sandbox.rest_url + "/v1/status", headers=headers, timeout=5).status_code == 200


def test_what_was_said_of_a_sandbox_counts():
    class Mine(Dialect):
        status_path = "/alive"

    with Sandbox(dialect=Mine(), rate_limit=1, clock_skew=-3_600) as sandbox:
        headers = {"X-CONNEX-API-KEY": sandbox.api_key, "X-CONNEX-API-SECRET": sandbox.api_secret}
        one, two = (requests.get(sandbox.rest_url + "/alive", headers=headers, timeout=5) for _ in range(2))
    assert (one.status_code, two.status_code, sandbox.rate_limit, sandbox.clock_skew) == (200, 429, 1, -3_600.0)
    assert two.json()["error"] == "rate_limited"
    assert int(two.headers["X-RateLimit-Reset"]) * 1000 == pytest.approx(one.json()["timestamp"], abs=120_000)


@pytest.mark.parametrize("settings", [{"rate_limit": 0}, {"clock_skew": float("nan")}], ids=str)
def test_a_sandbox_that_makes_no_sense_is_refused(settings):
    with pytest.raises(ConfigError):
        Sandbox(**settings)


def test_a_scripted_answer_comes_as_often_as_it_was_asked_for(connex_sandbox):
    connex_sandbox.faults.answer(429, times=2, retry_after=3)
    answers = [requests.get(connex_sandbox.rest_url + "/v1/status", timeout=5) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 429, 401]
    assert answers[0].headers["Retry-After"] == "3"
    assert answers[0].json()["code"] == 429


async def test_a_refused_handshake_says_its_status(connex_sandbox):
    connex_sandbox.faults.refuse_handshake(status=429, retry_after=9)
    with pytest.raises(InvalidStatus) as caught:
        await connect(connex_sandbox.ws_url)
    assert caught.value.response.status_code == 429
    assert caught.value.response.headers["Retry-After"] == "9"


async def test_a_dropped_connection_ends_without_a_close_frame(connex_sandbox):
    connex_sandbox.faults.drop_after(3)
    async with connect(connex_sandbox.ws_url) as ws:
        await ws.send(SUBSCRIBE)
        assert [json.loads(await ws.recv()).get("type") for _ in range(3)] == [None, "snapshot", "update"]
        with pytest.raises(ConnectionClosedError) as caught:
            await ws.recv()
    assert caught.value.rcvd is None


async def test_a_scripted_close_has_its_code_and_reason(connex_sandbox):
    connex_sandbox.faults.close_after(1, 1012, "restart")
    async with connect(connex_sandbox.ws_url) as ws:
        await ws.send(SUBSCRIBE)
        await ws.recv()
        with pytest.raises(ConnectionClosedError) as caught:
            await ws.recv()
    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1012, "restart")


async def test_a_message_of_ten_megabytes_is_taken(connex_sandbox):
    async with connect(connex_sandbox.ws_url) as ws:
        await ws.send('"' + "x" * 10_000_000 + '"')
        assert json.loads(await ws.recv())["code"] == "bad_request"


@pytest.mark.parametrize(
    "script",
    [
        lambda faults: faults.answer(200),
        lambda faults: faults.answer(503, times=0),
        lambda faults: faults.answer(503, times=True),
        lambda faults: faults.answer(503, retry_after=-1),
        lambda faults: faults.refuse_handshake(status=101),
        lambda faults: faults.drop_after(-1),
        lambda faults: faults.close_after(1, 99),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(script):
    faults = Faults()
    with pytest.raises(ConfigError):
        script(faults)
    assert faults.pending() == 0
