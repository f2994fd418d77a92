"""The client on websocket-client, in the process of the test."""

from __future__ import annotations

from ticker_websocket_client import Ticker


def test_no_change_is_missing(connex_proxy):
    first, *others = Ticker("ETH/USDT", wanted=4).run()

    assert others == [first + 1, first + 2, first + 3]
