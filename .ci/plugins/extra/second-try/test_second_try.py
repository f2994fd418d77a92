"""Tests that fail the first time they are tried, and are tried again."""

from __future__ import annotations

import pytest
from market import ping, pong

_TRIED: list[str] = []


def _fail_at_first(name: str) -> None:
    _TRIED.append(name)
    assert _TRIED.count(name) > 1


def test_rest_at_second_try(connex_rest):
    assert connex_rest.get("/v1/status").json()["status"] == "healthy"
    _fail_at_first("rest")


@pytest.mark.asyncio
async def test_websocket_at_second_try(connex_config, connex_connect):
    async with connex_connect(connex_config.ws_url) as ws:
        await ws.send(ping(1))
        assert pong(await ws.recv()) == 1
        _fail_at_first("websocket")
        await ws.send(ping(2))
        assert pong(await ws.recv()) == 2
