"""A forward proxy in the environment is not for what is on this machine: every mode works, and nothing goes there."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator

import pytest

from pytest_connex.sandbox.server import Sandbox

from .conftest import live_at

FORWARD = [
    name for kind in ("HTTP", "HTTPS", "ALL", "WS", "WSS") for name in (f"{kind}_PROXY", f"{kind.lower()}_proxy")
]

CLIENTS = """
import json
import shutil
import subprocess
import urllib.request

import aiohttp
import httpx
import pytest
import requests
import websockets
import websockets.sync.client

PING = '{"action": "ping", "id": 7}'

def test_requests(where):
    assert requests.get(where.rest_url + "/v1/status").status_code == 401

def test_urllib(where):
    with pytest.raises(OSError, match="401"):
        urllib.request.urlopen(where.rest_url + "/v1/status")

def test_httpx(where):
    assert httpx.get(where.rest_url + "/v1/status").status_code == 401

async def test_aiohttp(where):
    async with aiohttp.ClientSession(trust_env=True) as session, session.get(where.rest_url + "/v1/status") as answer:
        assert answer.status == 401

async def test_websockets(where):
    async with websockets.connect(where.ws_url) as ws:
        await ws.send(PING)
        assert "pong" in await ws.recv()

def test_blocking_websockets(where):
    with websockets.sync.client.connect(where.ws_url) as ws:
        ws.send(PING)
        assert "pong" in ws.recv(timeout=20)
"""
CURL = """
def test_curl(where):
    command = ["curl", "-sS", where.rest_url + "/v1/status"]
    said = subprocess.run(command, capture_output=True, text=True)
    assert "error" in json.loads(said.stdout), said
"""
OWN = """
def test_rest(connex_rest):
    assert connex_rest.get("/v1/status").status_code == 200

async def test_rest_async(connex_rest_async):
    assert (await connex_rest_async.get("/v1/status")).status_code == 200

async def test_ws(connex_ws):
    await connex_ws.ping(1)

async def test_connect(connex_connect, connex_config):
    async with connex_connect(connex_config.ws_url) as ws:
        await ws.send(PING)
        assert "pong" in await ws.recv()

def test_connect_sync(connex_connect_sync, connex_config):
    with connex_connect_sync(connex_config.ws_url) as ws:
        ws.send(PING)
        assert "pong" in ws.recv(timeout=20)
"""
SOURCE = CLIENTS + (CURL if shutil.which("curl") else "")


def source(fixture: str) -> str:
    return f"{SOURCE}\n@pytest.fixture\ndef where({fixture}):\n    return {fixture}\n"


def count(text: str) -> int:
    return text.count("def test_")


@pytest.fixture(autouse=True)
def nowhere(monkeypatch) -> Iterator[None]:
    """Have the environment name a forward proxy whose port nothing listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        for name in FORWARD:
            monkeypatch.setenv(name, f"http://127.0.0.1:{taken.getsockname()[1]}")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        yield


@pytest.mark.parametrize("fixture", ["connex_config", "connex_proxy"])
def test_what_is_recorded_and_played_does_not_go_there(project, fixture):
    project.test(source(fixture) + OWN)
    project.record().assert_outcomes(passed=count(SOURCE + OWN))
    project.run().assert_outcomes(passed=count(SOURCE + OWN))


@pytest.mark.parametrize("fixture", ["connex_config", "connex_proxy"])
def test_what_is_for_the_sandbox_of_a_run_does_not_go_there(project, fixture):
    project.test(source(fixture) + OWN)
    project.run("--connex-sandbox").assert_outcomes(passed=count(SOURCE + OWN))


@pytest.mark.parametrize("mode", [(), ("--connex-sandbox",)], ids=["recorded", "sandbox"])
def test_what_is_for_the_sandbox_of_a_test_does_not_go_there(project, mode):
    project.test(source("connex_sandbox"))
    project.run(*mode).assert_outcomes(passed=count(SOURCE))


def test_the_proxy_dials_the_server_of_a_live_run_itself(project, monkeypatch):
    project.test(source("connex_proxy"))
    with Sandbox() as sandbox:
        live_at(monkeypatch, sandbox.rest_url, sandbox.ws_url, sandbox.api_key, sandbox.api_secret)
        project.run("--connex-live").assert_outcomes(passed=count(SOURCE))
        project.run("--connex-live", "--connex-record").assert_outcomes(passed=count(SOURCE))
    project.run().assert_outcomes(passed=count(SOURCE))


@pytest.mark.parametrize("mode", [(), ("--connex-sandbox",)], ids=["recorded", "sandbox"])
def test_other_hosts_go_there_as_before(project, monkeypatch, mode):
    monkeypatch.setenv("NO_PROXY", "intranet.example")
    project.test(
        """
        import os
        from urllib.request import getproxies, proxy_bypass

        def test_it(connex_config):
            assert getproxies()["https"] == os.environ["HTTPS_PROXY"]
            assert proxy_bypass("127.0.0.1:80") and proxy_bypass("intranet.example") and proxy_bypass("localhost")
            assert not proxy_bypass("gateway.example")
        """
    )
    project.run(*mode).assert_outcomes(passed=1)
