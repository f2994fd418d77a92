"""The rules both REST clients share, without a client: when to try again, how long to wait, who sees the keys."""

from __future__ import annotations

import dataclasses
from decimal import Decimal

import httpx
import pytest
from requests.structures import CaseInsensitiveDict
from urllib3 import HTTPResponse
from urllib3.exceptions import MaxRetryError, ProtocolError

from pytest_connex.client.policy import Credentials, Patience, checked, patience, whole_book
from pytest_connex.config import ConnexConfig
from pytest_connex.errors import AuthenticationError, DataFormatError, RateLimitError, RequestError
from pytest_connex.model import Level
from pytest_connex.protocol import Dialect

URL = "https://gateway.example/v1/status"
CONFIG = ConnexConfig(rest_url="https://gateway.example/api", api_key="the-key", api_secret="the-secret")
KNOWN = {"X-CONNEX-API-KEY": b"the-key", "X-CONNEX-API-SECRET": b"the-secret"}
ONE_OF_ANOTHER = {"X-CONNEX-API-KEY": "of-another", "x-connex-api-secret": "of-another", "Accept": "text/html"}


@pytest.fixture
def waits() -> list[float]:
    return []


def made(waits: list[float], max_retries: int = 3, retry_delay: float = 5.0) -> Patience:
    return patience(ConnexConfig(max_retries=max_retries, retry_delay=retry_delay), waits.append)


def failed(policy: Patience, times: int) -> Patience:
    for _ in range(times):
        policy = policy.increment("GET", URL)
    return policy


# --- When to try again -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_status_that_passes_is_tried_again(waits, status):
    assert made(waits).is_retry("GET", status)


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 404, 409, 501])
def test_a_status_that_stays_is_not_tried_again(waits, status):
    assert not made(waits).is_retry("GET", status)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_an_idempotent_method_is_tried_again(waits, method):
    assert made(waits).is_retry(method, 503)


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize("retry_after", [False, True])
def test_a_method_that_may_place_an_order_is_not_tried_again(waits, method, retry_after):
    assert not made(waits).is_retry(method, 503, retry_after)


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_no_more_is_tried_than_the_configuration_allows(waits, retries):
    policy = failed(made(waits, max_retries=retries), retries)
    with pytest.raises(MaxRetryError):
        policy.increment("GET", URL)


def test_a_failed_connection_counts_as_an_attempt(waits):
    policy = made(waits, max_retries=2).increment("GET", URL, error=ProtocolError("gone"))
    assert policy.total == 1


@pytest.mark.parametrize("method", ["POST", "PATCH", None])
def test_a_method_that_may_place_an_order_is_not_repeated_after_a_failed_connection(waits, method):
    gone = ProtocolError("gone")
    with pytest.raises(MaxRetryError) as caught:
        made(waits).increment(method, URL, error=gone)
    assert caught.value.reason is gone


@pytest.mark.parametrize(("method", "repeats"), [("GET", True), ("get", True), ("POST", False), (None, False)])
def test_methods_without_effect_may_be_repeated(waits, method, repeats):
    assert made(waits).repeats(method) is repeats


def test_the_last_answer_is_returned_rather_than_raised(waits):
    assert made(waits).raise_on_status is False


# --- How long to wait ------------------------------------------------------------------------------------


def test_a_wait_that_the_answer_names_is_taken(waits):
    assert failed(made(waits), 2).seconds(HTTPResponse(headers={"Retry-After": "7"})) == 7


def test_without_a_named_wait_the_back_off_is_taken(waits):
    policy = failed(made(waits), 2)
    assert policy.seconds(HTTPResponse()) == policy.get_backoff_time() == 10.0


def test_without_an_answer_the_back_off_is_taken(waits):
    assert failed(made(waits), 2).seconds() == 10.0


def test_a_wait_of_zero_named_by_the_answer_is_none(waits):
    policy, answer = failed(made(waits), 2), HTTPResponse(headers={"Retry-After": "0"})
    policy.sleep(answer)
    assert (policy.seconds(answer), waits) == (0, [])


@pytest.mark.parametrize("value", ["soon", "", "1.5", "²", "٣", pytest.param("9" * 5_000, id="endless")])
def test_a_wait_that_cannot_be_read_leaves_the_back_off(waits, value):
    assert failed(made(waits), 2).seconds(HTTPResponse(headers={"Retry-After": value})) == 10.0


def test_attempt_k_is_followed_by_k_times_the_delay(waits):
    assert [failed(made(waits), attempt).seconds() for attempt in (0, 1, 2, 3)] == [0.0, 5.0, 10.0, 15.0]


def test_a_policy_that_ignores_what_the_answer_names_takes_the_back_off(waits):
    policy = failed(made(waits), 2).new(respect_retry_after_header=False)
    assert policy.seconds(HTTPResponse(headers={"Retry-After": "7"})) == 10.0


def test_a_delay_of_zero_never_waits(waits):
    policy = failed(made(waits, retry_delay=0.0), 3)
    policy.sleep()
    assert (policy.seconds(), waits) == (0, [])


