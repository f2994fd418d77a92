"""Any client, given a URL."""

from __future__ import annotations

import pytest
import requests
import websockets
import websockets.sync.client
from market import headers, ping, pong


def test_blocking_clients(connex_proxy, connex_config):
    status = requests.get(connex_proxy.rest_url + "/v1/status", headers=headers(connex_config), timeout=10)
    assert status.json()["status"] == "healthy"

    with websockets.sync.client.connect(connex_proxy.ws_url) as ws:
        ws.send(ping(1))
        assert pong(ws.recv()) == 1


@pytest.mark.asyncio
async def test_an_asynchronous_client(connex_proxy):
    async with websockets.connect(connex_proxy.ws_url) as ws:
        await ws.send(ping(2))
        assert pong(await ws.recv()) == 2
