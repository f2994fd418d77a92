"""A client that goes around the proxy while its test is recorded fails that test, wherever it does so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pytest_connex.sandbox.server import Sandbox

from .conftest import Project, live_at

pytestmark = pytest.mark.usefixtures("wide_terminal")

HEAD = """
import asyncio
import os
import threading
from urllib.parse import urlsplit

import httpx
import pytest
import requests
import websockets
from websockets.sync.client import connect

REST, WS = os.environ["CONNEX_REST_URL"], os.environ["CONNEX_WS_URL"]  # kept from before the run began

def ask():
    try:
        assert requests.get(REST + "/v1/status").status_code == 401
    except OSError:
        pass

def dial():
    with connect(WS) as ws:
        ws.send('{"action": "ping", "id": 7}')
        assert "pong" in ws.recv(timeout=20)

def in_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

def through(connex_config):
    assert requests.get(connex_config.rest_url + "/v1/status").status_code == 401
"""
AROUND = """
@pytest.fixture(scope="module")
def shared(connex_config):
    ask()

@pytest.fixture
def asking(connex_config):
    ask()

@pytest.fixture
def dialling(connex_config):
    dial()

@pytest.fixture
def ending(connex_config):
    yield
    ask()

def test_requests(connex_config):
    through(connex_config)
    ask()

def test_requests_in_a_thread(connex_config):
    in_thread(ask)

def test_requests_in_a_fixture(asking):
    pass

def test_requests_in_a_shared_fixture(shared):
    pass

def test_websockets(connex_config):
    dial()

def test_websockets_in_a_thread(connex_config):
    in_thread(dial)

def test_websockets_in_a_fixture(dialling):
    pass

async def test_websockets_on_the_loop(connex_config):
    async with websockets.connect(WS) as ws:
        await ws.send('{"action": "ping", "id": 7}')
        await ws.recv()

async def test_httpx_on_the_loop(connex_config):
    async with httpx.AsyncClient() as client:
        await client.get(REST + "/v1/status")

def test_by_the_other_name_of_this_machine(connex_config):
    requests.get(REST.replace("127.0.0.1", "localhost") + "/v1/status")

def test_in_the_environment_of_the_proxy(connex_proxy):
    assert os.environ["CONNEX_REST_URL"] == connex_proxy.rest_url
    ask()
"""
FINE = """
def test_through_the_proxy(connex_config):
    through(connex_config)

def test_of_somebody_else():
    ask()
    dial()

def test_of_its_own_sandbox(connex_sandbox):
    assert requests.get(connex_sandbox.rest_url + "/v1/status").status_code == 401
"""
TOLD = "this went around the recording: a dial of *:{}. Give the client the URLs of connex_config, or *"


@pytest.fixture
def gateway(monkeypatch) -> Iterator[Sandbox]:
    """A gateway that a live run finds, on this machine."""
    with Sandbox() as sandbox:
        live_at(monkeypatch, sandbox.rest_url, sandbox.ws_url, sandbox.api_key, sandbox.api_secret)
        yield sandbox


def record(project: Project, *args: str) -> pytest.RunResult:
    return project.run_apart("--connex-live", "--connex-record=rewrite", "-rfE", *args)


def names_in(source: str) -> list[str]:
    return [line.partition("def ")[2].partition("(")[0] for line in source.splitlines() if "def test_" in line]


def test_every_way_around_fails_its_test_and_no_other(project, gateway):
    project.test(HEAD + AROUND + FINE)
    result = record(project)
    result.assert_outcomes(failed=len(names_in(AROUND)), passed=len(names_in(FINE)))
    for name in names_in(AROUND):
        result.stdout.fnmatch_lines([f"FAILED test_it.py::{name} - *CassetteError: {TOLD.format('*')}"])
    written = sorted(path.name for path in (project.path / "cassettes").rglob("*.*"))
    assert written == ["test_through_the_proxy.yaml"]


def test_a_client_that_goes_around_as_its_fixture_ends_is_an_error(project, gateway):
    project.test(HEAD + AROUND.partition("def test_")[0] + "\ndef test_it(ending): pass\n")
    result = record(project)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines([f"ERROR test_it.py::test_it - *CassetteError: {TOLD.format('*')}"])


def test_a_server_that_is_configured_by_another_name_is_known_too(project, gateway, monkeypatch):
    monkeypatch.setenv("CONNEX_REST_URL", gateway.rest_url.replace("127.0.0.1", "localhost"))
    around = f"requests.get({gateway.rest_url!r} + '/v1/status')"
    project.test(f"{HEAD}\ndef test_it(connex_config):\n    through(connex_config)\n    {around}\n")
    record(project).stdout.fnmatch_lines([f"FAILED test_it.py::test_it - *CassetteError: {TOLD.format('*')}"])


def test_what_went_around_gets_its_answer_and_no_advice_to_record(project, gateway):
    project.test(HEAD + "def test_it(connex_config):\n    ask()\n    print('WENT ON')\n")
    result = record(project, "-rA")
    result.stdout.fnmatch_lines(["WENT ON"])
    assert "record it" not in result.stdout.str()


@pytest.mark.parametrize("mode", [("--connex-live",), ("--connex-live", "--connex-verify")], ids=" ".join)
def test_a_run_that_does_not_record_lets_it_pass(project, gateway, mode):
    project.test(HEAD + "def test_it(connex_config):\n    ask()\n    dial()\n")
    project.run_apart(*mode).assert_outcomes(passed=1)


def test_a_second_server_is_not_to_be_gone_around_either(project, gateway):
    with Sandbox() as venue:
        project.pytester.makeconftest(
            f"""
            import pytest

            @pytest.fixture(scope="session")
            def connex_upstreams():
                return {{"venue": {venue.rest_url!r}}}
            """
        )
        ask = f"requests.get({venue.rest_url!r} + '/v1/status')"
        project.test(f"import requests\n\ndef test_it(connex_config):\n    {ask}\n")
        result = record(project)
        told = TOLD.format(venue.rest_url.rpartition(":")[2])
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"*{told}"])
