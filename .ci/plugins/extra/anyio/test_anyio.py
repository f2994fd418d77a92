"""Tests of anyio's plugin, on asyncio."""

from __future__ import annotations

import pytest
from market import ping, pong

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


async def test_pongs_on_anyio(connex_proxy):
    import websockets

    async with websockets.connect(connex_proxy.ws_url) as ws:
        await ws.send(ping(1))
        assert pong(await ws.recv()) == 1
