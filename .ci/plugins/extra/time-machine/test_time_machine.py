"""A clock that shows another time, and goes on."""

from __future__ import annotations

import datetime

import pytest
import requests
import time_machine
from market import headers, ping, pong


@time_machine.travel("2030-01-01T00:00:00Z", tick=True)
def test_rest_in_another_year(connex_config):
    response = requests.get(connex_config.rest_url + "/v1/status", headers=headers(connex_config), timeout=10)

    assert response.json()["status"] == "healthy"
    assert datetime.datetime.now(datetime.UTC).year == 2030


@pytest.mark.asyncio
async def test_websocket_in_another_year(connex_config, connex_connect):
    with time_machine.travel("2030-01-01T00:00:00Z", tick=True):
        async with connex_connect(connex_config.ws_url) as ws:
            await ws.send(ping(1))
            assert pong(await ws.recv()) == 1
        assert datetime.datetime.now(datetime.UTC).year == 2030
