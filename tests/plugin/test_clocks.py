"""Frozen clocks: what docs/clocks.md says of each, tried in each mode."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from .conftest import Project

CLIENTS = """
import datetime, threading, time, pytest, requests, websockets

PING, MOMENT = '{"action": "ping", "id": 7}', "2020-01-01T00:00:00Z"
KEYS = lambda config: {"X-CONNEX-API-KEY": config.api_key, "X-CONNEX-API-SECRET": config.api_secret}

def is_frozen():
    return datetime.datetime.now(datetime.timezone.utc).year == 2020

def test_rest(CLOCK connex_rest):
    ENTER
    assert is_frozen() and connex_rest.get("/v1/status").json()["status"] == "healthy"

def test_own_rest(CLOCK connex_config):
    ENTER
    assert requests.get(connex_config.rest_url + "/v1/symbols", headers=KEYS(connex_config)).status_code == 200

async def test_rest_async(CLOCK connex_rest_async):
    ENTER
    assert (await connex_rest_async.get("/v1/status")).json()["status"] == "healthy"

async def test_opened_before_the_test(CLOCK connex_ws):
    ENTER
    await connex_ws.subscribe("ETH/USDT", depth=5)
    assert is_frozen() and [(await connex_ws.recv()).sequence for _ in range(3)]

async def test_opened_in_the_test(CLOCK connex_ws_connect):
    ENTER
    async with connex_ws_connect() as ws:  # authenticates, with a nonce of the frozen time
        await ws.subscribe("ETH/USDT", depth=5)
        assert [(await ws.recv()).sequence for _ in range(3)]

async def test_opened_in_real_time_again(connex_ws):
    assert not is_frozen() and (await connex_ws.ping(1)).id == 1

def test_blocking(CLOCK connex_connect_sync, connex_config):
    ENTER
    with connex_connect_sync(connex_config.ws_url) as ws:
        ws.send(PING)
        assert "pong" in ws.recv(timeout=5)

def test_proxy(CLOCK connex_proxy, connex_config):
    ENTER
    assert requests.get(connex_proxy.rest_url + "/v1/symbols", headers=KEYS(connex_config)).status_code == 200

async def test_proxy_websocket(CLOCK connex_proxy):
    ENTER
    async with websockets.connect(connex_proxy.ws_url) as ws:
        await ws.send(PING)
        assert "pong" in await ws.recv()
"""

FREEZEGUN = "with freezegun.freeze_time(MOMENT{}) as frozen:\n        yield frozen"
TIME_MACHINE = "with time_machine.travel(MOMENT, tick={}) as travelled:\n        yield travelled"

CLOCKS = {
    "freezegun": ("freezegun", FREEZEGUN.format(""), ""),
    "freezegun-ticking": ("freezegun", FREEZEGUN.format(", tick=True"), ""),
    "freezegun-real-asyncio": ("freezegun", FREEZEGUN.format(", real_asyncio=True"), ""),
    "freezegun-in-the-test": (
        "freezegun",
        "frozen = freezegun.freeze_time(MOMENT)\n    yield frozen\n    frozen.stop()",
        "frozen_clock.start()",
    ),
    "pytest-freezer": ("pytest_freezer", "request.getfixturevalue('freezer').move_to(MOMENT)\n    yield", ""),
    "time-machine": ("time_machine", TIME_MACHINE.format(False), ""),
    "time-machine-ticking": ("time_machine", TIME_MACHINE.format(True), ""),
    "time-machine-fixture": (
        "time_machine",
        "request.getfixturevalue('time_machine').move_to(MOMENT, tick=False)\n    yield",
        "",
    ),
}


def clients(name: str, source: str = CLIENTS) -> str:
    """The tests of every client, on a clock that is frozen in their first fixture, or as they begin."""
    module, freeze, enter = CLOCKS[name]
    pytest.importorskip(module)
    fixture = f"""
import {module}

