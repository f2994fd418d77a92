"""Clients that insist on TLS: ``connex_tls`` for a run, ``connex(tls=True)`` for a test, in every mode."""

from __future__ import annotations

import json
import shutil

import pytest

from .conftest import Project

pytest.importorskip("trustme")

CLIENTS = """
import json
import subprocess
import aiohttp
import httpx
import pytest
import requests
import websockets
import websockets.sync.client

PING = json.dumps({"action": "ping", "id": 7})

def test_requests(where, connex_proxy):
    assert where.rest_url.startswith("https://127.0.0.1:")
    with requests.Session() as session:
        assert [session.get(f"{where.rest_url}/v1/status?n={n}").status_code for n in range(3)] == [401] * 3

async def test_httpx(where, connex_proxy):
    assert httpx.get(where.rest_url + "/v1/status").status_code == 401
    async with httpx.AsyncClient() as client:
        assert (await client.get(where.rest_url + "/v1/symbols")).status_code == 401

async def test_websockets(where, connex_proxy):
    assert where.ws_url.startswith("wss://127.0.0.1:")
    async with websockets.connect(where.ws_url) as ws:
        await ws.send(PING)
        assert "pong" in await ws.recv()

async def test_aiohttp(where, connex_proxy):
    context = connex_proxy.certificates.client_context()  # aiohttp reads the environment as it is imported
    async with aiohttp.ClientSession() as session:
        async with session.get(where.rest_url + "/v1/status", ssl=context) as answer:
            assert answer.status == 401
        async with session.ws_connect(where.ws_url, ssl=context) as ws:
            await ws.send_str(PING)
            assert "pong" in (await ws.receive()).data

def test_blocking_websockets(where, connex_proxy):
    with websockets.sync.client.connect(where.ws_url) as ws:
        ws.send(PING)
        assert "pong" in ws.recv(timeout=20)
"""
CURL = """
def test_curl(where, connex_proxy):
    said = subprocess.run(
        ["curl", "-sS", where.rest_url + "/v1/status"], env=connex_proxy.env(), capture_output=True, text=True
    )
    assert "error" in json.loads(said.stdout), said
"""
NODE = """
ASKING = "fetch(process.env.CONNEX_REST_URL + '/v1/status').then(answer => console.log(answer.status))"

def test_node(where, connex_proxy):
    said = subprocess.run(["node", "-e", ASKING], env=connex_proxy.env(), capture_output=True, text=True)
    assert said.stdout == "401\\n", said
"""
BY_INI = """
@pytest.fixture
def where(connex_config):
    return connex_config
"""
BY_MARKER = """
pytestmark = pytest.mark.connex(tls=True)

@pytest.fixture
def where(connex_proxy):
    return connex_proxy
"""
PROGRAMS = "".join(source for name, source in (("curl", CURL), ("node", NODE)) if shutil.which(name))
COUNT = (CLIENTS + PROGRAMS).count("def test_")


@pytest.fixture(params=["ini", "marker"])
def secured(request: pytest.FixtureRequest, project: Project) -> Project:
    """A project whose clients insist on TLS."""
    if request.param == "ini":
        project.ini("connex_tls = true")
    project.test(CLIENTS + PROGRAMS + (BY_INI if request.param == "ini" else BY_MARKER))
    return project


def test_clients_are_recorded_and_played_over_tls(secured):
    secured.record("-W", "error").assert_outcomes(passed=COUNT)
    secured.run("-W", "error").assert_outcomes(passed=COUNT)
    secured.run_distributed("-W", "error").assert_outcomes(passed=COUNT)


def test_a_recording_does_not_tell_that_its_client_insisted(secured):
    secured.record("-k", "requests or test_websockets")
    folder = secured.path / "cassettes" / "test_it"
    assert "https://rest.connex.invalid/v1/status?n=0" in (folder / "test_requests.yaml").read_text()
    lines = (folder / "test_websockets.ws.jsonl").read_text().splitlines()
    assert [json.loads(line)["url"] for line in lines if '"dial"' in line] == ["wss://ws.connex.invalid/"]
    assert "127.0.0.1" not in "".join(path.read_text() for path in folder.iterdir())


def test_the_marker_works_in_a_sandbox_run_too(project):
    project.test(CLIENTS + PROGRAMS + BY_MARKER)
    project.run("--connex-sandbox", "-W", "error").assert_outcomes(passed=COUNT)


WITHOUT = """
import os
import pytest
import requests

@pytest.mark.connex(tls=True)
def test_with(connex_proxy, connex_config):
    assert (connex_proxy.rest_url[:6], connex_config.rest_url[:5]) == ("https:", "http:")
    assert os.environ["CONNEX_REST_URL"] == connex_proxy.rest_url

def test_without(connex_proxy, connex_config):
    assert connex_proxy.rest_url == connex_config.rest_url == os.environ["CONNEX_REST_URL"]
    assert requests.get(connex_proxy.rest_url + "/v1/status").status_code == 401

@pytest.mark.connex(tls=True)
def test_of_a_client_that_does_not_insist(connex_proxy, connex_config):
    assert requests.get(connex_config.rest_url + "/v1/status").status_code == 401
"""


def test_the_marker_counts_for_its_test_alone(project):
    project.test(WITHOUT)
    project.record().assert_outcomes(passed=3)
    project.run().assert_outcomes(passed=3)


def test_a_marker_may_take_it_off(project):
    project.ini("connex_tls = true")
    project.test(
        """
        import pytest

        @pytest.mark.connex(tls=False)
        def test_without(connex_proxy):
            assert connex_proxy.rest_url.startswith("http:")

        def test_with(connex_proxy):
            assert connex_proxy.rest_url.startswith("https:")
        """
    )
    project.run().assert_outcomes(passed=2)


def test_the_environment_is_as_it_was_when_the_run_is_over(project, monkeypatch):
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    project.ini("connex_tls = true")
    project.pytester.makeconftest(
        """
        import os, pathlib

        def pytest_unconfigure():
            pathlib.Path("left").write_text(str(os.environ.get("REQUESTS_CA_BUNDLE")))
        """
    )
    project.test("import os\ndef test_it(connex_config): assert os.path.exists(os.environ['REQUESTS_CA_BUNDLE'])")
    project.run().assert_outcomes(passed=1)
    assert (project.path / "left").read_text() == "None"


def test_without_the_extra_it_says_what_to_install(project):
    project.ini("connex_tls = true")
    project.pytester.makeconftest("import sys\nsys.modules['trustme'] = None\n")
    project.test("def test_it(connex_config): pass\n")
    result = project.run_apart()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["TLS needs the extra tls: pip install 'pytest-connex[[]tls[]]'"])


def test_a_value_of_the_marker_that_is_no_switch_is_refused(project):
    project.test("import pytest\n@pytest.mark.connex(tls='yes')\ndef test_it(connex_proxy): pass\n")
    result = project.run()
    assert result.ret != 0
    (result.stdout if result.ret == 1 else result.stderr).fnmatch_lines(
        ["*test_it.py::test_it: connex(tls='yes'): expected True or False"]
    )
