"""WebSockets: both clients of websockets, the client of the plugin, and a virtual clock."""

from __future__ import annotations

import asyncio

import pytest
from market import ping, pong


@pytest.mark.asyncio
async def test_pongs(connex_config, connex_connect):
    async with connex_connect(connex_config.ws_url) as ws:
        for number in range(3):
            await ws.send(ping(number))
            assert pong(await ws.recv()) == number


def test_pongs_for_a_blocking_client(connex_config, connex_connect_sync):
    with connex_connect_sync(connex_config.ws_url) as ws:
        for number in range(3):
            ws.send(ping(number))
            assert pong(ws.recv()) == number


@pytest.mark.asyncio
@pytest.mark.parametrize("symbol", ["ETH/USDT", "BTC/USDT"])
async def test_updates_are_linked(connex_ws, symbol):
    await connex_ws.subscribe(symbol, depth=5)
    snapshot, update = [await connex_ws.recv() for _ in range(2)]

    assert update.previous_sequence == snapshot.sequence


@pytest.mark.asyncio(loop_scope="function")
@pytest.mark.connex(clock="virtual")
async def test_an_hour_passes(connex_config, connex_connect):
    loop = asyncio.get_running_loop()
    start = loop.time()
    async with connex_connect(connex_config.ws_url, ping_interval=None) as ws:
        await asyncio.sleep(3600)
        await ws.send(ping(1))
        while "pong" not in await ws.recv():
            pass

    assert loop.time() - start >= 3600
