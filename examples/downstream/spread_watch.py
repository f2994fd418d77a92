"""The spread between two markets of one asset, from Connex: once over REST, or as it moves over the WebSocket."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import requests
import websockets

NORMAL = "ETH/USDT"
OTHER = "ETH/USDC"


@dataclass(frozen=True)
class Quote:
    """The best prices of one market, in its quote currency."""

    symbol: str
    bid: Decimal
    ask: Decimal


@dataclass
class SpreadWatch:
    """Reads quotes and compares them.

    Args:
        rest_url: Base URL of Connex's REST API.
        ws_url: URL of its WebSocket.
        api_key: Who is asking.
        api_secret: Proves it.
        connect: Opens WebSockets.
        pause: Waits between attempts; takes seconds.
    """

    rest_url: str
    ws_url: str
    api_key: str
    api_secret: str
    connect: Callable[..., Any] = websockets.connect
    pause: Callable[[float], None] = time.sleep

    def quote(self, symbol: str, exchange: str = "binance", attempts: int = 3) -> Quote:
        """Return the best prices, asking again while the gateway is busy."""
        url = f"{self.rest_url}/v1/orderbook/{exchange}/{symbol.replace('/', '')}"
        headers = {"X-CONNEX-API-KEY": self.api_key, "X-CONNEX-API-SECRET": self.api_secret}
        for attempt in range(1, attempts + 1):
            response = requests.get(url, params={"depth": 1}, headers=headers, timeout=10)
            if response.status_code not in (429, 503) or attempt == attempts:
                break
            self.pause(float(response.headers.get("Retry-After", attempt)))
        response.raise_for_status()
        book = response.json()
        return Quote(symbol, Decimal(book["bids"][0]["price"]), Decimal(book["asks"][0]["price"]))

    def spread(self) -> Decimal:
        """Return how much dearer the second market sells than the first buys."""
        return self.quote(OTHER).ask - self.quote(NORMAL).bid

    async def follow(self, symbol: str) -> AsyncIterator[Quote]:
        """Yield the best prices, from the snapshot on, after every change."""
        async with self.connect(self.ws_url) as ws:
            await ws.send(json.dumps(self._authentication()))
            await ws.recv()
            await ws.send(json.dumps({"action": "subscribe", "channel": "orderbook", "symbol": symbol, "depth": 5}))
            bids: dict[Decimal, Decimal] = {}
            asks: dict[Decimal, Decimal] = {}
            async for text in ws:
                frame = json.loads(text)
                if "bids" not in frame:
                    continue
                if frame["type"] == "snapshot":
                    bids, asks = {}, {}
                apply(bids, frame["bids"])
                apply(asks, frame["asks"])
                yield Quote(symbol, max(bids), min(asks))

    def _authentication(self) -> dict[str, Any]:
        nonce = str(time.time_ns() // 1_000_000)
        signature = hmac.new(self.api_secret.encode(), f"{nonce}{self.api_key}".encode(), hashlib.sha256)
        data = {"apiKey": self.api_key, "nonce": nonce, "signature": signature.hexdigest()}
        return {"action": "authenticate", "data": data}


def apply(side: dict[Decimal, Decimal], changes: list[list[str]]) -> None:
    """Apply changed levels to one side of a book; quantity zero deletes."""
    for price, quantity in changes:
        if Decimal(quantity):
            side[Decimal(price)] = Decimal(quantity)
        else:
            side.pop(Decimal(price), None)
