"""What replay fails a test for, and that it does so whatever the client makes of it."""

from __future__ import annotations

import pytest

from .conftest import BOTH

NOTED = """
import requests, uuid

async def test_ws(connex_config, connex_connect):
    async with connex_connect(connex_config.ws_url) as ws:
        await ws.send('{{"action": "ping", "ref": "%s", "note": "{note}"}}' % uuid.uuid4())
        await ws.recv()

def test_rest(connex_config):
    params, body = {{"at": uuid.uuid4(), "exchange": "{note}"}}, {{"a": {{"ref": str(uuid.uuid4())}}}}
    requests.post(connex_config.rest_url + "/v1/symbols", params=params, json=body)
"""


def failed(result: pytest.RunResult, *lines: str) -> None:
    """One test FAILED; it is not an error of its setup or teardown."""
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    outcomes = result.parseoutcomes()
    assert outcomes.get("failed") == 1
    assert "errors" not in outcomes
    result.stdout.fnmatch_lines([f"*{line}*" for line in lines])


def test_a_recording_replays(recorded):
    recorded.run().assert_outcomes(passed=2)
    recorded.run().assert_outcomes(passed=2)


def test_a_changed_character_of_a_sent_frame_is_a_mismatch(recorded):
    recorded.ws.write_text(recorded.ws.read_text().replace("one", "two"))
    failed(
        recorded.run(),
        "CassetteMismatch: *test_ws.ws.jsonl:4: the client sent another message than the recording expects",
        'note: expected "two", actual "one"'.replace('"', "'"),
        "record it: pytest --connex-sandbox --connex-record=rewrite test_it.py::test_ws",
    )


def test_a_missing_last_line_is_an_error_with_its_line(recorded):
    lines = recorded.ws.read_text().splitlines(keepends=True)
    recorded.ws.write_text("".join(lines[:-1]))
    failed(recorded.run(), f"CassetteError: *test_ws.ws.jsonl:{len(lines) - 1}: the recording is truncated")


def test_garbage_in_a_line_is_an_error_with_its_line(recorded):
    lines = recorded.ws.read_text().splitlines(keepends=True)
    lines[2] = "garbage\n"
    recorded.ws.write_text("".join(lines))
    failed(recorded.run(), "CassetteError: *test_ws.ws.jsonl:3: not an event")


def test_a_damaged_http_recording_is_an_error_with_its_line(recorded):
    recorded.http.write_text("interactions: [\n  }")
    failed(recorded.run(), "CassetteError: *test_rest.yaml:2: not YAML")


def test_a_shortened_http_recording_is_an_error(recorded):
    text = recorded.http.read_text()
    recorded.http.write_text(text[: text.index("interactions:\n")] + "interactions: []\nversion: 1\n")
    failed(recorded.run(), "CassetteError: *test_rest.yaml:*truncated: it counts 1 interactions, found 0")


def test_missing_recordings_fail_with_the_command_that_makes_them(project):
    project.test(BOTH)
    result = project.run()
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "*CassetteMissing: *test_rest.yaml: nothing is recorded for GET https://rest.connex.invalid/v1/status",
            "*CassetteMissing: *test_ws.ws.jsonl: no WebSocket is recorded for this test",
            "*pytest --connex-sandbox --connex-record=rewrite test_it.py::test_ws*",
            "recordings: 0 read, 0 written, 2 missing",
        ]
    )


def test_missing_recordings_can_be_skipped(project):
    project.ini("connex_missing_cassette = skip")
    project.test(BOTH)
    project.run().assert_outcomes(skipped=2)


def test_a_missing_recording_fails_even_when_a_fixture_dials(project):
    project.test("async def test_ws(connex_ws): pass")
    failed(project.run(), "CassetteMissing: *no WebSocket is recorded")


def test_a_client_that_waits_for_more_than_was_recorded_fails(recorded):
    recorded.test(BOTH.replace("await ws.recv()\n", "await ws.recv()\n        await ws.recv()\n"))
    failed(recorded.run("-k", "test_ws", "--connex-replay-timeout=0.2"), "CassetteExhausted: *test_ws.ws.jsonl:6*")


def test_a_message_never_sent_fails(recorded):
    dialling = "async with connex_connect(connex_config.ws_url): pass"
    recorded.test(f"async def test_ws(connex_config, connex_connect):\n    {dialling}\n")
    result = recorded.run("-k", "test_ws")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*CassetteUnplayed: *test_ws.ws.jsonl:4: the test left a part*", "*never sent*"])


