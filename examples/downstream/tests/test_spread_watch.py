"""The client's tests: the same in every mode."""

from __future__ import annotations

from decimal import Decimal

import pytest
import requests
from spread_watch import NORMAL, OTHER, SpreadWatch


@pytest.fixture
def watch(connex_config, connex_connect) -> SpreadWatch:
    return SpreadWatch(
        connex_config.rest_url,
        connex_config.ws_url,
        connex_config.api_key,
        connex_config.api_secret,
        connect=connex_connect,
    )


def test_a_quote_is_not_crossed(watch):
    quote = watch.quote(NORMAL)

    assert quote.symbol == NORMAL
    assert Decimal(0) < quote.bid < quote.ask


def test_the_spread_compares_two_markets(watch):
    spread = watch.spread()

    assert spread == spread.quantize(Decimal("0.01"))


@pytest.mark.parametrize("symbol", [NORMAL, OTHER])
async def test_quotes_are_followed_as_they_move(watch, symbol):
    quotes = []
    async for quote in watch.follow(symbol):
        quotes.append(quote)
        if len(quotes) == 5:
            break

    assert all(quote.bid < quote.ask for quote in quotes)


def test_a_busy_gateway_is_asked_again(connex_sandbox):
    connex_sandbox.faults.answer(503, times=2, retry_after=4)
    pauses: list[float] = []
    sandbox = connex_sandbox.config
    watch = SpreadWatch(sandbox.rest_url, sandbox.ws_url, sandbox.api_key, sandbox.api_secret, pause=pauses.append)

    assert watch.quote(NORMAL).bid > 0
    assert pauses == [4.0, 4.0]


def test_a_gateway_that_stays_busy_is_an_error(connex_sandbox):
    connex_sandbox.faults.answer(503, times=3)
    sandbox = connex_sandbox.config
    watch = SpreadWatch(
        sandbox.rest_url, sandbox.ws_url, sandbox.api_key, sandbox.api_secret, pause=lambda seconds: None
    )

    with pytest.raises(requests.HTTPError, match="503"):
        watch.quote(NORMAL)
