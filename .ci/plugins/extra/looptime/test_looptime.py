"""Tests of looptime: a loop whose time jumps where a test has no connection, and the usual one where it has."""

from __future__ import annotations

import asyncio

import pytest
from market import ping, pong


@pytest.mark.asyncio
@pytest.mark.looptime
async def test_an_hour_of_looptime():
    loop = asyncio.get_running_loop()
    before = loop.time()
    await asyncio.sleep(3600)
    assert loop.time() - before == 3600


@pytest.mark.asyncio
@pytest.mark.looptime(False)
async def test_a_connection_on_the_usual_loop(connex_config, connex_connect):
    async with connex_connect(connex_config.ws_url, ping_interval=None) as ws:
        await ws.send(ping(1))
        assert pong(await ws.recv()) == 1
