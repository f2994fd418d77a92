"""The REST clients against real servers on this machine: who sees the credentials, and what is tried again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pytest_connex import ConnexRest
from pytest_connex.client.rest_async import ConnexRestAsync
from pytest_connex.config import ConnexConfig
from pytest_connex.errors import ConfigError, DataFormatError

HEADERS = ("X-CONNEX-API-KEY", "X-CONNEX-API-SECRET")


class Server:
    """Answers from a script, by path, and remembers what arrived."""

    def __init__(self) -> None:
        self.script: dict[str, list[tuple[int, dict[str, str], str]]] = {}
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                outer.seen.append((self.command, self.path, dict(self.headers)))
                answers = outer.script.get(self.path, [(200, {}, "{}")])
                status, headers, body = answers.pop(0) if len(answers) > 1 else answers[0]
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body.encode())

            do_GET = do_POST = answer

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def credentials(self) -> list[list[str | None]]:
        return [[headers.get(name) for name in HEADERS] for _, _, headers in self.seen]

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def servers() -> Iterator[tuple[Server, Server]]:
    made = Server(), Server()
    yield made
    for server in made:
        server.stop()


def config(server: Server, path: str = "", **settings) -> ConnexConfig:
    return ConnexConfig(
        rest_url=server.url + path, api_key="the-key-of-mine", api_secret="the-secret-of-mine", **settings
    )


KNOWN = ["the-key-of-mine", "the-secret-of-mine"]


def test_requests_to_the_origin_carry_the_credentials(servers):
    home, _ = servers
    with ConnexRest(config(home)) as client:
        client.get("/v1/status")
        client.get(home.url + "/absolute")
    assert home.credentials() == [KNOWN, KNOWN]


def test_paths_are_joined_to_the_base(servers):
    home, _ = servers
    with ConnexRest(config(home, "/api/")) as client:
        client.get("/v1/status")
        client.get("v1/status")
    assert [path for _, path, _ in home.seen] == ["/api/v1/status", "/api/v1/status"]


def test_a_request_to_another_origin_carries_none(servers):
    home, other = servers
    with ConnexRest(config(home)) as client:
        client.get(other.url + "/v1/status")
    assert other.credentials() == [[None, None]]


def test_a_redirect_to_another_origin_carries_none_and_back_again_it_does(servers):
    home, other = servers
    home.script["/start"] = [(302, {"Location": other.url + "/away"}, "")]
    other.script["/away"] = [(302, {"Location": home.url + "/back"}, "")]
    with ConnexRest(config(home)) as client:
        assert client.get("/start").status_code == 200
    assert other.credentials() == [[None, None]]
    assert home.credentials() == [KNOWN, KNOWN]


async def test_an_asynchronous_redirect_carries_none_and_back_again_it_does(servers):
    home, other = servers
    home.script["/start"] = [(302, {"Location": other.url + "/away"}, "")]
    other.script["/away"] = [(302, {"Location": home.url + "/back"}, "")]
    async with ConnexRestAsync(config(home)) as client:
        assert (await client.get("/start")).status_code == 200
    assert other.credentials() == [[None, None]]
    assert home.credentials() == [KNOWN, KNOWN]


def test_without_credentials_no_header_is_sent(servers):
    home, _ = servers
    with ConnexRest(ConnexConfig(rest_url=home.url)) as client:
        client.get("/v1/status")
    assert home.credentials() == [[None, None]]


def test_every_request_says_what_it_accepts_and_who_it_is(servers):
    home, _ = servers
    with ConnexRest(config(home)) as client:
        client.get("/v1/status")
    headers = home.seen[0][2]
    assert (headers["Accept"], headers["User-Agent"]) == ("application/json", "connex-health-check/0.1")


def test_waits_grow_and_then_the_last_answer_is_returned(servers):
    home, _ = servers
    home.script["/busy"] = [(503, {}, "{}")]
    waits: list[float] = []
    with ConnexRest(config(home, max_retries=3, retry_delay=5.0), sleep=waits.append) as client:
        assert client.get("/busy").status_code == 503
    assert len(home.seen) == 4
    assert waits == sorted(waits)
    assert waits[-1] >= 10


async def test_both_clients_wait_alike(servers):
    home, _ = servers
    home.script["/busy"] = [(503, {}, "{}")]
    waits: dict[str, list[float]] = {"blocking": [], "asynchronous": []}

    async def sleep(seconds: float) -> None:
        waits["asynchronous"].append(seconds)

    settings = config(home, max_retries=3, retry_delay=5.0)
    with ConnexRest(settings, sleep=waits["blocking"].append) as client:
        client.get("/busy")
    async with ConnexRestAsync(settings, sleep=sleep) as twin:
        assert (await twin.get("/busy")).status_code == 503
    assert [wait for wait in waits["asynchronous"] if wait] == waits["blocking"]


async def test_a_failed_connection_is_tried_again_by_both(servers):
    home, _ = servers
    gone = config(home, max_retries=2, timeout=0.5)
    home.stop()
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    import httpx
    import requests

    with ConnexRest(gone, sleep=waits.append) as client, pytest.raises(requests.ConnectionError):
        client.get("/v1/status")
    blocking, waits[:] = list(waits), []
    async with ConnexRestAsync(gone, sleep=sleep) as twin:
        with pytest.raises(httpx.ConnectError):
            await twin.get("/v1/status")
    assert blocking == waits == [gone.retry_delay, 2 * gone.retry_delay]


def test_an_answer_that_is_not_json_is_an_error(servers):
    home, _ = servers
    home.script["/text"] = [(200, {}, "hello")]
    with ConnexRest(config(home)) as client, pytest.raises(DataFormatError, match="not JSON"):
        client.check(client.get("/text"))


def test_a_missing_base_is_named():
    with pytest.raises(ConfigError, match="CONNEX_REST_URL"):
        ConnexRest(ConnexConfig())


def test_no_repr_shows_a_secret(servers):
    home, _ = servers
    with ConnexRest(config(home)) as client:
        assert repr(client) == f"ConnexRest({home.url!r}, key='the-...mine')"
    assert "secret" not in repr(ConnexRestAsync(config(home)))
