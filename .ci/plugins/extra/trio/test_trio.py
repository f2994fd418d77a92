"""Tests of pytest-trio: some pass, some must fail from its recording."""

from __future__ import annotations

import pytest
import requests
import trio
from market import REPLAYING, headers


@pytest.mark.trio
async def test_on_trio(connex_proxy, connex_config):
    url = connex_proxy.rest_url + "/v1/status"
    response = await trio.to_thread.run_sync(lambda: requests.get(url, headers=headers(connex_config), timeout=10))

    assert response.json()["status"] == "healthy"


@pytest.mark.trio
async def test_another_request_on_trio(connex_proxy, connex_config):
    url = connex_proxy.rest_url + ("/v1/symbols" if REPLAYING else "/v1/status")
    await trio.to_thread.run_sync(lambda: requests.get(url, headers=headers(connex_config), timeout=10))


@pytest.mark.trio
async def test_a_session_on_trio(connex_rest):
    assert connex_rest.get("/v1/status").json()["status"] == "healthy"


@pytest.mark.trio
async def test_another_request_of_a_session_on_trio(connex_rest):
    connex_rest.get("/v1/symbols" if REPLAYING else "/v1/status")
