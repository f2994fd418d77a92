"""What a trading program of the flows says and hears."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

BUY = {"side": "buy", "quantity": "1.50"}
SELL = {"side": "sell", "quantity": "0.25"}
LONG = 60
"""Seconds after which something that does not come fails its flow."""


async def say(ws, op: str, **members: str) -> None:
    await ws.send(json.dumps({"op": op, **members}))


async def hear(ws) -> dict[str, object]:
    return json.loads(await asyncio.wait_for(ws.recv(), LONG))


async def subscribed(ws, *channels: str) -> None:
    for channel in channels:
        await say(ws, "subscribe", channel=channel)
        while (await hear(ws)).get("event") != "subscribed":
            pass


async def reading(ws, seen: list[object], until: Callable[[dict[str, object]], bool]) -> None:
    """Append what comes, up to the message that ``until`` tells."""
    while True:
        message = await hear(ws)
        seen.append(message)
        if until(message):
            return
