"""The servers behind a test: their names, their URLs, and what recordings carry in their place."""

from __future__ import annotations

import pytest

from pytest_connex.config import ConnexConfig
from pytest_connex.errors import ConfigError
from pytest_connex.upstreams import (
    all_upstreams,
    canonical_websocket,
    checked,
    http_url,
    recorded_upstream,
    websocket_url,
)

CONNEX = ConnexConfig(rest_url="https://r.example/v1", ws_url="wss://w.example/stream")
VENUE = {"venue": "https://venue.example:8443/api"}


def test_connex_is_two_of_them():
    assert all_upstreams(CONNEX, VENUE) == {
        "rest": "https://r.example/v1",
        "ws": "wss://w.example/stream",
        "venue": "https://venue.example:8443/api",
    }


def test_what_can_be_used_is_returned_as_it_is():
    named = {"venue": "https://venue.example", "feed-2": "ws://127.0.0.1:1/x", "a" * 40: "http://h"}
    assert checked(named) == named
    assert checked({}) == {}


@pytest.mark.parametrize("given", [None, ["venue"], "https://venue.example", 7])
def test_what_is_no_mapping_is_refused(given):
    with pytest.raises(ConfigError, match="upstreams are a mapping from name to URL, not "):
        checked(given)


@pytest.mark.parametrize("name", ["", "Venue", "2nd", "-venue", "a_b", "a.b", "a" * 41, "rest", "ws", 7, None])
def test_a_name_that_cannot_be_used_is_refused_with_what_can(name):
    with pytest.raises(ConfigError) as caught:
        checked({name: "https://venue.example"})
    assert str(caught.value) == (
        f"an upstream cannot be called {name!r}: use lower-case letters, digits and hyphens, and neither rest nor "
        "ws, which are Connex"
    )


@pytest.mark.parametrize(
    "url",
    ["", "venue.example", "ftp://venue.example", "https://", "https://h:0", "https://h:x", "https://[", None, 7],
)
def test_a_url_that_cannot_be_used_is_refused(url):
    with pytest.raises(ConfigError, match="^the upstream venue needs a URL with a host, for example"):
        checked({"venue": url})


@pytest.mark.parametrize(
    ("name", "url", "expected"),
    [
        ("venue", "http://127.0.0.1:1/api", "https://venue.connex.invalid"),
        ("feed", "ws://127.0.0.1:1/api", "wss://feed.connex.invalid"),
        ("ws", "wss://w.example", "wss://ws.connex.invalid"),
    ],
)
def test_recordings_carry_hosts_that_cannot_exist(name, url, expected):
    assert recorded_upstream(name, url) == expected


def test_what_is_recorded_of_http_needs_no_url():
    assert recorded_upstream("venue") == "https://venue.connex.invalid"


@pytest.mark.parametrize(
    ("url", "http", "websocket"),
    [
        ("https://h/x?q=ws://y", "https://h/x?q=ws://y", "wss://h/x?q=ws://y"),
        ("http://h:1", "http://h:1", "ws://h:1"),
        ("wss://h", "https://h", "wss://h"),
        ("ws://h", "http://h", "ws://h"),
        ("", "", ""),
    ],
)
def test_each_speaks_http_and_websocket_on_its_host(url, http, websocket):
    assert (http_url(url), websocket_url(url)) == (http, websocket)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("wss://w.example/stream/a?b=1", "wss://ws.connex.invalid/a?b=1"),
        ("wss://r.example/v1/feed", "wss://rest.connex.invalid/feed"),
        ("wss://venue.example:8443/api/feed", "wss://venue.connex.invalid/feed"),
        ("wss://venue.example/api/feed", "wss://venue.example/api/feed"),
        ("wss://elsewhere.example/", "wss://elsewhere.example/"),
    ],
)
def test_a_dial_is_recorded_with_the_host_of_its_upstream(url, expected):
    assert canonical_websocket(url, all_upstreams(CONNEX, VENUE)) == expected


def test_one_host_of_several_upstreams_is_that_of_the_websockets():
    same = {"rest": "https://h.example", "venue": "https://h.example", "ws": "wss://h.example"}
    assert canonical_websocket("wss://h.example/x", same) == "wss://ws.connex.invalid/x"


def test_an_upstream_that_is_not_configured_is_nobody_s():
    assert canonical_websocket("wss://h.example/x", {"rest": "", "ws": ""}) == "wss://h.example/x"
