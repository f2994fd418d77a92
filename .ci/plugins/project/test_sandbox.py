"""A sandbox of the test's own, which goes wrong on purpose in every mode."""

from __future__ import annotations

import pytest
import requests
from market import headers, ping, pong
from websockets.exceptions import ConnectionClosed


def test_a_busy_server(connex_sandbox):
    connex_sandbox.faults.answer(503)
    config = connex_sandbox.config

    answers = [requests.get(config.rest_url + "/v1/status", headers=headers(config), timeout=10) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [503, 200]


@pytest.mark.asyncio
async def test_a_lost_connection(connex_sandbox, connex_connect):
    connex_sandbox.faults.drop_after(1)
    async with connex_connect(connex_sandbox.config.ws_url) as ws:
        await ws.send(ping(1))
        assert pong(await ws.recv()) == 1
        with pytest.raises(ConnectionClosed) as caught:
            await ws.recv()

    assert caught.value.rcvd is None
