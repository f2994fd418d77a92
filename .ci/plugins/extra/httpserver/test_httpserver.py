"""A server of the test's own on this machine, beside Connex behind its port."""

from __future__ import annotations

import requests
from market import headers


def test_both(httpserver, connex_proxy, connex_config):
    httpserver.expect_request("/rate").respond_with_json({"rate": "1.25"})

    assert requests.get(httpserver.url_for("/rate"), timeout=10).json() == {"rate": "1.25"}
    status = requests.get(connex_proxy.rest_url + "/v1/status", headers=headers(connex_config), timeout=10)
    assert status.json()["status"] == "healthy"
