"""Examples that are the same in every run, all in the recording of one test."""

from __future__ import annotations

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from market import headers, ping, pong

repeatable = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=5,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@repeatable
@given(depth=st.integers(1, 100))
def test_depths(connex_config, depth):
    url = f"{connex_config.rest_url}/v1/orderbook/binance/ETHUSDT"
    book = requests.get(url, params={"depth": depth}, headers=headers(connex_config), timeout=10).json()

    assert len(book["bids"]) == depth


@pytest.mark.asyncio
@repeatable
@given(number=st.integers(0, 1_000_000))
async def test_numbers(connex_config, connex_connect, number):
    async with connex_connect(connex_config.ws_url) as ws:
        await ws.send(ping(number))
        assert pong(await ws.recv()) == number