def test_a_connection_never_opened_fails(recorded):
    recorded.test("def test_ws(connex_config): pass")
    result = recorded.run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*CassetteUnplayed*", "*line 2: connection 1 was never opened*"])


def test_an_http_interaction_never_used_fails(recorded):
    recorded.test("def test_rest(connex_config): pass")
    result = recorded.run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*CassetteUnplayed*", "*GET https://rest.connex.invalid/v1/status*"])


def test_uvloop_is_refused_unless_allowed(recorded):
    recorded.pytester.makeconftest(
        """
        import pytest, uvloop, warnings

        @pytest.fixture(scope="session")
        def event_loop_policy():
            return uvloop.EventLoopPolicy()
        """
    )
    refused = recorded.run("-k", "test_ws", "-W", "ignore")
    assert refused.ret == 1
    refused.stdout.fnmatch_lines(["*a recorded test on uvloop is refused*connex_allow_uvloop = true*"])
    assert recorded.run("-k", "test_ws", "-W", "ignore", "--connex-allow-uvloop=true").ret == 0


REACHING = """
import socket
import pytest
import requests

def reach(host):
    try:
        with socket.socket() as raw:
            raw.connect((host, 9))
    except Exception:
        pass

def test_of_the_network(connex_config):
    reach("192.0.2.1")

def test_with_a_sandbox_of_its_own(connex_sandbox):
    assert requests.get(connex_sandbox.rest_url + "/v1/status").status_code == 401
    reach("192.0.2.2")

def test_of_this_machine(connex_config):
    reach("127.0.0.1")

@pytest.mark.block_network(allowed_hosts=["192.0.2.1"])
def test_of_a_host_that_is_allowed(connex_config, monkeypatch):
    with socket.socket() as raw:
        raw.settimeout(0.001)
        with pytest.raises(OSError):
            raw.connect(("192.0.2.1", 9))

def test_of_somebody_else():
    reach("127.0.0.1")
"""


def test_reaching_the_network_is_the_verdict_whatever_the_test_makes_of_it(recorded, wide_terminal):
    recorded.test(REACHING)
    result = recorded.run("-rf")
    result.assert_outcomes(passed=3, failed=2)
    result.stdout.fnmatch_lines(
        [
            "FAILED test_it.py::test_of_the_network - *NetworkBlocked: a recorded test reached for 192.0.2.1:9: *",
            "FAILED test_it.py::test_with_a_sandbox_of_its_own - *NetworkBlocked: *reached for 192.0.2.2:9: *",
        ]
    )
    assert "record it" not in result.stdout.str()


# --- Values that clients make up -------------------------------------------------------------------------


def test_a_value_that_looks_made_up_is_named_for_the_marker(project):
    project.test(NOTED.format(note="one"))
    project.record()
    result = project.run()
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "*  ref: expected '*-*-*-*-*', actual '*-*-*-*-*'",
            '*if ref is made up anew in every run: @pytest.mark.connex(volatile=[[]"ref"[]])',
            "*record it: *test_it.py::test_ws*",
            '*if at and a.ref are made up anew in every run: @pytest.mark.connex(volatile=[[]"at", "a.ref"[]])',
            "*record it: *test_it.py::test_rest*",
        ]
    )


def test_the_hint_is_right(project):
    project.test(NOTED.format(note="one"))
    project.record()
    hinted = """
import pytest

pytestmark = pytest.mark.connex(volatile=["ref", "at", "a.ref"])
"""
    project.test(hinted + NOTED.format(note="one"))
    project.run().assert_outcomes(passed=2)


def test_a_dialect_may_say_so_too(project):
    project.test(NOTED.format(note="one"))
    project.record()
    hinted = """
import pytest
from pytest_connex import Dialect

pytestmark = pytest.mark.connex(volatile=["ref"])

@pytest.fixture(scope="session")
def connex_dialect():
    return Dialect(
        volatile_query=(*Dialect.volatile_query, "at"),
        volatile_body=(*Dialect.volatile_body, "a.ref"),
    )
"""
    project.test(hinted + NOTED.format(note="one"))
    project.run().assert_outcomes(passed=2)


def test_where_something_else_differs_too_nothing_is_hinted(project):
    project.test(NOTED.format(note="one"))
    project.record()
    project.test(NOTED.format(note="two"))
    result = project.run()
    result.assert_outcomes(failed=2)
    result.stdout.no_fnmatch_line("*made up anew*")
