"""A test whose client swallows its verdict still ends, in time, and fails with that verdict."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from .conftest import Project

pytestmark = pytest.mark.usefixtures("wide_terminal")

HEAD = """
import asyncio
import threading
import time

import pytest
import requests

BAD = '{"action": "ping", "id": 7, "note": "another"}'
PATH = "/v1/other"
GOOD = '{"action": "ping", "id": 7, "note": "one"}'
"""

DIALLING = """
async def say(connect, config, message=BAD):
    async with connect(config.ws_url) as ws:
        await ws.send(message)
        await ws.recv()

async def insist(connect, config):
    while True:
        try:
            return await say(connect, config)
        except Exception:
            pass

async def test_dials_again(connex_connect, connex_config):
    await insist(connex_connect, connex_config)

async def test_dials_again_with_what_is_no_json(connex_connect, connex_config):
    while True:
        try:
            await say(connex_connect, connex_config, "something else")
        except Exception:
            pass

async def test_dials_again_whatever_is_raised(connex_connect, connex_config):
    while True:
        try:
            await say(connex_connect, connex_config)
        except BaseException:
            await asyncio.sleep(0)

async def test_dials_again_after_its_cancellation(connex_connect, connex_config):
    while True:
        try:
            await say(connex_connect, connex_config)
        except (Exception, asyncio.CancelledError):
            pass

async def test_dials_with_async_for(connex_connect, connex_config):
    async for ws in connex_connect(connex_config.ws_url):
        try:
            await ws.send(BAD)
            await ws.recv()
        except Exception:
            continue

def test_runs_a_loop_of_its_own(connex_connect, connex_config):
    asyncio.run(insist(connex_connect, connex_config))

def test_dials_in_a_thread(connex_connect, connex_config):
    thread = threading.Thread(target=lambda: asyncio.run(insist(connex_connect, connex_config)))
    thread.start()
    thread.join()

@pytest.fixture
async def client(connex_connect, connex_config):
    await insist(connex_connect, connex_config)

async def test_dials_in_the_setup_of_a_fixture(client):
    pass
"""

WAITING = """
async def test_waits_after_it_failed(connex_connect, connex_config):
    try:
        await say(connex_connect, connex_config)
    except Exception:
        pass
    await asyncio.Event().wait()

async def test_waits_for_a_task_that_failed(connex_connect, connex_config):
    async def work():
        try:
            await say(connex_connect, connex_config)
        except Exception:
            pass
    task = asyncio.create_task(work())
    await asyncio.Event().wait()

async def test_swallows_a_cancellation_and_waits_on(connex_connect, connex_config):
    async def work():
        try:
            await say(connex_connect, connex_config)
        except Exception:
            pass
    task = asyncio.create_task(work())
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass

async def test_waits_for_a_task_that_dials_again(connex_connect, connex_config):
    async def work():
        while True:
            try:
                return await say(connex_connect, connex_config)
            except Exception:
                await asyncio.sleep(0)
    task = asyncio.create_task(work())
    await asyncio.Event().wait()

def test_waits_in_a_loop_of_its_own(connex_connect, connex_config):
    async def main():
        try:
            await say(connex_connect, connex_config)
        except Exception:
            pass
        await asyncio.Event().wait()
    asyncio.run(main())
"""

READING = """
async def test_reads_again_without_sleep(connex_connect, connex_config):
    ws = await connex_connect(connex_config.ws_url)
    await ws.send(BAD)
    while True:
        try:
            await ws.recv()
        except Exception:
            pass

async def test_reads_again(connex_connect, connex_config):
    ws = await connex_connect(connex_config.ws_url)
    await ws.send(BAD)
    while True:
        try:
            await ws.recv()
        except Exception:
            await asyncio.sleep(0)

async def test_sends_again_without_sleep(connex_connect, connex_config):
    ws = await connex_connect(connex_config.ws_url)
    while True:
        try:
            await ws.send(BAD)
            await ws.recv()
        except Exception:
            pass
"""

EXHAUSTED = """
async def test_reads_on_with_a_time_out(connex_connect, connex_config):
    async with connex_connect(connex_config.ws_url) as ws:
        await ws.send(GOOD)
        while True:
            try:
                await asyncio.wait_for(ws.recv(), 0.05)
            except TimeoutError:
                pass

async def test_reads_on_whatever_is_raised(connex_connect, connex_config):
    async with connex_connect(connex_config.ws_url) as ws:
        await ws.send(GOOD)
        while True:
            try:
                await asyncio.wait_for(ws.recv(), 0.05)
            except Exception:
                continue

async def test_never_sends(connex_connect, connex_config):
    async with connex_connect(connex_config.ws_url) as ws:
        while True:
            try:
                await asyncio.wait_for(ws.recv(), 0.05)
            except Exception:
                continue

async def test_does_not_close(connex_connect, connex_config):
    async with connex_connect(connex_config.ws_url) as ws:
        await ws.send(GOOD)
        await ws.wait_closed()
        await asyncio.Event().wait()
"""

ASKING = """
def test_asks_again(connex_rest):
    while True:
        try:
            connex_rest.get(PATH)
        except Exception:
            pass

