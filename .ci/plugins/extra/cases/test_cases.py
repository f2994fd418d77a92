"""Cases that are functions."""

from __future__ import annotations

from pytest_cases import parametrize_with_cases


def case_ether():
    return "ETHUSDT"


def case_bitcoin():
    return "BTCUSDT"


@parametrize_with_cases("symbol", cases=".")
def test_a_book(connex_rest, symbol):
    assert connex_rest.get(f"/v1/orderbook/binance/{symbol}").json()["exchange"] == "binance"
