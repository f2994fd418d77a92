"""The best prices of a market as they move, from Connex, with aiohttp."""

from __future__ import annotations

import hashlib
import hmac
import os
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import aiohttp


async def best_prices(symbol: str) -> AsyncIterator[tuple[Decimal, Decimal]]:
    """Yield the best bid and the best ask of ``symbol``, from the snapshot on, after every change."""
    sides: dict[str, dict[Decimal, Decimal]] = {"bids": {}, "asks": {}}
    async with aiohttp.ClientSession() as session, session.ws_connect(os.environ["CONNEX_WS_URL"]) as ws:
        await ws.send_json(authentication())
        answer = await ws.receive_json()
        if answer["event"] != "authenticated":
            raise PermissionError(f"Connex does not know us: {answer['message']}")
        await ws.send_json({"action": "subscribe", "channel": "orderbook", "symbol": symbol, "depth": 10})
        async for message in ws:
            frame = message.json()
            if "bids" not in frame:
                continue
            for name, levels in sides.items():
                if frame["type"] == "snapshot":
                    levels.clear()
                apply(levels, frame[name])
            yield max(sides["bids"]), min(sides["asks"])


def authentication() -> dict[str, Any]:
    """Return the message that proves who is asking."""
    key, secret = os.environ["CONNEX_API_KEY"], os.environ["CONNEX_API_SECRET"]
    nonce = str(time.time_ns() // 1_000_000)
    signature = hmac.new(secret.encode(), f"{nonce}{key}".encode(), hashlib.sha256).hexdigest()
    return {"action": "authenticate", "data": {"apiKey": key, "nonce": nonce, "signature": signature}}


def apply(levels: dict[Decimal, Decimal], changes: list[list[str]]) -> None:
    """Bring one side of the book up to date; a quantity of zero takes its level away."""
    for price, quantity in changes:
        levels[Decimal(price)] = Decimal(quantity)
        if not levels[Decimal(price)]:
            del levels[Decimal(price)]
