"""A host whose answers are made up, beside Connex, in one test."""

from __future__ import annotations

import aiohttp
import pytest
from aioresponses import aioresponses
from market import ping, pong


@pytest.mark.asyncio
async def test_another_host(connex_config, connex_connect):
    with aioresponses() as made_up:
        made_up.get("https://other.invalid/rate", payload={"rate": "1.25"})
        async with aiohttp.ClientSession() as session, connex_connect(connex_config.ws_url) as ws:
            await ws.send(ping(1))
            assert pong(await ws.recv()) == 1
            async with session.get("https://other.invalid/rate") as response:
                assert await response.json() == {"rate": "1.25"}
