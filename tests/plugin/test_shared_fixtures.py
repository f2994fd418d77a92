"""Fixtures of wider scopes that ask HTTP and dial a WebSocket: recorded once, played in any order, by any worker."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..unit.upstream import Upstream, ok, says
from .conftest import Project, live_at

CLIENT = """
import json
import pytest
import requests
from websockets.sync.client import connect


class Client:
    def __init__(self, config, ws, name):
        self.url, self.ws, self.name = config.rest_url, ws, name

    def say(self, text):
        self.ws.send(json.dumps({"action": "ping", "id": 1, "note": f"{self.name} {text}"}))
        while "heartbeat" in (answer := self.ws.recv(timeout=20)):
            pass
        assert "pong" in answer

    def ask(self, text):
        assert requests.get(f"{self.url}/v1/status?of={self.name}&text={text}").status_code == 401


def shared(scope):
    @pytest.fixture(scope=scope)
    def client(connex_config):
        with connect(connex_config.ws_url) as ws:
            client = Client(connex_config, ws, scope)
            client.say("hello")
            client.ask("hello")
            yield client
            client.say("bye")
            client.ask("bye")

    return client
"""

CONFTEST = f"""{CLIENT}
of_package, of_session = shared("package"), shared("session")
"""

TESTS = """
from conftest import shared
import pytest

of_class, of_module = shared("class"), shared("module")

class TestA:
    @pytest.mark.parametrize("number", range(3))
    def test_it(self, of_class, of_module, of_package, of_session, number):
        for client in (of_class, of_module, of_package, of_session):
            client.say(number)
            client.ask(number)

class TestB:
    def test_it(self, of_class, of_session):
        of_session.ask("b")
        of_class.say("b")

def test_without_a_word(of_module, of_package):
    pass

def test_plain(connex_config, of_module):
    of_module.say("plain")
"""


def files(project: Project) -> list[str]:
    folder = project.path / "cassettes"
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*@*"))


@pytest.fixture
def scoped(project: Project) -> Project:
    """A project whose fixtures of every scope are recorded."""
    project.pytester.makeconftest(CONFTEST)
    project.test_recorded(TESTS)
    return project


def test_each_fixture_has_a_recording_of_its_own(scoped):
    assert files(scoped) == [
        "@of_package.ws.jsonl",
        "@of_package.yaml",
        "@of_session.ws.jsonl",
        "@of_session.yaml",
        "test_it/@of_module.ws.jsonl",
        "test_it/@of_module.yaml",
        "test_it/TestA.@of_class.ws.jsonl",
        "test_it/TestA.@of_class.yaml",
        "test_it/TestB.@of_class.ws.jsonl",
        "test_it/TestB.@of_class.yaml",
    ]


def test_what_a_fixture_asks_is_not_in_the_recording_of_a_test(scoped):
    folder = scoped.path / "cassettes"
    own = {path.name: path.read_text() for path in folder.rglob("*.*") if "@" not in path.name}
    assert [name for name, text in own.items() if "hello" in text or "bye" in text] == []
    for path in folder.rglob("*@*"):
        text = path.read_text()
        assert ("hello" in text, "bye" in text, "plain" in text) == (True, True, False)


SHUFFLE = """
import random

