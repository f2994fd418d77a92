"""Who may ask a port of this machine."""

from __future__ import annotations

import h11
import pytest
import requests

from pytest_connex.proxy.http import Asked
from pytest_connex.proxy.visitors import turned_away


def status(listens_on: str = "127.0.0.1", origins: tuple[str, ...] = (), **headers: str) -> int | None:
    """What a request with these headers is turned away with."""
    given = [(name.replace("_", "-"), value) for name, value in ({"Host": "localhost"} | headers).items()]
    event = h11.Request(method="GET", target="/", headers=given)
    refused = turned_away(Asked(event, None, None, lambda: None), listens_on, origins)
    return None if refused is None else refused.status


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:80", "127.8.8.8", "localhost", "LocalHost:1", "[::1]", "[::1]:8080"],
)
@pytest.mark.parametrize("listens_on", ["127.0.0.1", "::1", "0.0.0.0", "10.0.0.1"])
def test_this_machine_is_served(host, listens_on):
    assert status(listens_on, Host=host) is None


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:80",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "10.0.0.1",
        "[bad",
        "",
        ":",
    ],
)
def test_another_host_is_not_here(host):
    assert status(Host=host) == 421


@pytest.mark.parametrize(
    ("listens_on", "host", "answer"),
    [
        ("10.0.0.1", "10.0.0.1:80", None),
        ("10.0.0.1", "10.0.0.2", 421),
        ("my.host.example", "My.Host.Example:80", None),
        ("my.host.example", "evil.example", 421),
        ("0.0.0.0", "192.168.1.5", None),
        ("::", "[fe80::1]:80", None),
        ("", "192.168.1.5", None),
        ("0.0.0.0", "proxy:8080", None),
        ("0.0.0.0", "host.docker.internal:8080", None),
        ("0.0.0.0", "evil.example", 421),
        ("0.0.0.0", "", 421),
        ("::", "internal.evil.example", 421),
    ],
)
def test_a_port_that_others_can_reach_serves_what_no_page_can_lead_to(listens_on, host, answer):
    assert status(listens_on, Host=host) == answer


@pytest.mark.parametrize(
    ("headers", "answer"),
    [
        ({}, None),
        ({"Origin": "http://localhost:3000"}, None),
        ({"Origin": "https://127.0.0.1"}, None),
        ({"Origin": "http://[::1]:1", "Sec_Fetch_Site": "cross-site"}, None),
        ({"Origin": "https://own.example"}, None),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "https://own.example.evil.example"}, 403),
        ({"Origin": "http://localhost.evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "file://"}, 403),
        ({"Origin": "http://[bad"}, 403),
        ({"Origin": ""}, 403),
        ({"Sec_Fetch_Site": "none"}, None),
        ({"Sec_Fetch_Site": "same-origin"}, None),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({"Sec_Fetch_Site": "Cross-Site"}, 403),
    ],
)
def test_pages_from_elsewhere_may_not_ask(headers, answer):
    assert status(origins=("https://own.example",), **headers) == answer


def test_who_names_no_host_is_no_browser():
    event = h11.Request(method="GET", target="/", headers=[], http_version="1.0")
    assert turned_away(Asked(event, None, None, lambda: None), "127.0.0.1") is None


@pytest.mark.connex_sandbox
def test_the_sandbox_turns_the_same_away(connex_sandbox):
    url = connex_sandbox.rest_url
    told = [
        requests.get(url, headers=headers, timeout=5)
        for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}, {})
    ]
    assert [answer.status_code for answer in told] == [421, 403, 401]
    assert told[0].text == "this port serves 127.0.0.1 or localhost, and the request is for another host\n"
    assert told[1].text == "pages of other sites may not ask this port\n"
