"""``check_health`` against a scripted server."""

from __future__ import annotations

import pytest
import requests

from pytest_connex import check_health
from pytest_connex.config import REST_URL, VARIABLES, ConnexConfig
from pytest_connex.errors import AuthenticationError, ConfigError, RateLimitError, RequestError

from .test_client_rest import KNOWN, Server, config


@pytest.fixture
def server():
    made = Server()
    yield made
    made.stop()


def script(server: Server, status: int, body: str = "", **headers: str) -> ConnexConfig:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    server.script["/v1/status"] = [(status, named, body)]
    return config(server, max_retries=0)


def test_a_body_that_is_not_json_is_text(server):
    result = check_health(config=script(server, 200, "all is well"))
    assert (result.payload_type, result.payload) == ("text", "all is well")


@pytest.mark.parametrize(
    ("status", "kind"), [(401, AuthenticationError), (429, RateLimitError), (500, RequestError), (404, RequestError)]
)
def test_an_error_status_is_the_matching_exception(server, status, kind):
    with pytest.raises(kind, match=str(status)):
        check_health(config=script(server, status))


def test_a_rate_limit_carries_its_wait(server):
    with pytest.raises(RateLimitError) as caught:
        check_health(config=script(server, 429, Retry_After="7"), session=requests.Session())
    assert caught.value.retry_after == 7


def test_a_session_of_the_callers_is_used_and_follows_no_redirect(server):
    settings = script(server, 302, Location=server.url + "/elsewhere")
    with requests.Session() as session:
        assert check_health(session, config=settings).status_code == 302
    assert [path for _, path, _ in server.seen] == ["/v1/status"]
    assert server.credentials() == [KNOWN]


def test_the_environment_is_the_default(server, monkeypatch, tmp_path):
    settings = script(server, 200, "{}")
    monkeypatch.chdir(tmp_path)
    for name, value in zip(VARIABLES, (settings.rest_url, "", *KNOWN), strict=True):
        monkeypatch.setenv(name, value)
    assert check_health().url == f"{server.url}/v1/status"
    monkeypatch.delenv(REST_URL)
    with pytest.raises(ConfigError, match=REST_URL):
        check_health()


def test_nobody_there_is_the_error_of_requests(server):
    settings = script(server, 200)
    server.stop()
    with pytest.raises(requests.ConnectionError):
        check_health(config=settings)
