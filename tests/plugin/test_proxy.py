"""``connex_proxy`` as a fixture: its environment, its guards, its report."""

from __future__ import annotations

import socket

import pytest

from .conftest import Project, live_at

STATUS = """
import os, requests

def headers():
    return {"X-CONNEX-API-KEY": os.environ["CONNEX_API_KEY"], "X-CONNEX-API-SECRET": os.environ["CONNEX_API_SECRET"]}

def status():
    return requests.get(os.environ["CONNEX_REST_URL"] + "/v1/status", headers=headers())

def test_rest(connex_proxy):
    assert status().json()["status"] == "healthy"
"""

BLOCKING = (
    STATUS
    + """
import asyncio
from websockets.sync.client import connect

def converse():
    with connect(os.environ["CONNEX_WS_URL"]) as ws:
        ws.send('{"action": "ping", "id": 7}')
        return ws.recv()

def test_ws(connex_proxy):
    assert "pong" in converse()

async def test_async(connex_proxy):
    assert "pong" in await asyncio.to_thread(converse)
"""
)


@pytest.fixture
def clients(project: Project) -> Project:
    project.test_recorded(BLOCKING)
    return project


LOOPBACK_ADMITTED = [
    ("--block-network",),
    ("--allow-hosts=127.0.0.1",),
    ("--disable-socket", "--allow-hosts=127.0.0.1"),
]


@pytest.mark.parametrize("options", LOOPBACK_ADMITTED, ids=" ".join)
@pytest.mark.parametrize("mode", [(), ("--connex-sandbox",)], ids=["recorded", "sandbox"])
def test_it_works_where_the_network_is_blocked_and_loopback_is_not(clients, options, mode):
    pytest.importorskip("pytest_socket")
    result = clients.run_apart(*options, *mode, beside=["socket"])
    result.assert_outcomes(passed=3)


def test_pytest_socket_alone_forbids_it(clients):
    pytest.importorskip("pytest_socket")
    result = clients.run_apart("--disable-socket", "-k", "test_rest", "--tb=line", beside=["socket"])
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*SocketBlockedError*"])


@pytest.mark.parametrize("arguments", ["", 'allowed_hosts=["192.0.2.7"]'])
def test_a_block_network_marker_of_the_test_lets_it_pass_and_nothing_else(project, arguments):
    project.test(
        f"""
        import pytest, requests, socket
        pytestmark = pytest.mark.block_network({arguments})

        def test_rest(connex_proxy):
            requests.get(connex_proxy.rest_url + "/v1/symbols")

        def test_other(connex_proxy):
            with socket.socket() as raw:
                raw.connect(("192.0.2.1", 9))
        """
    )
    result = project.run("--connex-sandbox")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*Network is disabled*"])


def test_the_environment_leads_to_it_and_is_restored(project, monkeypatch):
    monkeypatch.setenv("CONNEX_REST_URL", "https://mine.example")
    monkeypatch.setenv("CONNEX_API_KEY", "the-key-of-the-shell")
    project.test(
        """
        import os, subprocess, sys
        NAMES = ("CONNEX_REST_URL", "CONNEX_WS_URL", "CONNEX_API_KEY", "CONNEX_API_SECRET")

        def seen():
            return [os.environ.get(name) for name in NAMES]

        def test_during(connex_proxy):
            url = connex_proxy.rest_url
            assert url.startswith("http://127.0.0.1:")
            assert seen() == [url, connex_proxy.ws_url, "connex-recorded-key", "connex-recorded-secret"]
            show = "import os; print(*(os.environ[name] for name in %r))" % (NAMES,)
            command = [sys.executable, "-c", show]
            shown = subprocess.run(command, env=connex_proxy.env(), capture_output=True, text=True)
            assert shown.stdout.split() == seen()
            assert "127.0.0.1" in os.environ["NO_PROXY"]

        def test_after():
            assert seen() == ["https://mine.example", None, "the-key-of-the-shell", None]
        """
    )
    project.run().assert_outcomes(passed=2)


def test_clients_on_a_virtual_clock_use_it(project):
    project.test(
        """
        import asyncio, aiohttp, pytest, requests, websockets

        pytestmark = pytest.mark.connex(clock="virtual")
        KEYS = lambda config: {"X-CONNEX-API-KEY": config.api_key, "X-CONNEX-API-SECRET": config.api_secret}

        async def test_websockets(connex_proxy):
            async with asyncio.timeout(60), websockets.connect(connex_proxy.ws_url) as ws:
                await ws.send('{"action": "ping", "id": 7}')
                assert "pong" in await ws.recv()
            await asyncio.sleep(10**6)

        async def test_aiohttp(connex_proxy, connex_config):
            async with asyncio.timeout(60), aiohttp.ClientSession(headers=KEYS(connex_config)) as session:
                async with session.get(connex_proxy.rest_url + "/v1/symbols") as response:
                    assert response.status == 200
            await asyncio.sleep(10**6)

        @pytest.mark.parametrize("thread", [True, False])
        async def test_requests(connex_proxy, connex_config, thread):
            asked = connex_proxy.rest_url + "/v1/symbols", None
            if thread:
                answer = await asyncio.to_thread(requests.get, *asked, headers=KEYS(connex_config))
            else:
                answer = requests.get(*asked, headers=KEYS(connex_config))
            assert answer.status_code == 200
            await asyncio.sleep(10**6)
        """
    )
    project.record().assert_outcomes(passed=4)
    project.run().assert_outcomes(passed=4)


