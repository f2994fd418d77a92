"""REST, with blocking and asynchronous clients."""

from __future__ import annotations

import aiohttp
import pytest
import requests
from market import SYMBOLS, headers


def test_status(connex_config):
    response = requests.get(connex_config.rest_url + "/v1/status", headers=headers(connex_config), timeout=10)

    assert response.json()["status"] == "healthy"


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_book(connex_config, symbol):
    url = f"{connex_config.rest_url}/v1/orderbook/binance/{symbol}"
    book = requests.get(url, params={"depth": 5}, headers=headers(connex_config), timeout=10).json()

    assert [len(book["bids"]), len(book["asks"])] == [5, 5]


class TestSession:
    def test_symbols(self, connex_rest):
        listed = {entry["symbol"] for entry in connex_rest.get("/v1/symbols").json()["symbols"]}

        assert listed == {"ETH/USDT", "ETH/USDC", "BTC/USDT"}


@pytest.mark.asyncio
async def test_status_with_aiohttp(connex_config):
    async with aiohttp.ClientSession() as session:
        async with session.get(connex_config.rest_url + "/v1/status", headers=headers(connex_config)) as response:
            assert (await response.json())["status"] == "healthy"