@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    random.Random({seed}).shuffle(items)
"""


@pytest.mark.parametrize("seed", range(4))
def test_they_replay_in_any_order(scoped, seed):
    (scoped.path / "conftest.py").write_text(CONFTEST + SHUFFLE.format(seed=seed))
    scoped.run().assert_outcomes(passed=6)


def test_they_replay_in_several_workers_and_alone(scoped):
    pytest.importorskip("xdist")
    scoped.run_distributed().assert_outcomes(passed=6)
    for only in ("TestB", "plain", "test_it[2]"):
        result = scoped.run("-k", only)
        assert (result.ret, result.parseoutcomes()["passed"]) == (0, 1)


def test_they_are_recorded_by_several_workers(project):
    pytest.importorskip("xdist")
    project.pytester.makeconftest(CONFTEST)
    project.test(TESTS)
    project.run_distributed("--connex-sandbox", "--connex-record").assert_outcomes(passed=6)
    project.run().assert_outcomes(passed=6)


def test_a_fixture_that_asks_for_something_else_fails_every_test_that_needs_it(scoped):
    (scoped.path / "conftest.py").write_text(CONFTEST.replace('client.ask("hello")', 'client.ask("hallo")'))
    result = scoped.run("-k", "plain or without", "-rf")
    result.assert_outcomes(failed=2, deselected=4)
    result.stdout.fnmatch_lines(
        [
            "*CassetteMismatch: *@of_module.yaml: GET https://rest.connex.invalid/v1/status[?]of=module&text=hallo "
            "is not recorded*",
            "*record it: pytest --connex-sandbox --connex-record=rewrite test_it.py::*",
        ]
    )


def test_a_fixture_that_sends_something_else_as_it_ends_is_told(scoped):
    (scoped.path / "conftest.py").write_text(CONFTEST.replace('client.say("bye")', 'client.say("farewell")'))
    result = scoped.run("-k", "plain")
    result.assert_outcomes(passed=1, errors=1, deselected=5)
    result.stdout.fnmatch_lines(["*CassetteMismatch: *@of_module.ws.jsonl:*the client sent another message*"])


def test_a_part_that_a_fixture_leaves_unused_is_told(scoped):
    (scoped.path / "conftest.py").write_text(CONFTEST.replace('client.ask("bye")', "pass"))
    result = scoped.run("-k", "plain")
    result.assert_outcomes(passed=1, errors=1, deselected=5)
    result.stdout.fnmatch_lines(
        [
            "*CassetteUnplayed: *@of_module.yaml: the test left a part*",
            "*  GET https://rest.connex.invalid/v1/status[?]of=module&text=bye",
        ]
    )


def test_a_message_that_a_fixture_does_not_send_is_told(scoped):
    (scoped.path / "conftest.py").write_text(CONFTEST.replace('client.say("bye")', "pass"))
    result = scoped.run("-k", "plain", "--connex-replay-timeout=0.2")
    result.assert_outcomes(passed=1, errors=1, deselected=5)
    result.stdout.fnmatch_lines(
        ["*CassetteExhausted: the client waits for the answer to GET *of=module&text=bye, which comes after this: *"]
    )


def test_a_test_that_sends_something_else_on_the_connection_of_a_fixture_is_told(scoped):
    scoped.test(TESTS.replace('of_module.say("plain")', 'of_module.say("fancy")'))
    result = scoped.run("-k", "plain or without", "-rf")
    assert result.parseoutcomes()["failed"] == 1
    result.stdout.fnmatch_lines(["*CassetteMismatch: *test_plain.ws.jsonl:*", "*module plain*module fancy*"])


def test_a_fixture_without_a_recording_says_how_to_make_it(scoped):
    for name in ("@of_module.yaml", "@of_module.ws.jsonl"):
        (scoped.path / "cassettes" / "test_it" / name).unlink()
    result = scoped.run("-k", "plain")
    result.assert_outcomes(failed=1, deselected=5)
    result.stdout.fnmatch_lines(
        [
            "*CassetteMissing: *@of_module.ws.jsonl: no WebSocket is recorded *",
            "*record it: pytest --connex-sandbox --connex-record=rewrite test_it.py::test_plain*",
        ]
    )


def everything(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*@*")}


def test_a_failing_test_keeps_the_recording_of_its_fixtures_unwritten(scoped):
    before = everything(scoped.path / "cassettes")
    scoped.test(TESTS + "    assert False\n")
    scoped.run("--connex-sandbox", "--connex-record=rewrite", "-k", "plain").assert_outcomes(failed=1, deselected=5)
    assert everything(scoped.path / "cassettes") == before
    scoped.test(TESTS)
    scoped.run("--connex-sandbox", "--connex-record=rewrite", "-k", "plain").assert_outcomes(passed=1, deselected=5)
    assert everything(scoped.path / "cassettes") != before


NESTED = f"""{CLIENT}
of_session = shared("session")

@pytest.fixture(scope="module")
def market(of_session):
    of_session.say("open")
    of_session.ask("open")
    yield of_session
    of_session.say("shut")

def test_a(of_session):
    of_session.say("a")

def test_b(market):
    market.say("b")

def test_c(market, of_session):
    market.ask("c")
    of_session.say("c")

def test_d(request, connex_config):
    request.getfixturevalue("market").say("d")

def test_e(connex_config):
    pass
