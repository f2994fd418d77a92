"""Settings: what may be shown of them, what is refused, and where they come from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_connex.config import (
    API_KEY,
    API_SECRET,
    REST_URL,
    VARIABLES,
    WS_URL,
    ConnexConfig,
    canonical_url,
    is_loopback,
    live_config,
    mask_key,
    mask_secret,
    origin,
    read_environment,
    recorded_config,
    variable_origins,
)
from pytest_connex.errors import ConfigError

KEY = "AKfYcbwXYZ0123456789abcd"
SECRET = "s3cr3t/with+special=chars=="


def problems(**settings: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        ConnexConfig(**settings)
    first, *rest = str(caught.value).splitlines()
    assert first == "Connex configuration cannot be used:"
    return [line.removeprefix("  ") for line in rest]


@pytest.mark.parametrize(
    ("value", "key", "secret"),
    [
        (None, "not set", "not set"),
        ("", "not set", "not set"),
        ("short", "***", "***"),
        ("elevenchars", "***", "***"),
        ("twelve-chars", "twel...hars", "***hars"),
        (KEY, "AKfY...abcd", "***abcd"),
    ],
)
def test_masks_show_the_ends_of_long_values_only(value, key, secret):
    assert mask_key(value) == key
    assert mask_secret(value) == secret


@given(st.text(min_size=12), st.text(min_size=12))
def test_masks_never_show_more_than_eight_characters(key, secret):
    assert len(mask_key(key)) == 11
    assert len(mask_secret(secret)) == 7


@pytest.mark.parametrize(
    ("name", "field", "url", "said"),
    [
        (REST_URL, "rest_url", "rest.example/v1", "must be a URL with https:// and a host"),
        (REST_URL, "rest_url", "wss://rest.example", "must be a URL with https:// and a host"),
        (REST_URL, "rest_url", "https://", "must be a URL with https:// and a host"),
        (REST_URL, "rest_url", "https://rest.example:port", "is not a URL"),
        (REST_URL, "rest_url", "https://[::1", "is not a URL"),
        (REST_URL, "rest_url", "https://rest.example/ v1", "contains white space"),
        (REST_URL, "rest_url", "https://rest.example\n", "contains white space"),
        (REST_URL, "rest_url", "https://user@rest.example", "carries credentials"),
        (REST_URL, "rest_url", "https://:pw@rest.example", "carries credentials"),
        (REST_URL, "rest_url", "http://rest.example", "uses http:// for rest.example"),
        (REST_URL, "rest_url", "http://127.0.0.1.example", "uses http:// for 127.0.0.1.example"),
        (REST_URL, "rest_url", "https://rest.example/?a=1", "must end with its path"),
        (REST_URL, "rest_url", "https://rest.example/#a", "must end with its path"),
        (WS_URL, "ws_url", "https://ws.example", "must be a URL with wss:// and a host"),
        (WS_URL, "ws_url", "ws.example", "must be a URL with wss:// and a host"),
        (WS_URL, "ws_url", "ws://ws.example", "uses ws:// for ws.example"),
        (WS_URL, "ws_url", "wss://user:pw@ws.example", "carries credentials"),
        (WS_URL, "ws_url", "wss://ws.example/#a", "must end with its path"),
    ],
)
def test_a_bad_url_is_refused_by_the_name_of_its_variable(name, field, url, said):
    [problem] = problems(**{field: url})
    assert problem.startswith(f"{name} {said}")


def test_a_refused_url_s_password_is_not_repeated():
    [problem] = problems(ws_url="wss://user:hunter2-hunter2@ws.example")
    assert "hunter2" not in problem


@pytest.mark.parametrize(
    "settings",
    [
        {"rest_url": "https://rest.example/api"},
        {"rest_url": "http://127.0.0.1:8080"},
        {"rest_url": "http://localhost:8080"},
        {"rest_url": "http://[::1]:8080"},
        {"rest_url": "http://rest.example", "allow_plaintext": True},
        {"ws_url": "wss://ws.example/stream?channel=a"},
        {"ws_url": "ws://127.0.0.2:1"},
        {"retry_delay": 0},
        {"max_retries": 0},
        {"timeout": 0.1, "ws_timeout": 1},
    ],
)
def test_usable_values_are_taken(settings):
    config = ConnexConfig(**settings)
    assert {name: getattr(config, name) for name in settings} == settings


@pytest.mark.parametrize(("field", "name"), [("api_key", API_KEY), ("api_secret", API_SECRET)])
def test_a_bad_credential_is_refused_without_repeating_it(field, name):
    assert problems(**{field: "  "}) == [f"{name} is blank: unset it or give it a value"]
    assert problems(**{field: ""}) == [f"{name} is blank: unset it or give it a value"]
    for value in ("abcdefgh ", "\tabcdefgh", "abc\ndefgh", "abc\x00defgh"):
        [problem] = problems(**{field: value})
        assert problem == f"{name} begins or ends with white space, or contains a control character"


@pytest.mark.parametrize("name", ["timeout", "ws_timeout", "retry_delay"])
@pytest.mark.parametrize("value", [-1, -0.5, float("nan"), float("inf"), "10", None, True])
def test_a_bad_number_of_seconds_is_refused(name, value):
    [problem] = problems(**{name: value})
    assert problem == f"{name} must be a number of seconds above zero, not {value!r}"


def test_a_timeout_of_zero_is_refused():
    assert len(problems(timeout=0, ws_timeout=0)) == 2


@pytest.mark.parametrize("value", [-1, 1.0, "3", True, None])
def test_a_bad_number_of_retries_is_refused(value):
    assert problems(max_retries=value) == [f"max_retries must be a whole number, zero or more, not {value!r}"]


def test_all_problems_are_reported_at_once():
    found = problems(
        rest_url="http://rest.example", ws_url="x", api_key=" ", api_secret="a\n", timeout=0, max_retries=-1
    )
    assert [problem.split()[0] for problem in found] == [
        REST_URL,
        WS_URL,
        API_KEY,
        API_SECRET,
        "timeout",
        "max_retries",
    ]


def test_repr_shows_where_and_masks_who():
    config = ConnexConfig(rest_url="https://rest.example/", ws_url="wss://ws.example", api_key=KEY, api_secret=SECRET)
    shown = repr(config)
    assert shown == str(config)
    assert "rest_url='https://rest.example'" in shown
    assert "api_key='AKfY...abcd', api_secret='***rs=='" in shown
    assert KEY not in shown
    assert SECRET not in shown


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="*"), min_size=5))
def test_no_repr_shows_a_secret(secret):
    shown = repr(ConnexConfig(api_key="k", api_secret=secret)).partition("api_secret=")[2]
    assert secret not in shown


def test_configuration_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ConnexConfig().rest_url = "https://elsewhere.example"


def test_rest_url_loses_its_trailing_slash_and_ws_url_keeps_it():
    config = ConnexConfig(rest_url="https://rest.example/api/", ws_url="wss://ws.example/")
    assert (config.rest_url, config.ws_url) == ("https://rest.example/api", "wss://ws.example/")


def test_missing_names_what_is_not_set_in_a_fixed_order():
    config = ConnexConfig(ws_url="wss://ws.example", api_key=KEY)
    assert config.missing(API_SECRET, WS_URL, REST_URL) == [REST_URL, API_SECRET]
    assert config.missing(WS_URL) == []


@pytest.mark.parametrize(
    ("key", "secret", "half"),
    [(None, None, []), (KEY, SECRET, []), (KEY, None, [API_SECRET]), (None, SECRET, [API_KEY])],
)
def test_half_credentials_are_the_missing_half(key, secret, half):
    config = ConnexConfig(api_key=key, api_secret=secret)
    assert config.half_credentials() == half
    assert config.has_credentials is (key is not None and secret is not None)


def test_require_names_everything_that_is_missing():
    config = ConnexConfig(ws_url="wss://ws.example")
    config.require(WS_URL)
    with pytest.raises(ConfigError) as caught:
        config.require(*VARIABLES)
    assert str(caught.value) == "Missing Connex configuration: CONNEX_REST_URL, CONNEX_API_KEY, CONNEX_API_SECRET"


def test_a_config_error_is_what_both_functions_of_the_notebook_raise():
    with pytest.raises(OSError):
        ConnexConfig().require(REST_URL)
    with pytest.raises(RuntimeError):
        ConnexConfig().require(WS_URL)


def test_the_environment_wins_over_the_env_file(tmp_path: Path):
    dotenv = tmp_path / ".env"
    dotenv.write_text("CONNEX_REST_URL=https://file.example\nCONNEX_API_KEY=from-the-file\nOTHER=1\nCONNEX_WS_URL\n")
    values = read_environment(dotenv, {REST_URL: "https://environment.example", "PATH": "/"})
    assert values == {REST_URL: "https://environment.example", API_KEY: "from-the-file"}


def test_an_empty_variable_counts_as_unset_and_hides_the_env_file(tmp_path: Path):
    dotenv = tmp_path / ".env"
    dotenv.write_text("CONNEX_API_KEY=from-the-file\n")
    assert read_environment(dotenv, {API_KEY: ""}) == {}


def test_a_missing_env_file_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(WS_URL, "wss://ws.example")
    assert read_environment(tmp_path / ".env") == {WS_URL: "wss://ws.example"}
    assert read_environment() == {WS_URL: "wss://ws.example"}


def test_a_live_configuration_comes_from_the_variables():
    config = live_config({REST_URL: "https://r.example", WS_URL: "wss://w.example", API_KEY: KEY}, timeout=2.5)
    assert config == ConnexConfig(
        mode="live", rest_url="https://r.example", ws_url="wss://w.example", api_key=KEY, timeout=2.5
    )


def test_a_recorded_configuration_leads_nowhere_and_takes_nothing_from_the_environment(monkeypatch):
    monkeypatch.setenv(API_KEY, KEY)
    config = recorded_config(max_retries=1)
    assert (config.mode, config.rest_url, config.ws_url) == (
        "recorded",
        "https://rest.connex.invalid",
        "wss://ws.connex.invalid",
    )
    assert (config.api_key, config.api_secret, config.max_retries) == (
        "connex-recorded-key",
        "connex-recorded-secret",
        1,
    )


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("LOCALHOST", True),
        ("127.0.0.1", True),
        ("127.255.0.9", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("localhost.example", False),
        ("", False),
    ],
)
def test_loopback_hosts(host, loopback):
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://Host.Example/x", ("https", "host.example", 443)),
        ("http://h:8080", ("http", "h", 8080)),
        ("wss://h", ("wss", "h", 443)),
        ("ws://h", ("ws", "h", 80)),
        ("ftp://h", ("ftp", "h", 0)),
    ],
)
def test_origin_has_the_scheme_s_own_port(url, expected):
    assert origin(url) == expected


RECORDED = "https://rest.connex.invalid"


@pytest.mark.parametrize(
    ("url", "configured", "canonical"),
    [
        ("https://gw.example/v1/status", "https://gw.example", f"{RECORDED}/v1/status"),
        ("https://gw.example:443/v1/status", "https://gw.example", f"{RECORDED}/v1/status"),
        ("https://GW.example/v1/status", "https://gw.example", f"{RECORDED}/v1/status"),
        ("https://gw.example/api/v1/status?a=1", "https://gw.example/api", f"{RECORDED}/v1/status?a=1"),
        ("https://gw.example/api/v1", "https://gw.example/api/", f"{RECORDED}/v1"),
        ("https://gw.example/api", "https://gw.example/api", f"{RECORDED}/"),
        ("https://gw.example", "https://gw.example", f"{RECORDED}/"),
        ("https://gw.example/apiary", "https://gw.example/api", f"{RECORDED}/apiary"),
        ("https://gw.example/ws?k=1", "https://gw.example/ws?k=1", f"{RECORDED}/"),
        ("https://gw.example/ws?k=2", "https://gw.example/ws?k=1", f"{RECORDED}/?k=2"),
        ("https://other.example/v1", "https://gw.example", "https://other.example/v1"),
        ("https://gw.example:444/v1", "https://gw.example", "https://gw.example:444/v1"),
        ("http://gw.example/v1", "https://gw.example", "http://gw.example/v1"),
    ],
)
def test_only_the_configured_origin_is_made_canonical(url, configured, canonical):
    assert canonical_url(url, configured, RECORDED) == canonical


def test_each_variable_that_is_set_tells_where_it_is_from(tmp_path):
    dotenv = tmp_path / ".env"
    dotenv.write_text("CONNEX_REST_URL=https://a.example\nCONNEX_WS_URL=wss://a.example\nCONNEX_API_SECRET=b\n")
    environ = {WS_URL: "wss://a.example", API_KEY: "c", API_SECRET: "d", "PATH": "/"}
    assert variable_origins(dotenv, environ) == {
        REST_URL: "from .env",
        WS_URL: "from the environment and .env",
        API_KEY: "from the environment",
        API_SECRET: "from the environment",
    }


def test_a_variable_that_the_environment_empties_is_from_nowhere(tmp_path):
    dotenv = tmp_path / ".env"
    dotenv.write_text("CONNEX_API_KEY=key\n")
    assert variable_origins(dotenv, {API_KEY: ""}) == {}
