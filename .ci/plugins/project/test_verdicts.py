"""Tests that pass while they are recorded, and must fail from their recordings, each with its verdict."""

from __future__ import annotations

import contextlib

import pytest
import requests
from market import REPLAYING, headers, ping


def test_another_request(connex_config):
    """CassetteMismatch."""
    path = "/v1/symbols" if REPLAYING else "/v1/status"
    assert requests.get(connex_config.rest_url + path, headers=headers(connex_config), timeout=10).ok


@pytest.mark.asyncio
async def test_another_message(connex_config, connex_connect):
    """CassetteMismatch."""
    async with connex_connect(connex_config.ws_url) as ws:
        await ws.send(ping(1, note="another" if REPLAYING else "same"))
        await ws.recv()


@pytest.mark.asyncio
async def test_a_client_that_tries_for_ever(connex_config, connex_connect):
    """CassetteMismatch, though the client swallows what it gets."""
    while True:
        with contextlib.suppress(Exception):
            async with connex_connect(connex_config.ws_url) as ws:
                await ws.send(ping(1, note="another" if REPLAYING else "same"))
                await ws.recv()
                break


@pytest.mark.asyncio
async def test_less_is_asked(connex_config, connex_connect):
    """CassetteUnplayed."""
    async with connex_connect(connex_config.ws_url) as ws:
        await ws.send(ping(1))
        await ws.recv()
        if not REPLAYING:
            await ws.send(ping(2))
            await ws.recv()


@pytest.mark.skipif(not REPLAYING, reason="is not to be recorded")
def test_nothing_is_recorded(connex_proxy):
    """CassetteMissing."""
    assert requests.get(connex_proxy.rest_url + "/v1/status", timeout=10).status_code == 501
