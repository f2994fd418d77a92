"""Tests of unittest: one of each kind passes, one must fail from its recording."""

from __future__ import annotations

import unittest

import pytest
from market import REPLAYING, ping, pong


class TestRest(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def _client(self, connex_rest):
        self.client = connex_rest

    def test_status(self):
        self.assertEqual(self.client.get("/v1/status").json()["status"], "healthy")

    def test_another_request_of_unittest(self):
        self.client.get("/v1/symbols" if REPLAYING else "/v1/status")


class TestWebSocket(unittest.IsolatedAsyncioTestCase):
    @pytest.fixture(autouse=True)
    def _proxy(self, connex_proxy):
        self.url = connex_proxy.ws_url

    async def test_pong(self):
        import websockets

        async with websockets.connect(self.url) as ws:
            await ws.send(ping(1))
            self.assertEqual(pong(await ws.recv()), 1)

    async def test_another_message_of_unittest(self):
        import websockets

        async with websockets.connect(self.url) as ws:
            await ws.send(ping(1, note="another" if REPLAYING else "same"))
            await ws.recv()