def test_asks_again_with_a_client_of_its_own(connex_config):
    while True:
        try:
            requests.get(connex_config.rest_url + PATH)
        except Exception:
            pass

async def test_asks_again_asynchronously(connex_rest_async):
    while True:
        try:
            await connex_rest_async.get(PATH)
        except Exception:
            pass

async def test_waits_for_a_thread_that_failed(connex_rest):
    async def work():
        try:
            await asyncio.to_thread(connex_rest.get, PATH)
        except Exception:
            pass
    task = asyncio.create_task(work())
    await asyncio.Event().wait()

async def test_waits_for_threads_that_ask_again(connex_rest):
    async def work():
        while True:
            try:
                return await asyncio.to_thread(connex_rest.get, PATH)
            except Exception:
                pass
    task = asyncio.create_task(work())
    await asyncio.Event().wait()

def test_asks_again_in_a_thread(connex_rest):
    def work():
        while True:
            try:
                connex_rest.get(PATH)
            except Exception:
                pass
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
"""

SWALLOWING_ALL = """
def test_asks_again_whatever_is_raised(connex_rest):
    while True:
        try:
            connex_rest.get(PATH)
        except:
            time.sleep(0.001)

def test_asks_again_in_a_thread_whatever_is_raised(connex_rest):
    def work():
        while True:
            try:
                return connex_rest.get(PATH)
            except:
                time.sleep(0.01)
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join()
"""

SWALLOWING_WITHOUT_A_PAUSE = """
def test_asks_again(connex_rest):
    while True:
        try:
            connex_rest.get(PATH)
        except:
            pass

def test_asks_again_deep_within(connex_config):
    def insist():
        while True:
            try:
                requests.get(connex_config.rest_url + PATH).raise_for_status()
            except BaseException:
                continue
    insist()

async def test_asks_again_on_a_loop_that_it_never_gives_back(connex_config):
    while True:
        try:
            requests.get(connex_config.rest_url + PATH)
        except:
            pass

def test_asks_again_on_a_loop_of_its_own(connex_config):
    async def main():
        while True:
            try:
                requests.get(connex_config.rest_url + PATH)
            except:
                pass
    asyncio.run(main())
"""

LEFT_IN_A_THREAD = """
asks = threading.Event()
answers = []

def test_leaves_a_thread_that_asks_when_it_is_over(connex_rest):
    def work():
        asks.wait()
        answers.append(connex_rest.get(PATH))
    test_leaves_a_thread_that_asks_when_it_is_over.thread = threading.Thread(target=work)
    test_leaves_a_thread_that_asks_when_it_is_over.thread.start()

def test_next(connex_rest):
    asks.set()
    test_leaves_a_thread_that_asks_when_it_is_over.thread.join()
    assert answers == []
"""

SLOW_TEARDOWN = """
import asyncio
import pathlib
import pytest

@pytest.fixture
async def slow():
    yield
    await asyncio.sleep(0.3)
    pathlib.Path("torn-down").touch()

async def test_ws(slow, connex_connect, connex_config):
    try:
        async with connex_connect(connex_config.ws_url) as ws:
            await ws.send("something else")
            await ws.recv()
    except Exception:
        pass
"""

SHARED = """
@pytest.fixture
def shared(connex_config):
    while True:
        try:
            requests.get(connex_config.rest_url + PATH)
        except Exception:
            pass

def test_first(shared):
    pass

def test_second(shared):
    pass
"""

LEFT_OVER = """
import pathlib

class Stubborn:
    def __init__(self):
        self.steps = 0
    async def run(self, connect, config):
        while True:
            try:
                await say(connect, config)
            except (Exception, asyncio.CancelledError):
                self.steps += 1

left = Stubborn()

async def test_leaves_a_task_that_swallows_its_cancellation(connex_connect, connex_config):
    asyncio.create_task(left.run(connex_connect, connex_config))
    await asyncio.Event().wait()

async def test_next(connex_connect, connex_config):
    before = left.steps
    await say(connex_connect, connex_config, GOOD)
    assert left.steps == before

def test_the_loop_of_others_is_as_ever():
    seen = []
    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: seen.append(context["message"]))
        async def fail():
            raise ValueError
        asyncio.create_task(fail())
        await asyncio.sleep(0)
    loop = asyncio.new_event_loop()  # asyncio.run would have older releases of pytest-asyncio lose theirs
    loop.run_until_complete(main())
    loop.close()
    import gc
    gc.collect()
    assert seen == ["Task exception was never retrieved"]
"""

ENDED_WHOLE = """
import pathlib

@pytest.fixture
async def whole(connex_connect, connex_config):
    yield connex_connect
    pathlib.Path("torn-down").touch()

async def test_cleans_up(whole, connex_config):
    try:
        await insist(whole, connex_config)
    finally:
        await asyncio.sleep(0)
        pathlib.Path("cleaned-up").touch()
