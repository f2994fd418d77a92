"""Authentication: signatures with known answers, and what the gateway accepts and rejects."""

from __future__ import annotations

import hashlib
import hmac
import time
from dataclasses import replace

import pytest
import requests
from websockets.exceptions import ConnectionClosed

from pytest_connex import ConnexRest, Dialect
from pytest_connex.errors import AuthenticationError, ConfigError
from pytest_connex.model import Authenticated, ErrorEvent, Pong, Subscribed

KNOWN = [
    (
        "connex-demo-key",
        "connex-demo-secret",
        "1700000000000",
        "a43bea85bdce7c990a41cc4e91d75ca5febf2768594862fb009d5ed6d2400718",
    ),
    (
        "AKfYcbwXYZ0123456789abcd",
        "s3cr3t/with+special=chars==",
        "1737158400123",
        "00d9015e3b7ebda05842f9c5ee2e9ade263d5695f19a19c1b5a5b6df8faa192a",
    ),
    (
        "key-ü-ключ-鍵",
        "secret-ü-секрет-秘密",
        "1",
        "53b6a8f93fe7bc654f738af57efdfdc8247ba702f4814f7b2dcc378855038e36",
    ),
]


@pytest.mark.parametrize(("key", "secret", "nonce", "signature"), KNOWN, ids=["ascii", "special", "unicode"])
def test_known_answers(key, secret, nonce, signature):
    assert Dialect().sign(key, secret, nonce) == signature


def test_the_signature_covers_the_nonce_and_then_the_key():
    expected = hmac.new(b"secret-of-mine", b"17000KEY", hashlib.sha256).hexdigest()

    assert Dialect().sign("KEY", "secret-of-mine", "17000") == expected
    assert Dialect().sign("17000", "secret-of-mine", "KEY") != expected


def test_the_message_is_the_notebooks():
    message = Dialect().authenticate("connex-demo-key", "connex-demo-secret", "1700000000000")

    assert message == {
        "action": "authenticate",
        "data": {"apiKey": "connex-demo-key", "nonce": "1700000000000", "signature": KNOWN[0][3]},
    }


def message(config, *, nonce: int, **changed) -> str:
    dialect = Dialect()
    key, secret = changed.get("api_key", config.api_key), changed.get("api_secret", config.api_secret)
    return dialect.encode(dialect.authenticate(key, secret, str(nonce)))


def now() -> int:
    """A nonce that no other client of this process uses: its clock is a little ahead."""
    return time.time_ns() // 1_000_000 + 5_000


async def refusal(ws) -> str:
    """The code with which the gateway rejects, after it has closed with 4001."""
    event = Dialect().parse(await ws.recv())
    assert isinstance(event, ErrorEvent)
    with pytest.raises(ConnectionClosed) as closed:
        await ws.recv()
    assert closed.value.rcvd.code == 4001
    return event.code


async def test_a_valid_signature_is_accepted(connex_config, connex_connect):
    async with connex_connect(connex_config.ws_url) as ws:
        await ws.send(message(connex_config, nonce=now()))
        answer = Dialect().parse(await ws.recv())

    assert isinstance(answer, Authenticated)
    assert answer.timestamp > 1_600_000_000_000


async def test_an_authenticated_connection_answers(connex_ws):
    assert await connex_ws.ping(7) == Pong(id=7)


async def test_a_wrong_secret_is_rejected(connex_config, connex_connect):
    async with connex_connect(connex_config.ws_url) as ws:
        await ws.send(message(connex_config, nonce=now(), api_secret="this-is-not-the-secret"))
        assert await refusal(ws) == "invalid_signature"


async def test_an_unknown_key_is_rejected(connex_config, connex_connect):
    async with connex_connect(connex_config.ws_url) as ws:
        await ws.send(message(connex_config, nonce=now(), api_key="nobody-has-this-key"))
        assert await refusal(ws) == "unknown_key"


async def test_a_nonce_of_a_minute_ago_is_stale(connex_config, connex_connect):
    async with connex_connect(connex_config.ws_url) as ws:
        await ws.send(message(connex_config, nonce=now() - 65_000))
        assert await refusal(ws) == "stale_nonce"


async def test_a_reused_nonce_is_rejected(connex_config, connex_connect):
    nonce = now()
    async with connex_connect(connex_config.ws_url) as ws:
        await ws.send(message(connex_config, nonce=nonce))
        assert isinstance(Dialect().parse(await ws.recv()), Authenticated)
    async with connex_connect(connex_config.ws_url) as ws:
        await ws.send(message(connex_config, nonce=nonce))
        assert await refusal(ws) == "reused_nonce"


async def test_the_client_raises_a_permission_error_when_rejected(connex_config, connex_ws_connect):
    client = connex_ws_connect(config=replace(connex_config, api_secret="this-is-not-the-secret"))

    with pytest.raises(PermissionError) as caught:
        await client.open()
    assert isinstance(caught.value, AuthenticationError)
    assert caught.value.code == "invalid_signature"


async def test_market_data_needs_no_credentials(connex_config, connex_ws_connect):
    anonymous = replace(connex_config, api_key=None, api_secret=None)

    async with connex_ws_connect(config=anonymous) as ws:
        assert await ws.subscribe("ETH/USDT") == Subscribed(channel="orderbook", symbol="ETH/USDT", depth=50)


async def test_half_credentials_are_refused_before_dialling(connex_config, connex_ws_connect):
    client = connex_ws_connect(config=replace(connex_config, api_secret=None))

    with pytest.raises(ConfigError, match="CONNEX_API_SECRET"):
        await client.open()


def test_rest_rejects_an_unknown_key(connex_config):
    with ConnexRest(replace(connex_config, api_key="nobody-has-this-key")) as client:
        response = client.get("/v1/status")

        assert response.status_code == 401
        with pytest.raises(AuthenticationError, match="401"):
            client.check(response)


def test_rest_without_credentials_is_unauthorized(connex_config):
    response = requests.get(f"{connex_config.rest_url}/v1/status", timeout=10)

    assert response.status_code == 401
    assert response.json()["code"] == 401
