"""A spy on the client that is recorded."""

from __future__ import annotations

import requests
from market import headers


def test_a_spy(mocker, connex_config):
    spy = mocker.spy(requests.Session, "request")
    requests.get(connex_config.rest_url + "/v1/status", headers=headers(connex_config), timeout=10)

    assert spy.call_count == 1
