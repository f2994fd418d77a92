"""Tests of looptime: a loop whose time jumps, and which is not the plugin's."""

from __future__ import annotations

import asyncio

import pytest
from market import ping, pong


@pytest.mark.asyncio
@pytest.mark.looptime
async def test_an_hour_of_looptime(connex_config, connex_connect):
    async with connex_connect(connex_config.ws_url, ping_interval=None) as ws:
        await ws.send(ping(1))
        assert pong(await ws.recv()) == 1
    await asyncio.sleep(3600)
