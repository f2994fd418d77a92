"""A project's own recordings of other hosts, by pytest-recording and VCR.py, in the tests that use Connex."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from .conftest import Project

pytest.importorskip("pytest_recording")

TESTS = """
import os
import pytest
import requests
from websockets.sync.client import connect

WEATHER = os.environ.get("WEATHER", "http://127.0.0.1:1")

@pytest.mark.vcr
def test_it(connex_config):
    assert requests.get(connex_config.rest_url + "/v1/status").status_code == 401
    assert requests.get(WEATHER + "/today").text == "sunny"
    with connect(connex_config.ws_url) as ws:
        ws.send('{"action": "ping", "id": 7}')
        assert "pong" in ws.recv(timeout=20)
    assert requests.get(connex_config.rest_url + "/v1/symbols").status_code == 401

@pytest.mark.vcr
def test_of_somebody_else():
    assert requests.get(WEATHER + "/today").text == "sunny"
"""


class Weather(BaseHTTPRequestHandler):
    """Says what the weather is."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"sunny")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def asked(monkeypatch) -> Iterator[list[str]]:
    """What another host was asked; it is on this machine, and its name leads to another."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Weather) as server:
        server.asked = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, name="weather")
        thread.start()
        monkeypatch.setenv("WEATHER", f"http://127.0.0.1:{server.server_port}")
        yield server.asked  # type: ignore[attr-defined]
        server.shutdown()
        thread.join()


def texts(project: Project) -> dict[str, str]:
    folder = project.path / "cassettes" / "test_it"
    return {path.name: path.read_text() for path in sorted(folder.iterdir())}


@pytest.fixture
def beside(project: Project, asked: list[str]) -> Project:
    """A project whose tests ask another host too; both kinds of recordings are made."""
    project.test(TESTS)
    project.record("--record-mode=once")
    assert asked == ["/today", "/today"]
    asked.clear()
    return project


def test_each_recording_holds_what_is_its_own(beside):
    found = texts(beside)
    ours, theirs = found["test_it.yaml"], found["test_it.vcr.yaml"]
    assert ("/v1/status" in ours, "/today" in ours) == (True, False)
    assert ("/v1/status" in theirs, "/today" in theirs) == (False, True)
    assert "/today" in found["test_of_somebody_else.yaml"]


@pytest.mark.parametrize("options", [(), ("--block-network",), ("--record-mode=none",)], ids=" ".join)
def test_both_replay(beside, asked, options):
    beside.run(*options).assert_outcomes(passed=2)
    assert asked == []


@pytest.mark.parametrize("options", [(), ("--block-network",)], ids=" ".join)
def test_the_sandbox_answers_beside_the_recordings_of_others(beside, asked, options):
    beside.run("--connex-sandbox", *options).assert_outcomes(passed=2)
    assert asked == []


def test_recording_again_leaves_those_of_others_alone(beside, asked):
    before = texts(beside)
    beside.record()
    after = texts(beside)
    assert before.keys() == after.keys()
    same = [name for name in after if before[name] == after[name]]
    assert same == ["test_it.vcr.yaml", "test_of_somebody_else.yaml"]
    assert asked == []


def test_what_is_recorded_nowhere_fails_the_test(beside, asked):
    beside.test(TESTS.replace("/today", "/tomorrow", 1))
    result = beside.run("--block-network", "test_it.py::test_it")
    result.assert_outcomes(failed=1)
    assert asked == []
