"""Health: the status endpoint, and ``check_health``, in whatever mode the run has."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_connex import check_health
from pytest_connex.config import VARIABLES, mask_key, mask_secret
from pytest_connex.errors import AuthenticationError, ConfigError

STATES = {"healthy", "degraded", "down"}


def test_the_gateway_is_healthy(connex_rest):
    response = connex_rest.get("/v1/status")

    assert response.status_code == 200
    assert connex_rest.check(response)["status"] == "healthy"


def test_every_exchange_has_a_known_state_and_a_latency(connex_rest):
    exchanges = connex_rest.check(connex_rest.get("/v1/status"))["exchanges"]

    assert {"binance", "okx"} <= exchanges.keys()
    for name, exchange in exchanges.items():
        assert exchange["status"] in STATES, name
        assert exchange["latency"] >= 0, name


def test_the_status_carries_epoch_milliseconds(connex_rest):
    timestamp = connex_rest.check(connex_rest.get("/v1/status"))["timestamp"]

    assert type(timestamp) is int
    assert 1_600_000_000_000 < timestamp < 4_000_000_000_000


def test_rate_limit_headers_are_whole_numbers(connex_rest):
    headers = connex_rest.get("/v1/status").headers

    limit, remaining = int(headers["X-RateLimit-Limit"]), int(headers["X-RateLimit-Remaining"])
    assert 0 <= remaining <= limit


async def test_the_asynchronous_client_sees_the_same_status(connex_rest_async):
    response = await connex_rest_async.get("/v1/status")

    assert response.status_code == 200
    assert connex_rest_async.check(response)["status"] == "healthy"


def test_the_health_result_has_the_keys_of_the_notebook(connex_config):
    result = check_health(config=connex_config).to_dict()

    assert list(result) == [
        "timestamp",
        "url",
        "latency_ms",
        "status_code",
        "payload_type",
        "payload",
        "sanitized_auth_headers",
    ]


def test_the_health_result_says_what_was_asked_and_answered(connex_config):
    result = check_health(config=connex_config)

    assert result.url == f"{connex_config.rest_url}/v1/status"
    assert (result.status_code, result.payload_type) == (200, "json")
    assert result.payload["status"] == "healthy"
    assert result.latency_ms > 0


def test_the_health_result_masks_the_credentials(connex_config):
    result = check_health(config=connex_config)

    assert result.sanitized_auth_headers == {
        "X-CONNEX-API-KEY": mask_key(connex_config.api_key),
        "X-CONNEX-API-SECRET": mask_secret(connex_config.api_secret),
    }
    assert connex_config.api_secret not in repr(result)


def test_a_wrong_secret_is_a_permission_error(connex_config):
    wrong = replace(connex_config, api_secret="this-is-not-the-secret")

    with pytest.raises(PermissionError, match="401") as caught:
        check_health(config=wrong)
    assert isinstance(caught.value, AuthenticationError)


def test_every_missing_variable_is_named_at_once(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)

    with pytest.raises(ConfigError) as caught:
        check_health()
    assert isinstance(caught.value, EnvironmentError)
    assert str(caught.value) == ("Missing Connex configuration: CONNEX_REST_URL, CONNEX_API_KEY, CONNEX_API_SECRET")
