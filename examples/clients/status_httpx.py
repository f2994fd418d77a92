"""How Connex is, and what a market costs, over REST, with httpx."""

from __future__ import annotations

import os
from dataclasses import dataclass
from decimal import Decimal

import httpx


@dataclass(frozen=True)
class Quote:
    """The best prices of one market, in its quote currency."""

    bid: Decimal
    ask: Decimal


class Rest:
    """Asks Connex; to be used in a ``with`` statement."""

    def __init__(self) -> None:
        self._client = httpx.Client(
            base_url=os.environ["CONNEX_REST_URL"],
            headers={
                "X-CONNEX-API-KEY": os.environ["CONNEX_API_KEY"],
                "X-CONNEX-API-SECRET": os.environ["CONNEX_API_SECRET"],
            },
        )

    def __enter__(self) -> Rest:
        self._client.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._client.close()

    def is_healthy(self) -> bool:
        """Tell whether Connex says of itself that it is well."""
        return bool(self._client.get("/v1/status").raise_for_status().json()["status"] == "healthy")

    def quote(self, symbol: str, exchange: str = "binance") -> Quote:
        """Return the best prices of ``symbol``."""
        path = f"/v1/orderbook/{exchange}/{symbol.replace('/', '')}"
        book = self._client.get(path, params={"depth": 1}).raise_for_status().json()
        return Quote(Decimal(book["bids"][0]["price"]), Decimal(book["asks"][0]["price"]))
