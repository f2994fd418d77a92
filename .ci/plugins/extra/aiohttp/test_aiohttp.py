"""A server of the test's own on this machine, beside Connex behind its port."""

from __future__ import annotations

import aiohttp
import pytest
from aiohttp import web
from market import headers


async def _rate(request: web.Request) -> web.Response:
    return web.json_response({"rate": "1.25"})


@pytest.fixture
def application():
    application = web.Application()
    application.router.add_get("/rate", _rate)
    return application


@pytest.mark.asyncio
async def test_a_server_of_its_own(aiohttp_client, application):
    client = await aiohttp_client(application)

    assert await (await client.get("/rate")).json() == {"rate": "1.25"}


@pytest.mark.asyncio
async def test_both(aiohttp_client, application, connex_proxy, connex_config):
    client = await aiohttp_client(application)
    assert await (await client.get("/rate")).json() == {"rate": "1.25"}
    async with aiohttp.ClientSession() as session:
        async with session.get(connex_proxy.rest_url + "/v1/status", headers=headers(connex_config)) as response:
            assert (await response.json())["status"] == "healthy"