"""


def names_in(source: str) -> list[str]:
    return re.findall(r"^(?:async )?def (test_\w+)", source, re.MULTILINE)


def copy_for_each(recording: Path, source: str) -> None:
    """Give every test in ``source`` a copy of a recording."""
    suffixes = recording.name.partition(".")[2]
    for name in names_in(source):
        shutil.copy(recording, recording.with_name(f"{name}.{suffixes}"))


def verdicts(result: pytest.RunResult) -> dict[str, str]:
    """The exception that each test FAILED with; an error of a setup or teardown would be missing."""
    found = re.findall(r"^FAILED test_it\.py::(\w+) - ([\w.]+)", result.stdout.str(), re.MULTILINE)
    assert "errors" not in result.parseoutcomes()
    return {name: kind.rpartition(".")[2] for name, kind in found}


def end(project: Project, source: str) -> dict[str, str]:
    project.test(HEAD + source)
    return verdicts(project.run_apart("-o", "connex_replay_timeout=0.1", "-rf", timeout=120))


def test_clients_that_swallow_what_does_not_fit_their_recording(recorded):
    mismatched, asking = DIALLING + WAITING + READING, ASKING + SWALLOWING_ALL
    copy_for_each(recorded.ws, mismatched + EXHAUSTED)
    copy_for_each(recorded.http, asking)
    assert end(recorded, mismatched + EXHAUSTED + asking) == {
        **dict.fromkeys(names_in(mismatched + asking), "CassetteMismatch"),
        **dict.fromkeys(names_in(EXHAUSTED), "CassetteExhausted"),
    }


def test_clients_that_swallow_a_missing_recording(project):
    clients = DIALLING + ASKING
    assert end(project, clients) == dict.fromkeys(names_in(clients), "CassetteMissing")


def test_clients_that_swallow_their_interruption_without_a_pause(project):
    clients = SWALLOWING_WITHOUT_A_PAUSE
    assert end(project, clients) == dict.fromkeys(names_in(clients), "CassetteMissing")


def test_a_trace_function_is_brought_back(project):
    project.test(
        HEAD
        + SWALLOWING_WITHOUT_A_PAUSE
        + """
import sys

@pytest.fixture(autouse=True, scope="module")
def traced():
    def nothing(*args):
        pass
    sys.settrace(nothing)
    yield
    traced_at_last = sys.gettrace()
    sys.settrace(None)
    assert traced_at_last is nothing
"""
    )
    project.run_apart("-o", "connex_replay_timeout=0.1", timeout=120).assert_outcomes(failed=4)


def test_a_thread_that_goes_on_after_its_test_asks_nothing_in_the_name_of_the_next(project):
    project.test(HEAD + LEFT_IN_A_THREAD)
    result = project.run_apart("-rf", timeout=120)
    result.assert_outcomes(passed=2)


def test_a_slow_teardown_after_a_verdict_is_not_cancelled(recorded):
    recorded.test(SLOW_TEARDOWN)
    result = recorded.run_apart("-o", "connex_replay_timeout=0.1", "-rf", timeout=120)
    assert verdicts(result) == {"test_ws": "CassetteMismatch"}
    assert (recorded.path / "torn-down").exists()


def test_the_set_up_of_a_fixture_is_ended_for_every_test_that_needs_it(project):
    assert end(project, SHARED) == dict.fromkeys(("test_first", "test_second"), "CassetteMissing")


def test_nothing_of_a_test_goes_on_in_the_next(recorded):
    names = names_in(LEFT_OVER)
    copy_for_each(recorded.ws, LEFT_OVER)
    recorded.test(HEAD + DIALLING.partition("async def insist")[0] + LEFT_OVER)
    result = recorded.run_apart("-o", "connex_replay_timeout=0.2", "-rf", "-W", "error", timeout=120)
    assert verdicts(result) == {names[0]: "CassetteMismatch"}
    result.assert_outcomes(failed=1, passed=2)


def test_a_test_that_is_ended_cleans_up_and_so_do_its_fixtures(recorded):
    copy_for_each(recorded.ws, ENDED_WHOLE)
    recorded.test(HEAD + DIALLING.partition("async def test_dials_again(")[0] + ENDED_WHOLE)
    # What goes on asking is ended at once, so that a time to clean up which is no race costs nothing.
    result = recorded.run_apart("-o", "connex_replay_timeout=60", "-rf", timeout=120)
    assert verdicts(result) == {"test_cleans_up": "CassetteMismatch"}
    assert (recorded.path / "cleaned-up").exists()
    assert (recorded.path / "torn-down").exists()


def test_a_part_that_was_left_unused_is_a_failure_and_nothing_else(recorded):
    recorded.test("def test_rest(connex_config): pass")
    result = recorded.run("-k", "test_rest", "--junitxml=report.xml", "-v")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["test_it.py::test_rest FAILED*"])
    assert 'errors="0" failures="1" skipped="0" tests="1"' in (recorded.path / "report.xml").read_text()


def test_what_the_fixtures_use_up_is_played(project):
    source = """
        import pytest, requests

        @pytest.fixture
        def ask(connex_config):
            yield
            assert requests.get(connex_config.rest_url + "/v1/status").status_code == 401

        def test_it(ask): pass
    """
    project.test(source)
    project.record()
    result = project.run("-v")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["test_it.py::test_it PASSED*"])
