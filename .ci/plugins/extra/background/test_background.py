"""A client that reads in a task of its own, whose recording is missing."""

from __future__ import annotations

import asyncio

import pytest
from market import REPLAYING, ping, pong


@pytest.mark.asyncio
@pytest.mark.skipif(not REPLAYING, reason="is not to be recorded")
async def test_a_task_that_reads(connex_config, connex_connect):
    got: asyncio.Queue[int] = asyncio.Queue()

    async def read() -> None:
        async with connex_connect(connex_config.ws_url) as ws:
            await ws.send(ping(1))
            await got.put(pong(await ws.recv()))

    task = asyncio.create_task(read())
    assert await got.get() == 1
    await task
