"""A clock that stands still."""

from __future__ import annotations

import datetime

import pytest


@pytest.mark.freeze_time("2030-01-01T00:00:00Z")
def test_rest_while_time_stands_still(connex_rest):
    assert connex_rest.get("/v1/status").json()["status"] == "healthy"
    assert datetime.datetime.now(datetime.UTC).year == 2030


@pytest.mark.asyncio
@pytest.mark.freeze_time("2020-01-01T00:00:00Z")
async def test_authentication_while_time_stands_still(connex_ws):
    await connex_ws.subscribe("ETH/USDT", depth=5)
