"""The client on aiohttp, in the process of the test."""

from __future__ import annotations

from contextlib import aclosing

from ticker_aiohttp import best_prices


async def test_the_best_prices_move_and_never_cross(connex_proxy):
    seen = []
    async with aclosing(best_prices("ETH/USDT")) as prices:
        async for price in prices:
            seen.append(price)
            if len(seen) == 5:
                break

    assert all(bid < ask for bid, ask in seen)
