"""One recording for requests of the test's own process and for those of any other client."""

from __future__ import annotations

import asyncio

import pytest
import yaml

from ..unit.upstream import KEY, SECRET, Asked, Upstream, ok
from .conftest import live_at

FOREIGN = """
import contextlib
import http.client
import os
from urllib.parse import urlsplit

def foreign(target, method="GET", body=None):
    base = urlsplit(os.environ["CONNEX_REST_URL"])
    connection = http.client.HTTPConnection(base.hostname, base.port)
    keys = {
        "X-CONNEX-API-KEY": os.environ["CONNEX_API_KEY"],
        "X-CONNEX-API-SECRET": os.environ["CONNEX_API_SECRET"],
    }
    with contextlib.closing(connection):
        connection.request(method, base.path + target, body, keys)
        with connection.getresponse() as response:
            return response.status, response.read().decode()

def test_rest(connex_rest, connex_proxy):
"""
MIXED = f"""{FOREIGN}
    own = connex_rest.status()
    status, text = foreign("/v1/symbols")
    assert (own["status"], status) == ("healthy", 200)
    assert "ETH/USDT" in text
"""


def mixed(more: str = "pass") -> str:
    return f"{MIXED}    {more.strip()}\n"


@pytest.fixture
def both(project):
    """A project whose one test asks for the status itself, and for the symbols through the proxy."""
    project.test_recorded(mixed())
    return project


def uris(project) -> list[str]:
    interactions = yaml.safe_load(project.http.read_text())["interactions"]
    return [item["request"]["uri"].removeprefix("https://rest.connex.invalid") for item in interactions]


def test_one_test_records_and_replays_requests_of_both_kinds(both):
    assert uris(both) == ["/v1/status", "/v1/symbols"]
    assert both.run().ret == 0


def test_each_kind_plays_what_the_other_recorded(both):
    swapped = mixed().replace("connex_rest.status()", '__import__("json").loads(foreign("/v1/status")[1])')
    swapped = swapped.replace('foreign("/v1/symbols")', '200, connex_rest.get("/v1/symbols").text')
    both.test(swapped)
    result = both.run()
    result.assert_outcomes(passed=1)


def test_interactions_of_both_kinds_that_nobody_asked_for_are_named(both):
    both.test("def test_rest(connex_rest, connex_proxy): pass")
    result = both.run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "*CassetteUnplayed: *test_rest.yaml: the test left a part of its recording unused:",
            "*  GET https://rest.connex.invalid/v1/status",
            "*  GET https://rest.connex.invalid/v1/symbols",
        ]
    )


@pytest.mark.parametrize("ask", ["foreign('/v1/other')", "connex_rest.get('/v1/other')"])
def test_a_mismatch_of_either_kind_names_what_both_recorded(both, ask):
    both.test(mixed(ask))
    result = both.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*CassetteMismatch: *test_rest.yaml: GET https://rest.connex.invalid/v1/other is not recorded*",
            "*recorded are:",
            "*  GET https://rest.connex.invalid/v1/status (played)",
            "*  GET https://rest.connex.invalid/v1/symbols (played)",
        ]
    )


def test_what_one_kind_played_the_other_cannot_play_again(both):
    both.test(mixed("assert foreign('/v1/status')[0] == 501"))
    result = both.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*CassetteMismatch: *GET https://rest.connex.invalid/v1/status is not recorded, or*"]
    )


def test_a_client_that_swallows_its_501_fails_the_test_and_hears_the_verdict_again(both):
    both.test(
        mixed(
            """
    first = foreign("/v1/other?token=abcdef")
    later = foreign("/v1/status")
    import websockets.sync.client, websockets.exceptions
    try:
        websockets.sync.client.connect(os.environ["CONNEX_WS_URL"])
    except websockets.exceptions.InvalidStatus as exc:
        dialled = exc.response.status_code, exc.response.body.decode()
    print("HEARD", first == later == dialled, first[0], first[1])
"""
        )
    )
    result = both.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*CassetteMismatch: *test_rest.yaml: GET */v1/other?token=connex-recorded-token is not recorded*",
            "HEARD True 501 *test_rest.yaml: GET */v1/other?token=connex-recorded-token is not recorded*",
            "recorded are:",
            "*pytest --connex-sandbox --connex-record=rewrite test_it.py::test_rest*",
        ]
    )


def test_without_a_recording_the_test_fails_with_the_command_that_makes_one(project):
    project.test(mixed().replace("connex_rest.status()", '{"status": foreign("/v1/status")[1]}'))
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*CassetteMissing: *test_rest.yaml: nothing is recorded for GET https://rest.connex.invalid/v1/status",
            "*pytest --connex-sandbox --connex-record=rewrite test_it.py::test_rest*",
        ]
    )


def test_a_test_passes_without_recording_anything(project):
    project.test(mixed())
    result = project.run("--connex-sandbox")
    result.assert_outcomes(passed=1)
    assert not project.http.exists()


BROKEN_OFF = f"""{FOREIGN}
    with pytest.raises(http.client.IncompleteRead) as caught:
        foreign("/v1/status")
    assert caught.value.partial == b"abc"
""".replace("import http.client", "import http.client\nimport pytest")


def test_a_server_that_breaks_off_is_recorded_and_does_so_again(project, monkeypatch):
    async def break_off(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        writer.close()

    project.test(BROKEN_OFF)
    with Upstream(break_off) as upstream, monkeypatch.context() as patched:
        live_at(patched, upstream.url, "ws://127.0.0.1:1", KEY, SECRET)
        project.run("--connex-live", "--connex-record=rewrite").assert_outcomes(passed=1)
    assert len(upstream.asked) == 1
    [interaction] = yaml.safe_load(project.http.read_text())["interactions"]
    assert interaction["connex"]["ended"] == "cut"
    project.run().assert_outcomes(passed=1)


def test_secrets_of_foreign_clients_are_neither_written_nor_shown(project, monkeypatch):
    async def echo(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(ok(asked.target.encode() + asked.body, b"X-Echo: " + SECRET.encode()))

    project.test(
        f"{FOREIGN}    status, text = foreign({f'/v1/echo?key={KEY}'!r}, 'POST', {SECRET!r})\n    print(text)\n"
    )
    with Upstream(echo) as upstream:
        live_at(monkeypatch, upstream.url, "ws://127.0.0.1:1", KEY, SECRET)
        result = project.run("--connex-live", "--connex-record=rewrite", "-rP", "--log-level=DEBUG")
    result.assert_outcomes(passed=1)
    written = project.http.read_text()
    for secret in (KEY, SECRET):
        assert secret not in written
        assert secret not in result.stdout.str()
    [interaction] = yaml.safe_load(written)["interactions"]
    assert interaction["request"]["uri"] == "https://rest.connex.invalid/v1/echo?key=connex-recorded-key"
    assert interaction["request"]["headers"]["X-CONNEX-API-SECRET"] == ["connex-recorded-secret"]
    assert interaction["response"]["body"]["string"] == "/v1/echo?key=connex-recorded-keyconnex-recorded-secret"
    assert interaction["response"]["headers"]["X-Echo"] == ["connex-recorded-secret"]
