"""Tests of pytest-twisted: some pass, some must fail from its recording."""

from __future__ import annotations

import pytest_twisted
import requests
from market import REPLAYING, headers
from twisted.internet.threads import deferToThread


@pytest_twisted.inlineCallbacks
def test_on_twisted(connex_proxy, connex_config):
    url = connex_proxy.rest_url + "/v1/status"
    response = yield deferToThread(requests.get, url, headers=headers(connex_config), timeout=10)

    assert response.json()["status"] == "healthy"


@pytest_twisted.inlineCallbacks
def test_another_request_on_twisted(connex_proxy, connex_config):
    url = connex_proxy.rest_url + ("/v1/symbols" if REPLAYING else "/v1/status")
    yield deferToThread(requests.get, url, headers=headers(connex_config), timeout=10)


@pytest_twisted.inlineCallbacks
def test_a_session_on_twisted(connex_rest):
    response = yield deferToThread(connex_rest.get, "/v1/status")

    assert response.json()["status"] == "healthy"


@pytest_twisted.inlineCallbacks
def test_another_request_of_a_session_on_twisted(connex_rest):
    yield deferToThread(connex_rest.get, "/v1/symbols" if REPLAYING else "/v1/status")