@pytest.fixture
def frozen_clock(request):
    {freeze}
"""
    head, _, tests = source.partition("def test_")
    return (
        head + fixture + "\ndef test_" + tests.replace("CLOCK ", "frozen_clock, ").replace("ENTER", enter or "pass")
    )


@pytest.mark.parametrize("name", CLOCKS)
def test_every_client_works_on_a_frozen_clock(project, name):
    project.test(clients(name))
    project.run("--connex-sandbox", "--connex-record").assert_outcomes(passed=9)
    project.run().assert_outcomes(passed=9)


def test_the_example_of_the_documentation_works(project):
    text = (Path(__file__).parents[2] / "docs" / "clocks.md").read_text("utf-8")
    [example] = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    project.test(example)
    project.record().assert_outcomes(passed=1)
    project.run().assert_outcomes(passed=1)
    for mode in ([], ["--connex-sandbox"]):
        project.run("--connex-clock=virtual", *mode).assert_outcomes(passed=1)


FROZEN_WEBSOCKET = """
import freezegun, pytest

async def test_it(connex_config, connex_connect):
    async with connex_connect(connex_config.ws_url) as ws:
        with freezegun.freeze_time("2020-01-01"):
            await ws.send('{"action": "ping", "id": 7}')
            assert "pong" in await ws.recv()
"""


def events(project: Project) -> list[dict[str, object]]:
    path = project.path / "cassettes" / "test_it" / "test_it.ws.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()[1:-1]]


def test_a_recording_keeps_real_intervals_while_the_clock_is_frozen(project):
    project.test(FROZEN_WEBSOCKET)
    project.record()
    times = [event["at"] for event in events(project)]
    assert times == sorted(times)
    assert times[-1] < 60
    project.run("--connex-pace=recorded").assert_outcomes(passed=1)


def test_a_wait_for_more_than_is_recorded_ends_on_a_frozen_clock(project):
    project.test(FROZEN_WEBSOCKET)
    project.record()
    project.test(FROZEN_WEBSOCKET + "            await ws.recv()\n")
    result = project.run("--connex-replay-timeout=0.01")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*CassetteExhausted: *the client waits on connection 1*"])


LOOPTIME = """
def pytest_addoption(parser):
    parser.addoption("--looptime", dest="looptime", action="store_const", const=True)
    parser.addoption("--no-looptime", dest="looptime", action="store_const", const=False)

def pytest_configure(config):
    config.addinivalue_line("markers", "looptime: another clock")
"""
OF_LOOPTIME = (
    "*ERROR: test_it.py::test_it: the clock of looptime does not wait for connections: drop its marker looptime, or "
    'say looptime(False), and use @pytest.mark.connex(clock="virtual")'
)


@pytest.mark.parametrize("fixture", ["connex_ws", "connex_rest_async", "connex_proxy"])
@pytest.mark.parametrize(
    ("marker", "option", "refused"),
    [
        ("", "", False),
        ("@pytest.mark.looptime", "", True),
        ("", "--looptime", True),
        ("@pytest.mark.looptime(False)", "--looptime", False),
        ("@pytest.mark.looptime", "--no-looptime", False),
    ],
)
def test_connections_on_the_clock_of_looptime_are_refused(project, fixture, marker, option, refused):
    project.pytester.makeconftest(LOOPTIME)
    project.test(f"import pytest\n\n{marker}\nasync def test_it({fixture}): pass\n")
    result = project.run("--connex-sandbox", *filter(None, [option]))
    assert (result.ret == pytest.ExitCode.USAGE_ERROR) == refused
    if refused:
        result.stderr.fnmatch_lines([OF_LOOPTIME])


def test_other_tests_may_have_the_clock_of_looptime(project):
    project.pytester.makeconftest(LOOPTIME)
    project.test("async def test_a(connex_config): pass\n\ndef test_b(connex_proxy): pass\n")
    project.run("--connex-sandbox", "--looptime").assert_outcomes(passed=2)
