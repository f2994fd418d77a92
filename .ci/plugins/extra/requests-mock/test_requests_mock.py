"""A host whose answers are made up, beside Connex, in one test."""

from __future__ import annotations

import requests
import requests_mock
from market import headers


def test_another_host(connex_config):
    with requests_mock.Mocker(real_http=True) as made_up:
        made_up.get("https://other.invalid/rate", json={"rate": "1.25"})

        assert requests.get("https://other.invalid/rate", timeout=10).json() == {"rate": "1.25"}
        status = requests.get(connex_config.rest_url + "/v1/status", headers=headers(connex_config), timeout=10)

    assert status.json()["status"] == "healthy"