"""


def test_a_fixture_that_uses_the_connection_of_another_one_has_what_it_sends(project):
    def play(seed: int, *args: str) -> pytest.RunResult:
        (project.path / "conftest.py").write_text("import pytest\n" + SHUFFLE.format(seed=seed))
        return project.run(*args)

    project.test(NESTED)
    play(0, "--connex-sandbox", "--connex-record").assert_outcomes(passed=5)
    for seed in (1, 2, 3):
        play(seed).assert_outcomes(passed=5)
    for only in "abcd":
        play(0, "-k", f"test_{only}").assert_outcomes(passed=1, deselected=4)
    project.test(NESTED.replace('of_session.say("shut")', 'of_session.say("closed")'))
    result = play(0, "-k", "test_b")
    result.assert_outcomes(passed=1, errors=1, deselected=4)
    result.stdout.fnmatch_lines(["*CassetteMismatch: *@market.ws.jsonl:*", "*session shut*session closed*"])


MODULE = """
import asyncio
import json
import pytest
import requests
import websockets

async def answer(ws):
    while "heartbeat" in (text := await ws.recv()):
        pass
    return json.loads(text)["event"]

@pytest.fixture(scope="module")
async def ws(connex_config):
    async with websockets.connect(connex_config.ws_url) as ws:
        await ws.send('{"action": "ping", "id": 1}')
        assert await answer(ws) == "pong"
        yield ws
        await ws.send('{"action": "ping", "id": 99}')
        assert await answer(ws) == "pong"

@pytest.mark.parametrize("number", range(10))
async def test_it(ws, connex_config, number):
    first = await asyncio.to_thread(requests.get, f"{connex_config.rest_url}/v1/status?before={number}")
    await ws.send(json.dumps({"action": "ping", "id": number, "note": f"number {number}"}))
    assert await answer(ws) == "pong"
    second = await asyncio.to_thread(requests.get, f"{connex_config.rest_url}/v1/status?after={number}")
    assert first.status_code == second.status_code == 401
"""
LOOPS = "asyncio_default_fixture_loop_scope = module\nasyncio_default_test_loop_scope = module"


def test_ten_tests_use_one_connection_with_rest_in_between(project):
    (project.path / "tox.ini").write_text(f"[pytest]\nasyncio_mode = auto\n{LOOPS}\n")
    project.test(MODULE)
    project.record().assert_outcomes(passed=10)
    project.run().assert_outcomes(passed=10)
    project.run_distributed().assert_outcomes(passed=10)
    project.run("-k", "test_it[7]").assert_outcomes(passed=1, deselected=9)
    project.test(MODULE.replace('f"number {number}"', 'f"number {number % 9}"'))
    result = project.run("-rf")
    assert result.parseoutcomes()["failed"] == 1
    result.stdout.fnmatch_lines(["*CassetteMismatch: *test_it[[]9[]].ws.jsonl:*", "*number 9*number 0*"])


LISTENING = """
import json
import pytest
from websockets.sync.client import connect

@pytest.fixture(scope="module")
def feed(connex_config):
    with connect(connex_config.ws_url) as ws:
        market = {"channel": "orderbook", "symbol": "ETH/USDT", "depth": 3}
        ws.send(json.dumps({"action": "subscribe", **market}))
        assert "subscribed" in ws.recv(timeout=20)
        yield ws

@pytest.mark.parametrize("number", range(2))
def test_it(feed, number):
    for _ in range(2):
        assert "bids" in feed.recv(timeout=5)
"""


def test_the_first_test_of_a_run_has_what_comes_before_it_has_sent_anything(project):
    project.test(LISTENING)
    project.record("--connex-sandbox-interval=0.01")
    result = project.run_apart()
    assert result.ret == 0, result.stdout.str()


LOGGED_IN = """
import pytest
import requests

@pytest.fixture(scope="module")
def token(connex_config):
    return requests.get(f"{connex_config.rest_url}/login").json()["token"]

@pytest.mark.parametrize("number", range(2))
def test_it(connex_config, token, number):
    answer = requests.get(f"{connex_config.rest_url}/of/{token}", headers={"X-Session": token})
    assert answer.status_code == 200
"""


def test_a_token_that_a_fixture_was_given_is_in_no_recording_of_a_test(project, monkeypatch):
    token = "c0ffee00-0000-4000-8000-a1b2c3d4e5f6"
    with Upstream(says(ok(b'{"token": "%b"}' % token.encode()))) as upstream:
        live_at(monkeypatch, upstream.url, upstream.url.replace("http", "ws"), "a-key-of-mine", "a-secret-of-mine")
        project.test(LOGGED_IN)
        project.run("--connex-live", "--connex-record=rewrite").assert_outcomes(passed=2)
    files = list((project.path / "cassettes").rglob("*.yaml"))
    assert len(files) == 3
    assert not any(token in path.read_text() for path in files)
    project.run().assert_outcomes(passed=2)
