"""A host whose answers are made up, beside Connex, in one test."""

from __future__ import annotations

import requests
import responses
from market import headers


def test_another_host(connex_config):
    with responses.RequestsMock() as made_up:
        made_up.add_passthru(connex_config.rest_url)
        made_up.get("https://other.invalid/rate", json={"rate": "1.25"})

        assert requests.get("https://other.invalid/rate", timeout=10).json() == {"rate": "1.25"}
        status = requests.get(connex_config.rest_url + "/v1/status", headers=headers(connex_config), timeout=10)

    assert status.json()["status"] == "healthy"
