"""Clients of every kind, in every mode: sync ones, asynchronous ones, in threads, and on uvloop."""

from __future__ import annotations

import json
import textwrap

import pytest

PING = """
import asyncio
import json
import threading

import pytest

def pinged(connect, url, number):
    with connect(url) as ws:
        ws.send(json.dumps({"action": "ping", "id": number}))
        return json.loads(ws.recv(timeout=10))

async def pinged_too(connect, url, number):
    async with connect(url) as ws:
        await ws.send(json.dumps({"action": "ping", "id": number}))
        return json.loads(await ws.recv())

def in_threads(ask, numbers):
    said = {}

    def one(number):
        said[number] = ask(number)

    threads = [threading.Thread(target=one, args=(number,)) for number in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return said
"""

KINDS = {
    "sync": """
        def test_ws(connex_config, connex_connect_sync):
            answer = pinged(connex_connect_sync, connex_config.ws_url, 1)
            assert (answer["event"], answer["id"]) == ("pong", 1)
        """,
    "asynchronous": """
        async def test_ws(connex_config, connex_connect):
            answer = await pinged_too(connex_connect, connex_config.ws_url, 1)
            assert (answer["event"], answer["id"]) == ("pong", 1)
        """,
    "client": """
        async def test_ws(connex_ws_connect):
            async with connex_ws_connect() as ws:
                assert (await ws.ping(1)).id == 1
        """,
    "loop-of-its-own": """
        def test_ws(connex_config, connex_connect):
            answer = asyncio.run(pinged_too(connex_connect, connex_config.ws_url, 1))
            assert (answer["event"], answer["id"]) == ("pong", 1)
        """,
    "threads": """
        def test_ws(connex_config, connex_connect_sync):
            said = in_threads(lambda number: pinged(connex_connect_sync, connex_config.ws_url, number), [1, 2, 3])
            assert {number: answer["id"] for number, answer in said.items()} == {1: 1, 2: 2, 3: 3}
        """,
    "sync-within-asynchronous": """
        async def test_ws(connex_config, connex_connect_sync):
            answer = await asyncio.to_thread(pinged, connex_connect_sync, connex_config.ws_url, 1)
            assert (answer["event"], answer["id"]) == ("pong", 1)
        """,
    "all-at-once": """
        async def test_ws(connex_config, connex_connect, connex_connect_sync, connex_ws_connect):
            url = connex_config.ws_url
            threads = asyncio.to_thread(
                in_threads, lambda number: pinged(connex_connect_sync, url, number), [1, 2, 3]
            )
            said, answer = await asyncio.gather(threads, pinged_too(connex_connect, url, 4))
            assert {number: answer["id"] for number, answer in said.items()} == {1: 1, 2: 2, 3: 3}
            assert answer["id"] == 4
            async with connex_ws_connect() as ws:
                assert (await ws.ping(5)).id == 5
        """,
}


def source(kind: str) -> str:
    return PING + textwrap.dedent(KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_works_against_the_sandbox_and_replays_what_it_recorded(project, kind):
    project.test(source(kind))
    project.run("--connex-sandbox").assert_outcomes(passed=1)
    assert not project.ws.exists()
    project.record()
    lines = [json.loads(line) for line in project.ws.read_text().splitlines()]
    dials = [line["url"] for line in lines if line.get("event") == "dial"]
    assert dials == ["wss://ws.connex.invalid/"] * {"threads": 3, "all-at-once": 5}.get(kind, 1)
    result = project.run()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["recordings: 1 read, 0 written, 0 missing"])


SKIMMING = """
import pytest

@pytest.mark.connex(strict={strict})
def test_ws(connex_config, connex_connect_sync):
    with connex_connect_sync(connex_config.ws_url) as ws:
        ws.send('{{"action": "ping", "id": 1}}')
        {read}
"""


@pytest.mark.parametrize(("strict", "outcome"), [(False, {"passed": 1}), (True, {"failed": 1})])
def test_a_sync_client_that_does_not_read_is_told_where_that_counts(project, strict, outcome):
    project.test(SKIMMING.format(strict=strict, read="ws.recv(timeout=10)"))
    project.record()
    project.run().assert_outcomes(passed=1)
    project.test(SKIMMING.format(strict=strict, read="pass"))
    result = project.run()
    result.assert_outcomes(**outcome)
    unplayed = "*line 6: 1 received messages were never read on connection 1"
    (result.stdout.fnmatch_lines if strict else result.stdout.no_fnmatch_line)(unplayed)


def test_a_sync_client_that_sends_something_else_fails(project):
    project.test(source("sync"))
    project.record()
    project.test(
        source("sync").replace("ws_url, 1)", "ws_url, 1)\n    pinged(connex_connect_sync, 'wss://other/', 2)")
    )
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*CassetteMismatch: *"])


def test_a_sync_client_without_a_recording_fails(project):
    project.test(source("sync"))
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*CassetteMissing: cassettes/test_it/test_ws.ws.jsonl: no WebSocket is recorded for this test",
            "*record it: pytest --connex-sandbox --connex-record=rewrite test_it.py::test_ws*",
        ]
    )


UVLOOP = """
import uvloop

@pytest.fixture(scope="session")
def event_loop_policy():
    return uvloop.EventLoopPolicy()

async def test_ws(connex_config, connex_connect, connex_ws_connect):
    assert type(asyncio.get_running_loop()).__module__ == "uvloop"
    assert (await pinged_too(connex_connect, connex_config.ws_url, 1))["id"] == 1
    async with connex_ws_connect() as ws:
        assert (await ws.ping(2)).id == 2
"""


def test_on_uvloop_a_client_records_and_replays_where_that_is_allowed(project):
    project.ini("connex_allow_uvloop = true")
    project.test(PING + UVLOOP)
    recorded = project.run("--connex-sandbox", "--connex-record=rewrite")
    recorded.assert_outcomes(passed=1)
    assert project.ws.read_text().count('"event":"dial"') == 2
    replayed = project.run()
    replayed.assert_outcomes(passed=1)
    replayed.stdout.fnmatch_lines(["recordings: 1 read, 0 written, 0 missing"])