def test_sleeping_waits_as_told_by_the_answer(waits):
    failed(made(waits), 1).sleep(HTTPResponse(headers={"Retry-After": "7"}))
    assert waits == [7]


def test_every_further_attempt_waits_by_the_same_function(waits):
    policy = made(waits)
    for _ in range(3):
        policy = policy.increment("GET", URL)
        policy.sleep()
    assert waits == [5.0, 10.0, 15.0]


# --- Who sees the credentials ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "https://gateway.example/v1/status",
        "https://gateway.example",
        "https://gateway.example:443/other?a=1",
        "HTTPS://GATEWAY.EXAMPLE/v1/status",
    ],
)
def test_the_configured_origin_gets_the_credentials(url):
    headers = CaseInsensitiveDict()
    Credentials(CONFIG, Dialect()).apply(url, headers)
    assert dict(headers) == KNOWN


@pytest.mark.parametrize(
    "url",
    [
        "http://gateway.example/v1/status",
        "https://gateway.example:8443/v1/status",
        "https://other.example/v1/status",
        "https://sub.gateway.example/v1/status",
        "https://gateway.example.evil.example/v1/status",
        "https://gateway.example@evil.example/v1/status",
        "/v1/status",
        "",
    ],
)
def test_another_origin_gets_none_and_loses_those_that_are_there(url):
    headers = CaseInsensitiveDict(ONE_OF_ANOTHER)
    Credentials(CONFIG, Dialect()).apply(url, headers)
    assert dict(headers) == {"Accept": "text/html"}


def test_credentials_that_are_there_already_are_replaced():
    headers = CaseInsensitiveDict(ONE_OF_ANOTHER)
    Credentials(CONFIG, Dialect()).apply(URL, headers)
    assert dict(headers) == {"Accept": "text/html", **KNOWN}


def test_headers_of_httpx_are_treated_alike():
    headers = httpx.Headers(ONE_OF_ANOTHER)
    Credentials(CONFIG, Dialect()).apply(URL, headers)
    assert headers.multi_items() == [
        ("accept", "text/html"),
        ("x-connex-api-key", "the-key"),
        ("x-connex-api-secret", "the-secret"),
    ]


@pytest.mark.parametrize("absent", ["api_key", "api_secret"])
def test_half_of_the_credentials_is_none(absent):
    headers = CaseInsensitiveDict()
    Credentials(dataclasses.replace(CONFIG, **{absent: None}), Dialect()).apply(URL, headers)
    assert dict(headers) == {}


def test_the_dialect_names_the_headers():
    headers = CaseInsensitiveDict({"X-Key": "of-another", "X-Secret": "of-another"})
    credentials = Credentials(CONFIG, Dialect(key_header="X-Key", secret_header="X-Secret"))
    credentials.apply(URL, headers)
    assert dict(headers) == {"X-Key": b"the-key", "X-Secret": b"the-secret"}


# --- What an answer is -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 304, 399])
def test_an_answer_below_400_is_its_json(status):
    assert checked(status, '{"status": "healthy"}', None, URL, Dialect()) == {"status": "healthy"}


@pytest.mark.parametrize(
    ("status", "error"), [(400, RequestError), (401, AuthenticationError), (429, RateLimitError), (503, RequestError)]
)
def test_an_answer_of_400_or_more_is_an_error_that_says_what_was_asked(status, error):
    with pytest.raises(error) as caught:
        checked(status, '{"error": "no", "message": "not now"}', None, URL, Dialect())
    assert type(caught.value) is error
    assert str(caught.value) == f"Connex answered {status} to {URL}: not now"


def test_the_wait_that_an_answer_names_reaches_the_error():
    with pytest.raises(RateLimitError) as caught:
        checked(429, "{}", "7", URL, Dialect())
    assert caught.value.retry_after == 7.0


def test_an_answer_without_json_is_an_error():
    with pytest.raises(DataFormatError):
        checked(200, "hello", None, URL, Dialect())


def test_an_error_answer_needs_no_json():
    with pytest.raises(RequestError) as caught:
        checked(502, "<html>", None, URL, Dialect())
    assert caught.value.status == 502


def test_a_whole_order_book_is_its_snapshot():
    payload = {"symbol": "ETH/USDT", "lastUpdateId": 7, "bids": [["1.10", "2"]], "asks": []}
    book = whole_book(payload, "/v1/orderbook", Dialect())
    assert (book.symbol, book.sequence, book.bids) == ("ETH/USDT", 7, (Level(Decimal("1.10"), Decimal(2)),))


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ([], "/v1/orderbook answered with something else than a JSON object"),
        (
            {"type": "update", "symbol": "ETH/USDT", "bids": [], "asks": []},
            "/v1/orderbook answered with an update, expected a whole book",
        ),
    ],
)
def test_an_answer_that_is_no_whole_order_book_is_refused(payload, message):
    with pytest.raises(DataFormatError) as caught:
        whole_book(payload, "/v1/orderbook", Dialect())
    assert str(caught.value) == message
