"""The WebSocket client against scripted servers on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from websockets.asyncio.server import serve

from pytest_connex import ConnexWebSocket
from pytest_connex.client.websocket import Nonces
from pytest_connex.config import ConnexConfig
from pytest_connex.errors import (
    AuthenticationError,
    ConfigError,
    ConnectionLost,
    DataFormatError,
    LoopScopeError,
    SubscriptionError,
)
from pytest_connex.model import Heartbeat, OtherFrame, Snapshot, Subscribed, Update

SNAPSHOT = '{"type": "snapshot", "symbol": "A/B", "sequence": 1, "bids": [["1.10", "2"]], "asks": []}'
UPDATE = '{"type": "update", "symbol": "A/B", "sequence": 2, "bids": [], "asks": [["1.2", "0"]]}'
SUBSCRIBED = '{"event": "subscribed", "channel": "orderbook", "symbol": "A/B", "depth": 50}'


@contextlib.asynccontextmanager
async def serving(handler: Callable, **options) -> AsyncIterator[ConnexConfig]:
    async with serve(handler, "127.0.0.1", 0, **options) as server:
        port = server.sockets[0].getsockname()[1]
        yield ConnexConfig(ws_url=f"ws://127.0.0.1:{port}/", ws_timeout=5, retry_delay=1)


def says(*answers: str, code: int = 1000):
    """A server that answers every message with all of ``answers``, and then closes."""

    async def handler(ws) -> None:
        async for _ in ws:
            for answer in answers:
                await ws.send(answer)
            await ws.close(code, "done")

    return handler


async def test_frames_before_the_answer_are_kept_in_order():
    async with serving(says(SNAPSHOT, UPDATE, SUBSCRIBED, '{"event": "heartbeat"}')) as config:
        async with ConnexWebSocket(config) as ws:
            assert await ws.subscribe("A/B") == Subscribed(channel="orderbook", symbol="A/B", depth=50)
            frames = [await ws.recv() for _ in range(3)]
    assert [type(frame) for frame in frames] == [Snapshot, Update, Heartbeat]


@pytest.mark.parametrize(
    "text",
    [
        "not JSON",
        "[1, 2]",
        '{"bids": "none", "symbol": "A/B"}',
        '{"bids": [["NaN", "1"]], "symbol": "A/B"}',
        '{"bids": [["1", "-1"]], "symbol": "A/B"}',
    ],
)
async def test_what_is_no_frame_is_an_error_and_the_connection_stays_usable(text):
    async with serving(says(text, SNAPSHOT)) as config, ConnexWebSocket(config) as ws:
        await ws.send({})
        with pytest.raises(DataFormatError):
            await ws.recv()
        assert isinstance(await ws.recv(), Snapshot)


async def test_an_unknown_object_is_handed_on():
    async with serving(says('{"event": "news", "text": "hi"}')) as config, ConnexWebSocket(config) as ws:
        await ws.send({})
        assert await ws.recv() == OtherFrame(name="news", payload={"event": "news", "text": "hi"})


async def test_a_binary_message_is_no_text():
    async def handler(ws) -> None:
        await ws.send(b"\x00\x01")

    async with serving(handler) as config, ConnexWebSocket(config) as ws:
        with pytest.raises(DataFormatError, match="a binary message of 2 bytes"):
            await ws.recv_text()


async def test_iteration_ends_with_a_normal_close():
    async with serving(says(SNAPSHOT)) as config, ConnexWebSocket(config) as ws:
        await ws.send({})
        assert [type(frame) async for frame in ws] == [Snapshot]


@pytest.mark.parametrize("code", [1011, 1012, 4000])
async def test_another_close_is_an_error_with_code_and_reason(code):
    async with serving(says(SNAPSHOT, code=code)) as config, ConnexWebSocket(config) as ws:
        await ws.send({})
        with pytest.raises(ConnectionLost, match="done") as caught:
            [_ async for _ in ws]
    assert (caught.value.code, caught.value.reason) == (code, "done")


async def test_a_frame_that_is_too_large_is_a_lost_connection():
    async with serving(says("x" * 10_000_000)) as config, ConnexWebSocket(config) as ws:
        await ws.send({})
        with pytest.raises(ConnectionLost) as caught:
            await ws.recv()
    assert caught.value.code == 1009


@pytest.mark.parametrize("status", [401, 403])
async def test_a_handshake_refused_for_who_asks_is_an_authentication_error(status):
    def refuse(connection, request):
        return connection.respond(status, "no")

    async with serving(says(), process_request=refuse) as config:
        with pytest.raises(AuthenticationError, match=str(status)):
            await ConnexWebSocket(config).open()


async def test_a_handshake_refused_otherwise_is_a_lost_connection():
    def refuse(connection, request):
        return connection.respond(503, "busy")

    async with serving(says(), process_request=refuse) as config:
        with pytest.raises(ConnectionLost) as caught:
            await ConnexWebSocket(config).open()
    assert caught.value.code == 503


async def test_a_connection_that_closes_during_the_handshake_is_lost():
    async def slam(reader, writer) -> None:
        writer.close()

    server = await asyncio.start_server(slam, "127.0.0.1", 0)
    async with server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(ConnectionLost):
            await ConnexWebSocket(ConnexConfig(ws_url=url)).open()


async def test_nobody_there_is_a_lost_connection(unused_tcp_port):
    with pytest.raises(ConnectionLost, match=r"no connection to ws://127\.0\.0\.1"):
        await ConnexWebSocket(ConnexConfig(ws_url=f"ws://127.0.0.1:{unused_tcp_port}")).open()


def with_credentials(config: ConnexConfig) -> ConnexConfig:
    return ConnexConfig(ws_url=config.ws_url, api_key="the-key-of-mine", api_secret="the-secret-of-mine")


@pytest.mark.parametrize(("code", "kind"), [(4001, AuthenticationError), (1011, ConnectionLost)])
async def test_a_close_during_authentication(code, kind):
    async with serving(says(code=code)) as config:
        with pytest.raises(kind):
            await ConnexWebSocket(with_credentials(config)).open()


async def test_a_close_during_subscription_is_a_lost_connection():
    async with serving(says(code=1011)) as config, ConnexWebSocket(config) as ws:
        with pytest.raises(ConnectionLost):
            await ws.subscribe("A/B")


async def test_an_error_event_is_the_matching_exception():
    error = '{"event": "error", "code": "unknown_symbol", "message": "no"}'
    async with serving(says(error)) as config, ConnexWebSocket(config) as ws:
        with pytest.raises(SubscriptionError, match="unknown_symbol: no"):
            await ws.subscribe("A/B")


async def test_silence_is_a_time_out():
    async def handler(ws) -> None:
        await ws.wait_closed()

    async with serving(handler) as config, ConnexWebSocket(config) as ws:
        with pytest.raises(TimeoutError, match=r"no message from ws://127\.0\.0\.1"):
            await ws.recv(timeout=0.01)


async def test_reconnecting_subscribes_again_and_waits_between_attempts():
    connections = []

    async def handler(ws) -> None:
        connections.append(ws)
        if len(connections) in (2, 3):
            await ws.close(1012)
            return
        async for message in ws:
            asked = json.loads(message)
            await ws.send(json.dumps({**asked, "event": "subscribed"}))
            if len(connections) == 1:
                await ws.close(1012)

    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async with serving(handler) as config, ConnexWebSocket(config, sleep=sleep) as ws:
        await ws.subscribe("A/B", depth=7)
        await ws.reconnect()
    assert len(connections) == 4
    assert waits == [1.0, 2.0]


def echoing(heard: list[dict]):
    """A server that answers every request with what was asked, and keeps it."""

    async def handler(ws) -> None:
        async for message in ws:
            heard.append(json.loads(message))
            await ws.send(json.dumps({**heard[-1], "event": f"{heard[-1]['action']}d"}))

    return handler


BINANCE, OKX, DEEP = ("A/B", 3, None), ("A/B", 3, "okx"), ("A/B", 20, "okx")


@pytest.mark.parametrize(
    ("ended", "left"),
    [
        ({"exchange": "okx", "depth": 20}, [BINANCE, OKX]),
        ({"exchange": "okx"}, [BINANCE]),
        ({"depth": 3}, [OKX, DEEP]),
        ({"depth": 20}, [BINANCE, OKX]),
        ({}, [OKX, DEEP]),
        ({"exchange": "binance"}, [OKX, DEEP]),
    ],
    ids=str,
)
async def test_a_reconnection_subscribes_to_what_was_not_unsubscribed_from(ended, left):
    heard: list[dict] = []
    async with serving(echoing(heard)) as config, ConnexWebSocket(config) as ws:
        for subscription in (BINANCE, OKX, DEEP):
            await ws.subscribe(*subscription)
        await ws.unsubscribe("A/B", **ended)
        heard.clear()
        await ws.reconnect()
    assert [(asked["symbol"], asked["depth"], asked.get("exchange")) for asked in heard] == left


async def test_what_is_not_named_is_not_said():
    heard: list[dict] = []
    async with serving(echoing(heard)) as config, ConnexWebSocket(config) as ws:
        await ws.subscribe("A/B")
        await ws.unsubscribe("A/B")
    assert [set(asked) for asked in heard] == [
        {"action", "channel", "symbol", "depth"},
        {"action", "channel", "symbol"},
    ]


async def test_used_up_attempts_are_a_lost_connection():
    opened = []

    async def handler(ws) -> None:
        opened.append(ws)
        async for _ in ws:
            if len(opened) > 1:
                await ws.close(1012)
                return
            await ws.send(SUBSCRIBED)

    async def sleep(seconds: float) -> None:
        pass

    async with serving(handler) as config, ConnexWebSocket(config, sleep=sleep) as ws:
        await ws.subscribe("A/B", 5)
        with pytest.raises(ConnectionLost):
            await ws.reconnect()


def test_another_loop_is_an_error_that_says_what_to_set():
    async def opened() -> tuple[ConnexWebSocket, object]:
        context = serving(says())
        config = await context.__aenter__()
        ws = ConnexWebSocket(config)
        await ws.open()
        return ws, context

    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    try:
        ws, context = first.run_until_complete(opened())
        with pytest.raises(LoopScopeError, match="loop_scope"):
            second.run_until_complete(ws.recv())
        first.run_until_complete(ws.close())
        first.run_until_complete(context.__aexit__(None, None, None))
    finally:
        first.close()
        second.close()


async def test_before_opening_nothing_can_be_received():
    with pytest.raises(ConnectionLost, match="not open"):
        await ConnexWebSocket(ConnexConfig(ws_url="wss://gateway.example")).recv()


def test_a_missing_url_is_named():
    with pytest.raises(ConfigError, match="CONNEX_WS_URL"):
        ConnexWebSocket(ConnexConfig())


def test_nonces_rise_even_when_the_clock_does_not():
    clock = iter([5, 5, 4, 9])
    nonces = Nonces(lambda: next(clock))
    assert [nonces.next("a"), nonces.next("a"), nonces.next("b"), nonces.next("a")] == ["5", "6", "4", "9"]


def nonces_at(*moments: int) -> list[int]:
    """The nonces of one key, with the clock at these moments."""
    clock = iter(moments)
    nonces = Nonces(lambda: next(clock))
    return [int(nonces.next("a")) for _ in moments]


def test_nonces_rise_where_the_clock_is_set_back_a_little():
    assert nonces_at(100_000, 99_000, 85_001) == [100_000, 100_001, 100_002]


def test_nonces_follow_a_clock_that_is_frozen_in_the_past():
    frozen, now = 1_000_000, 9_000_000
    assert nonces_at(now, frozen, now + 5) == [now, frozen, now + 5]


def test_nonces_follow_the_real_clock_after_one_that_was_frozen_in_the_future():
    frozen, now = 9_000_000, 1_000_000
    assert nonces_at(frozen, now, now) == [frozen, now, now + 1]


def test_no_nonce_is_used_twice_where_a_clock_is_frozen_at_the_same_moment_again():
    frozen, now = 1_000_000, 9_000_000
    assert nonces_at(frozen, now, frozen, now, frozen) == [frozen, now, frozen + 1, now + 1, frozen + 2]


def test_a_clock_that_is_set_back_further_begins_anew():
    assert nonces_at(100_000, 85_000, 84_000) == [100_000, 85_000, 85_001]


def test_threads_get_different_nonces():
    nonces = Nonces(lambda: 5)
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(nonces.next, ["a"] * 2_000))
    assert sorted(map(int, got)) == list(range(5, 2_005))


def test_no_repr_shows_a_secret():
    config = ConnexConfig(ws_url="wss://gateway.example", api_key="the-key-of-mine", api_secret="the-secret-of-mine")
    shown = repr(ConnexWebSocket(config))
    assert shown == "ConnexWebSocket('wss://gateway.example', not open, key='the-...mine')"
