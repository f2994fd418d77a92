"""The client on httpx, in the process of the test."""

from __future__ import annotations

from status_httpx import Rest


def test_a_healthy_gateway_quotes_prices_that_do_not_cross(connex_proxy):
    with Rest() as rest:
        healthy = rest.is_healthy()
        quote = rest.quote("ETH/USDT")

    assert healthy
    assert 0 < quote.bid < quote.ask
