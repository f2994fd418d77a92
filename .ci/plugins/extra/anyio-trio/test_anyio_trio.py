"""Tests of anyio's plugin, on trio: some pass, some must fail from its recording."""

from __future__ import annotations

import anyio.to_thread
import pytest
import requests
from market import REPLAYING, headers

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "trio"


async def test_on_anyio(connex_proxy, connex_config):
    url = connex_proxy.rest_url + "/v1/status"
    response = await anyio.to_thread.run_sync(lambda: requests.get(url, headers=headers(connex_config), timeout=10))

    assert response.json()["status"] == "healthy"


async def test_another_request_on_anyio(connex_proxy, connex_config):
    url = connex_proxy.rest_url + ("/v1/symbols" if REPLAYING else "/v1/status")
    await anyio.to_thread.run_sync(lambda: requests.get(url, headers=headers(connex_config), timeout=10))


async def test_a_session_on_anyio(connex_rest):
    assert connex_rest.get("/v1/status").json()["status"] == "healthy"


async def test_another_request_of_a_session_on_anyio(connex_rest):
    connex_rest.get("/v1/symbols" if REPLAYING else "/v1/status")
