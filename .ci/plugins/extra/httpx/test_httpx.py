"""A host whose answers are made up, beside Connex; and the plugin's own client on httpx."""

from __future__ import annotations

import httpx
import pytest
from market import ping, pong


@pytest.mark.asyncio
async def test_another_host(httpx_mock, connex_config, connex_connect):
    httpx_mock.add_response(url="https://other.invalid/rate", json={"rate": "1.25"})
    async with httpx.AsyncClient() as client, connex_connect(connex_config.ws_url) as ws:
        await ws.send(ping(1))
        assert pong(await ws.recv()) == 1
        assert (await client.get("https://other.invalid/rate")).json() == {"rate": "1.25"}


@pytest.mark.asyncio
async def test_status_with_httpx(connex_rest_async):
    assert (await connex_rest_async.get("/v1/status")).json()["status"] == "healthy"