def test_a_live_run_needs_the_urls(project, monkeypatch):
    monkeypatch.setenv("CONNEX_API_KEY", "key-of-somebody")
    monkeypatch.setenv("CONNEX_API_SECRET", "secret-of-somebody")
    project.test("def test_it(connex_proxy): pass")
    result = project.run("--connex-live")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*CONNEX_REST_URL, CONNEX_WS_URL not set*"])


def test_a_failure_shows_what_went_wrong_on_purpose(project):
    project.test(
        STATUS.replace("def test_rest(connex_proxy):", "def test_rest(connex_proxy, connex_sandbox):").replace(
            "    assert status()",
            "    connex_proxy.faults.answer(503)\n"
            "    connex_proxy.faults.drop_after(1, times=2)\n"
            "    connex_sandbox.faults.answer(429)\n"
            "    assert status().status_code == 503\n"
            "    assert status()",
        )
    )
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*faults of connex_sandbox*",
            "GET /v1/status: answered with 429",
            "*faults of connex_proxy*",
            "GET /v1/status: answered with 503",
            "2 more were scripted and have not happened",
        ]
    )


LAST = """
import socket
from websockets.sync.client import connect

def test_ws(connex_proxy):
    ws = connect(connex_proxy.ws_url)
    ws.send('{"action": "ping", "id": 7}')
    ws.recv()
    ws.send('{"action": "unsubscribe", "channel": "orderbook", "symbol": "ETH/USDT"}')
    ws.socket.shutdown(socket.SHUT_RDWR)  # without a close frame; its threads see it too
"""


COUNTED = """
import socket

import pytest
import requests

@pytest.mark.parametrize("number", range(3))
def test_it(connex_proxy, number):
    assert connex_proxy.requests == 0
    for _ in range(number):
        requests.get(f"{connex_proxy.rest_url}/v1/status")
    assert connex_proxy.requests == number
"""


def test_each_test_has_a_count_of_its_own(project):
    project.test(COUNTED)
    project.record()
    project.run().assert_outcomes(passed=3)
    project.run("--connex-sandbox").assert_outcomes(passed=3)


def test_a_failure_says_why_a_client_got_no_answer(project, monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    live_at(monkeypatch, f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}", "a-key-of-mine", "a-secret-of-mine")
    project.test("""
        import requests

        def test_it(connex_config):
            requests.get(f"{connex_config.rest_url}/v1/status")

        def test_next(connex_config):
            assert False
    """)
    result = project.run("--connex-live", "--connex-record=rewrite")
    note = "the upstream of the connex proxy cannot be reached: Connection refused"
    assert result.stdout.str().count(note) == 1
    result.stdout.fnmatch_lines(["*- connex proxy -*", note])


def test_what_a_client_sends_last_is_recorded(project):
    """The last message may still be underway when the test ends; it is recorded, and missed when it is not sent."""
    project.test(LAST)
    project.record()
    assert project.ws.read_text().count('"event":"sent"') == 2
    for _ in range(3):
        project.run().assert_outcomes(passed=1)
    (project.path / "test_it.py").write_text("".join(line for line in LAST.splitlines(True) if "unsub" not in line))
    result = project.run()
    result.stdout.fnmatch_lines(["*CassetteUnplayed*", "*never sent*unsubscribe*"])


def test_strict_counts_what_was_delivered(project):
    source = """
        import pytest
        from websockets.sync.client import connect

        @pytest.mark.connex(strict=True)
        def test_ws(connex_proxy):
            with connect(connex_proxy.ws_url) as ws:
                ws.send('{"action": "ping", "id": 7}')
                ws.recv()
        """
    project.test(source)
    project.record()
    project.run().assert_outcomes(passed=1)
    lines = project.ws.read_text().splitlines(keepends=True)
    received = next(line for line in lines if '"event":"received"' in line)
    lines.insert(lines.index(received), received)
    project.ws.write_text("".join(lines).replace('"events":5', '"events":6'))
    project.run().assert_outcomes(passed=1)


def test_many_tests_in_two_workers(clients):
    pytest.importorskip("xdist")
    clients.run_distributed().assert_outcomes(passed=3)


SCRIPTED = """
import os
import httpx
import requests

def test_rest(connex_respx, connex_config, connex_proxy):
    connex_respx.get("/v1/scripted").respond(json={"status": "scripted"})
    assert httpx.get(connex_config.rest_url + "/v1/scripted").json() == {"status": "scripted"}
    assert requests.get(os.environ["CONNEX_REST_URL"] + "/v1/asked").status_code == 401
"""


def test_what_respx_answers_stays_within_the_process_and_other_clients_are_recorded(project):
    pytest.importorskip("respx")
    project.test(SCRIPTED)
    project.record()
    assert "/v1/asked" in project.http.read_text()
    assert "/v1/scripted" not in project.http.read_text()
    project.run().assert_outcomes(passed=1)
