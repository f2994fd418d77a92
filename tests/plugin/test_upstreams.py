"""``connex_upstreams``: other servers of a project, recorded and played with Connex on one tape."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http import HTTPStatus

import pytest
import yaml
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from .conftest import Project

CONFTEST = """
import os
import pytest

@pytest.fixture(scope="session")
def connex_upstreams():
    return {"venue": os.environ.get("VENUE_URL", "http://venue.example/base")}
"""

TESTS = """
import os
import pytest
import requests
from websockets.sync.client import connect

def test_venue(connex_config, connex_proxy):
    url = connex_proxy.url("venue")
    assert url == os.environ["CONNEX_UPSTREAM_VENUE"] == connex_proxy.env()["CONNEX_UPSTREAM_VENUE"]
    assert url.startswith("http://127.0.0.1:") and url.endswith("/base")
    assert requests.get(url + "/first").text == "GET /base/first"
    assert requests.get(connex_config.rest_url + "/v1/status").status_code == 401
    with connect(url.replace("http", "ws", 1) + "/stream") as venue, connect(connex_config.ws_url) as ws:
        venue.send("one")
        assert venue.recv(timeout=20) == "venue says one"
        ws.send('{"action": "ping", "id": 7, "note": "one"}')
        assert "pong" in ws.recv(timeout=20)
        assert requests.get(url + "/second").text == "GET /base/second"
        venue.send("two")
        assert venue.recv(timeout=20) == "venue says two"
"""


@pytest.fixture
def venue(monkeypatch) -> Iterator[list[str]]:
    """A second server of HTTP and WebSocket on one port, which ``VENUE_URL`` names; yields what it was asked."""
    asked: list[str] = []

    def answer(connection: ServerConnection, request: Request) -> Response | None:
        asked.append(request.path)
        if "Upgrade" in request.headers:
            return None
        return connection.respond(HTTPStatus.OK, f"GET {request.path}")

    def talk(connection: ServerConnection) -> None:
        for message in connection:
            connection.send(f"venue says {message}")

    with serve(talk, "127.0.0.1", 0, process_request=answer) as server:
        thread = threading.Thread(target=server.serve_forever, name="venue")
        thread.start()
        monkeypatch.setenv("VENUE_URL", f"http://127.0.0.1:{server.socket.getsockname()[1]}/base")
        yield asked
        server.shutdown()
        thread.join()


@pytest.fixture
def beside(project: Project) -> Project:
    """A project whose test talks to a venue besides Connex."""
    project.pytester.makeconftest(CONFTEST)
    project.test(TESTS)
    return project


@pytest.fixture
def replaying(beside: Project, venue: list[str], monkeypatch) -> Project:
    """One that is recorded, and whose venue is not there any more as far as it knows."""
    beside.record()
    monkeypatch.delenv("VENUE_URL")
    venue.clear()
    return beside


def recorded_files(project: Project) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    folder = project.path / "cassettes" / "test_it"
    lines = (folder / "test_venue.ws.jsonl").read_text().splitlines()[1:-1]
    return yaml.safe_load((folder / "test_venue.yaml").read_text())["interactions"], [
        json.loads(line) for line in lines
    ]


def test_two_servers_are_recorded_on_one_tape(beside, venue):
    beside.record()
    http, websocket = recorded_files(beside)
    assert venue == ["/base/first", "/base/stream", "/base/second"]
    assert [interaction["request"]["uri"] for interaction in http] == [
        "https://venue.connex.invalid/first",
        "https://rest.connex.invalid/v1/status",
        "https://venue.connex.invalid/second",
    ]
    assert [interaction["connex"].get("upstream") for interaction in http] == ["venue", None, "venue"]
    dials = [event["url"] for event in websocket if event["event"] == "dial"]
    assert dials == ["wss://venue.connex.invalid/stream", "wss://ws.connex.invalid/"]
    said = [(event["at"], event["text"]) for event in websocket if event["event"] == "received"]
    [before, pong, after] = [at for at, text in said]
    assert before < pong < http[2]["connex"]["asked"] < http[2]["connex"]["answered"] < after


def test_it_replays_without_the_servers(replaying, venue):
    replaying.run().assert_outcomes(passed=1)
    replaying.run_apart().assert_outcomes(passed=1)
    assert venue == []


def test_it_works_without_a_recording_too(beside, venue):
    beside.run("--connex-sandbox").assert_outcomes(passed=1)
    assert venue == ["/base/first", "/base/stream", "/base/second"]
    assert not (beside.path / "cassettes").exists()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"/first").text == "GET /base/first"', '"/other").text', "GET https://venue.connex.invalid/other is not *"),
        ('venue.send("two")', 'venue.send("three")', "*the client sent another message than the recording expects"),
        ("connect(url.replace", "connect(connex_config.ws_url + '/more' or url.replace", "*/more*"),
    ],
)
def test_what_is_not_recorded_of_the_venue_is_a_mismatch(replaying, old, new, told):
    replaying.test(TESTS.replace(old, new))
    result = replaying.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"*CassetteMismatch: *{told}"])


def test_what_is_left_of_the_venue_is_told(replaying):
    replaying.test(TESTS.replace('assert requests.get(url + "/second").text == "GET /base/second"', "pass"))
    result = replaying.run("--connex-replay-timeout=0.2")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*GET https://venue.connex.invalid/second*"])


@pytest.mark.parametrize(
    ("upstreams", "told"),
    [
        ('{"Venue": "https://a.example"}', "an upstream cannot be called 'Venue': use lower-case letters, digits *"),
        (
            '{"rest": "https://a.example"}',
            "*cannot be called 'rest': *neither rest nor ws, which are Connex",
        ),
        ('{7: "https://a.example"}', "an upstream cannot be called 7: *"),
        (
            '{"venue": "venue.example"}',
            "the upstream venue needs a URL with a host, for example https://venue.example",
        ),
        ('{"venue": "ftp://a.example"}', "the upstream venue needs a URL with a host, *"),
        ('{"venue": None}', "the upstream venue needs a URL with a host, *"),
        ('["https://a.example"]', "upstreams are a mapping from name to URL, not ['https://a.example']"),
    ],
)
@pytest.mark.parametrize("mode", [(), ("--connex-sandbox", "--connex-record")], ids=["recorded", "recording"])
def test_names_and_urls_that_cannot_be_used_are_one_clear_error(project, upstreams, told, mode):
    project.pytester.makeconftest(CONFTEST.partition("    return")[0] + f"    return {upstreams}\n")
    project.test("def test_it(connex_config): pass\n")
    result = project.run(*mode)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([told.replace("[", "[[]")])
    assert "upstreams.py" not in result.stdout.str()


def test_an_upstream_that_is_not_there_is_told_with_those_that_are(beside):
    beside.test("def test_it(connex_proxy): connex_proxy.url('vendor')\n")
    result = beside.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E *ConfigError: there is no upstream 'vendor': there are rest, ws, venue"])
