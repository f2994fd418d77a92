"""Answers of Connex that are made up, and of another host beside it."""

from __future__ import annotations

import httpx
import pytest
import respx
from market import ping, pong


@pytest.mark.asyncio
async def test_made_up(connex_respx, connex_rest_async):
    connex_respx.get("/v1/status").respond(json={"status": "degraded"})

    assert (await connex_rest_async.get("/v1/status")).json() == {"status": "degraded"}


@pytest.mark.asyncio
@respx.mock
async def test_another_host(connex_config, connex_connect):
    respx.get("https://other.invalid/rate").respond(json={"rate": "1.25"})
    async with httpx.AsyncClient() as client, connex_connect(connex_config.ws_url) as ws:
        await ws.send(ping(1))
        assert pong(await ws.recv()) == 1
        assert (await client.get("https://other.invalid/rate")).json() == {"rate": "1.25"}
