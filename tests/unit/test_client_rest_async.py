"""What ``test_client_rest`` leaves open of the asynchronous client: its retries, its answers, its short cuts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from pytest_connex.client.rest_async import ConnexRestAsync
from pytest_connex.config import ConnexConfig
from pytest_connex.errors import AuthenticationError, ConfigError, DataFormatError, RateLimitError, RequestError
from pytest_connex.protocol import Dialect
from pytest_connex.sandbox.server import Sandbox

from .test_client_rest import KNOWN, Server, config


@pytest.fixture
def home() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def other() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


class Waits(list[float]):
    """Takes the waits instead of waiting."""

    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture
def waits() -> Waits:
    return Waits()


# --- Where requests go, and with what --------------------------------------------------------------------


async def test_the_origin_gets_the_credentials_and_another_none(home, other):
    async with ConnexRestAsync(config(home)) as client:
        await client.get("/v1/status")
        await client.get(other.url + "/v1/status")
    assert home.credentials() == [KNOWN]
    assert other.credentials() == [[None, None]]


async def test_credentials_that_a_request_brings_along_do_not_reach_another_origin(home, other):
    async with ConnexRestAsync(config(home)) as client:
        await client.get(other.url + "/", headers={"x-connex-api-key": "mine", "X-CONNEX-API-SECRET": "mine"})
    assert other.credentials() == [[None, None]]


async def test_without_credentials_no_header_is_sent(home):
    async with ConnexRestAsync(ConnexConfig(rest_url=home.url)) as client:
        await client.get("/v1/status")
    assert home.credentials() == [[None, None]]


async def test_paths_are_joined_to_the_base(home):
    async with ConnexRestAsync(config(home, "/api/")) as client:
        await client.get("/v1/status")
        await client.get("v1/status")
    assert [path for _, path, _ in home.seen] == ["/api/v1/status", "/api/v1/status"]


async def test_every_request_says_what_it_accepts_and_who_it_is(home):
    async with ConnexRestAsync(config(home), Dialect(user_agent="mine/1")) as client:
        await client.get("/v1/status")
    headers = home.seen[0][2]
    assert (headers["Accept"], headers["User-Agent"]) == ("application/json", "mine/1")


def test_a_missing_base_is_named():
    with pytest.raises(ConfigError) as caught:
        ConnexRestAsync(ConnexConfig())
    assert str(caught.value) == "Missing Connex configuration: CONNEX_REST_URL"


async def test_the_configured_time_out_is_that_of_a_request(home):
    async with ConnexRestAsync(config(home, timeout=1.5)) as client:
        assert client.timeout == httpx.Timeout(1.5)


# --- Trying again ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_a_status_that_passes_is_tried_again(home, waits, status):
    home.script["/busy"] = [(status, {}, "{}"), (200, {}, '{"n": 1}')]
    async with ConnexRestAsync(config(home), sleep=waits) as client:
        response = await client.get("/busy")
    assert (response.status_code, response.json(), len(home.seen)) == (200, {"n": 1}, 2)


@pytest.mark.parametrize("status", [400, 401, 404, 501])
async def test_a_status_that_stays_is_not_tried_again(home, waits, status):
    home.script["/no"] = [(status, {}, "{}"), (200, {}, "{}")]
    async with ConnexRestAsync(config(home), sleep=waits) as client:
        assert (await client.get("/no")).status_code == status
    assert (len(home.seen), waits) == (1, [])


async def test_a_post_is_not_repeated_after_an_answer(home, waits):
    home.script["/order"] = [(503, {"Retry-After": "1"}, "{}"), (200, {}, "{}")]
    async with ConnexRestAsync(config(home), sleep=waits) as client:
        assert (await client.post("/order")).status_code == 503
    assert (len(home.seen), waits) == (1, [])


async def test_the_wait_that_the_answer_names_is_waited(home, waits):
    home.script["/busy"] = [(429, {"Retry-After": "7"}, "{}"), (503, {"Retry-After": "2"}, "{}"), (200, {}, "{}")]
    async with ConnexRestAsync(config(home), sleep=waits) as client:
        assert (await client.get("/busy")).status_code == 200
    assert waits == [7, 2]


async def test_a_wait_of_zero_is_not_slept(home, waits):
    home.script["/busy"] = [(503, {"Retry-After": "0"}, "{}"), (200, {}, "{}")]
    async with ConnexRestAsync(config(home), sleep=waits) as client:
        assert (await client.get("/busy")).status_code == 200
    assert waits == []


async def test_a_wait_that_cannot_be_read_leaves_the_back_off(home, waits):
    home.script["/busy"] = [(503, {"Retry-After": "soon"}, "{}"), (200, {}, "{}")]
    async with ConnexRestAsync(config(home, retry_delay=2.0), sleep=waits) as client:
        assert (await client.get("/busy")).status_code == 200
    assert waits == [2.0]


async def test_the_last_answer_is_returned_with_its_body(home, waits):
    home.script["/busy"] = [(503, {}, '{"n": 1}'), (503, {}, '{"n": 2}'), (503, {}, '{"n": 3}')]
    async with ConnexRestAsync(config(home, max_retries=2), sleep=waits) as client:
        response = await client.get("/busy")
    assert (response.status_code, response.json()) == (503, {"n": 3})


async def test_without_retries_the_first_answer_is_returned(home, waits):
    home.script["/busy"] = [(503, {"Retry-After": "7"}, "{}")]
    async with ConnexRestAsync(config(home, max_retries=0), sleep=waits) as client:
        assert (await client.get("/busy")).status_code == 503
    assert (len(home.seen), waits) == (1, [])


async def test_the_next_request_begins_with_all_its_retries(home, waits):
    home.script["/busy"] = [(503, {}, "{}")]
    async with ConnexRestAsync(config(home, max_retries=1), sleep=waits) as client:
        await client.get("/busy")
        await client.get("/busy")
    assert len(home.seen) == 4


# --- Failed connections ----------------------------------------------------------------------------------


class Broken:
    """Ends the first ``failures`` connections when their request has arrived, and answers the others."""

    def __init__(self, failures: int) -> None:
        self.requests = 0
        self._failures = failures

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.requests += 1
        if self.requests > self._failures:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        writer.close()


@pytest.fixture
async def broken() -> AsyncIterator[tuple[Broken, ConnexConfig]]:
    made = Broken(failures=2)
    async with await asyncio.start_server(made.serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield made, ConnexConfig(rest_url=f"http://127.0.0.1:{port}", max_retries=2)


async def test_a_connection_that_ends_without_an_answer_is_tried_again(broken, waits):
    server, settings = broken
    async with ConnexRestAsync(settings, sleep=waits) as client:
        assert (await client.get("/")).status_code == 200
    assert (server.requests, len(waits)) == (3, 2)


async def test_a_post_is_not_repeated_after_a_failed_connection(broken, waits):
    server, settings = broken
    async with ConnexRestAsync(settings, sleep=waits) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.post("/")
    assert (server.requests, waits) == (1, [])


async def test_the_failure_of_the_last_attempt_is_raised(broken, waits):
    server, settings = broken
    async with ConnexRestAsync(ConnexConfig(rest_url=settings.rest_url, max_retries=1), sleep=waits) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/")
    assert (server.requests, len(waits)) == (2, 1)


async def test_a_failed_connection_waits_as_long_as_a_failed_answer(home, waits):
    home.script["/busy"] = [(503, {}, "{}")]
    url = home.url + "/busy"
    async with ConnexRestAsync(config(home, max_retries=2), sleep=waits) as client:
        await client.get(url)
        answered, waits[:] = list(waits), []
        home.stop()
        with pytest.raises(httpx.ConnectError):
            await client.get(url)
    assert waits == answered


# --- Answers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "error"), [(401, AuthenticationError), (404, RequestError), (429, RateLimitError), (503, RequestError)]
)
async def test_an_error_answer_is_its_exception(home, waits, status, error):
    home.script["/no"] = [(status, {"Retry-After": "7"}, '{"error": "no", "message": "not now"}')]
    async with ConnexRestAsync(config(home, max_retries=0), sleep=waits) as client:
        response = await client.get("/no")
        with pytest.raises(error) as caught:
            client.check(response)
    assert type(caught.value) is error
    assert str(caught.value) == f"Connex answered {status} to {home.url}/no: not now"


async def test_a_rate_limit_says_how_long_to_wait(home, waits):
    home.script["/busy"] = [(429, {"Retry-After": "7"}, "{}")]
    async with ConnexRestAsync(config(home, max_retries=0), sleep=waits) as client:
        response = await client.get("/busy")
        with pytest.raises(RateLimitError) as caught:
            client.check(response)
    assert caught.value.retry_after == 7.0


async def test_an_answer_that_is_not_json_is_an_error(home):
    home.script["/text"] = [(200, {}, "hello")]
    async with ConnexRestAsync(config(home)) as client:
        response = await client.get("/text")
        with pytest.raises(DataFormatError, match="not JSON"):
            client.check(response)


async def test_the_dialect_says_where_status_and_symbols_are(home):
    dialect = Dialect(status_path="/alive", symbols_path="/traded")
    async with ConnexRestAsync(config(home), dialect) as client:
        await client.status()
        await client.symbols()
        await client.symbols("kraken")
    assert [path for _, path, _ in home.seen] == ["/alive", "/traded", "/traded?exchange=kraken"]


async def test_the_sandbox_tells_its_status():
    with Sandbox() as sandbox:
        async with ConnexRestAsync(sandbox.config) as client:
            status = await client.status()
    assert status["status"] == "healthy"


async def test_the_sandbox_tells_what_is_traded_on_one_exchange():
    with Sandbox() as sandbox:
        async with ConnexRestAsync(sandbox.config) as client:
            answer = await client.symbols("binance")
    assert {row["exchange"] for row in answer["symbols"]} == {"binance"}


async def test_the_sandbox_tells_an_order_book():
    with Sandbox() as sandbox:
        async with ConnexRestAsync(sandbox.config) as client:
            book = await client.orderbook("binance", "ETH/USDT", depth=3)
    assert (book.symbol, len(book.bids), len(book.asks)) == ("ETH/USDT", 3, 3)
    assert book.bids[0].price < book.asks[0].price


async def test_wrong_credentials_are_an_authentication_error():
    with Sandbox() as sandbox:
        async with ConnexRestAsync(ConnexConfig(rest_url=sandbox.rest_url)) as client:
            with pytest.raises(AuthenticationError):
                await client.status()
