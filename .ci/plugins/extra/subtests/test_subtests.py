"""One request for each subtest, all in the recording of the test."""

from __future__ import annotations

import requests
from market import SYMBOLS, headers


def test_books(subtests, connex_config):
    for symbol in SYMBOLS:
        with subtests.test(symbol=symbol):
            url = f"{connex_config.rest_url}/v1/orderbook/binance/{symbol}"
            response = requests.get(url, headers=headers(connex_config), timeout=10)
            assert response.json()["exchange"] == "binance"
