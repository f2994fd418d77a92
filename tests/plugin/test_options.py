"""Options and ini settings: which are refused, and what the user reads then."""

from __future__ import annotations

import pytest

from .conftest import BOTH, Project

PASSING = "def test_nothing():\n    pass\n"


def refused(result: pytest.RunResult, *lines: str) -> None:
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{line}*" for line in lines])


def test_live_and_sandbox_exclude_each_other(project):
    project.test(PASSING)
    refused(
        project.run("--connex-live", "--connex-sandbox"),
        "--connex-live and --connex-sandbox exclude each other: choose one",
    )


def test_recording_needs_something_to_record(project):
    project.test(PASSING)
    refused(
        project.run("--connex-record"),
        "--connex-record needs something to record: add --connex-sandbox or --connex-live",
    )


def test_an_unknown_record_mode_lists_the_known_ones(project):
    project.test(PASSING)
    refused(
        project.run("--connex-sandbox", "--connex-record=test_it.py"),
        "--connex-record=once/--connex-record=rewrite/--connex-record=replace-live: ignored explicit *'test_it.py'",
    )


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("replay_timeout", "soon", "a number of seconds above zero"),
        ("replay_timeout", "-1", "a number of seconds above zero"),
        ("timeout", "0", "a number of seconds above zero"),
        ("ws_timeout", "nan", "a number of seconds above zero"),
        ("retry_delay", "-2", "a number of seconds, zero or more"),
        ("max_retries", "-1", "a whole number, zero or more"),
        ("max_retries", "2.5", "a whole number, zero or more"),
        ("sandbox_seed", "x", "a whole number"),
        ("sandbox_interval", "0", "a number of seconds above zero"),
        ("missing_cassette", "ignore", "fail or skip"),
        ("allow_uvloop", "perhaps", "true or false"),
        ("allow_plaintext", "perhaps", "true or false"),
        ("tls", "perhaps", "true or false"),
        ("cassette_dir", " ", "a folder"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_in_both_forms(project, setting, value, expected):
    project.test(PASSING)
    option = f"--connex-{setting.replace('_', '-')}"
    refused(project.run(f"{option}={value}"), f"{option} = '{value}': expected {expected}")
    if value.strip():
        project.ini(f"connex_{setting} = {value}")
        refused(project.run(), f"connex_{setting} = '{value}': expected {expected}")


def test_the_command_line_wins_over_the_ini(project):
    project.ini("connex_timeout = 3\nconnex_ws_timeout = 4")
    project.test(
        "def test_it(connex_config):\n    assert (connex_config.timeout, connex_config.ws_timeout) == (7.0, 4.0)"
    )
    assert project.run("--connex-timeout=7").ret == 0


def test_every_client_setting_reaches_the_configuration(project):
    project.test(
        """
        def test_it(connex_config):
            assert connex_config.max_retries == 5
            assert connex_config.retry_delay == 0.5
            assert connex_config.mode == "recorded"
            assert connex_config.rest_url.startswith("http://127.0.0.1:")
            assert connex_config.ws_url.startswith("ws://127.0.0.1:")
            assert connex_config.api_key == "connex-recorded-key"
        """
    )
    assert project.run("--connex-max-retries=5", "--connex-retry-delay=0.5").ret == 0


def test_every_option_is_in_the_help(project):
    result = project.run("--help")
    result.stdout.fnmatch_lines(["Connex integration tests:", "*--connex-live*", "*--connex-sandbox*"])
    result.stdout.fnmatch_lines(["*connex_replay_timeout*"])


# --- What they do ----------------------------------------------------------------------------------------

given = pytest.mark.parametrize("where", [["ini"], ["option", "ini"]], ids=" over ".join)


def give(project: Project, where: list[str], setting: str, value: str, other: str) -> list[str]:
    """Give a setting the ``value`` in the first of ``where``, and the ``other`` one in the second.

    Returns:
        The arguments of the command line.
    """
    values = dict(zip(where, (value, other), strict=False))
    if "ini" in values:
        project.ini(f"connex_{setting} = {values['ini']}")
    return [f"--connex-{setting.replace('_', '-')}={values['option']}"] if "option" in values else []


@given
def test_recordings_are_in_the_folder_that_is_given(project, where):
    project.test(BOTH)
    arguments = give(project, where, "cassette_dir", "deep/here", "there")
    project.record(*arguments)
    files = sorted(
        str(path.relative_to(project.path)) for path in project.path.rglob("*.*") if "test_it/" in str(path)
    )
    assert files == ["deep/here/test_it/test_rest.yaml", "deep/here/test_it/test_ws.ws.jsonl"]
    project.run(*arguments).assert_outcomes(passed=2)


@given
def test_sandboxes_have_the_seed_that_is_given(project, where):
    project.test(
        """
        from pytest_connex.sandbox.exchange import Exchange

        def test_it(connex_config, connex_sandbox):
            assert connex_config.api_key == connex_sandbox.api_key == Exchange(11).new_credentials().api_key
        """
    )
    result = project.run("--connex-sandbox", *give(project, where, "sandbox_seed", "11", "12"))
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["connex: sandbox: embedded sandbox, seed 11"])


@given
def test_updates_come_at_the_interval_that_is_given(project, where):
    project.test(
        """
        import asyncio, pytest

        @pytest.mark.connex(clock="virtual")
        async def test_it(connex_ws):
            loop = asyncio.get_running_loop()
            await connex_ws.subscribe("ETH/USDT", depth=5)
            seen = [(await connex_ws.recv()).sequence and loop.time() for _ in range(4)]
            assert [round(after - before, 6) for before, after in zip(seen[1:], seen[2:])] == [7.0, 7.0]
        """
    )
    project.run("--connex-sandbox", *give(project, where, "sandbox_interval", "7", "3")).assert_outcomes(passed=1)


@given
def test_a_rest_request_takes_the_time_that_is_given(project, where):
    project.test(
        """
        import pytest, requests, socket

        def test_it(connex_rest, connex_sandbox):
            with socket.create_server(("127.0.0.1", 0)) as silent:
                url = "http://127.0.0.1:%d/" % silent.getsockname()[1]
                with pytest.raises(requests.ConnectionError, match=r"read timeout=0\\.03\\)"):
                    connex_rest.get(url)
        """
    )
    arguments = give(project, where, "timeout", "0.03", "9")
    project.run("--connex-max-retries=0", *arguments).assert_outcomes(passed=1)


@given
def test_a_frame_is_waited_for_as_long_as_is_given(project, where):
    project.test(
        """
        import asyncio, pytest

        @pytest.mark.connex(clock="virtual")
        async def test_it(connex_sandbox, connex_ws):
            start = asyncio.get_running_loop().time()
            with pytest.raises(TimeoutError, match="within 3 s"):
                await connex_ws.recv()
            assert asyncio.get_running_loop().time() - start == pytest.approx(3)
        """
    )
    project.run(*give(project, where, "ws_timeout", "3", "4")).assert_outcomes(passed=1)


@given
def test_a_session_gets_the_attempts_that_are_given(project, where):
    project.test(
        """
        import pytest
        from pytest_connex.errors import ConnectionLost

        @pytest.mark.connex(clock="virtual")
        async def test_it(connex_sandbox, connex_ws):
            connex_sandbox.faults.refuse_handshake(times=10)
            with pytest.raises(ConnectionLost):
                await connex_ws.reconnect()
            assert connex_sandbox.faults.pending() == 10 - 4
        """
    )
    project.run(*give(project, where, "max_retries", "4", "6")).assert_outcomes(passed=1)


@given
def test_a_request_is_tried_again_as_often_as_is_given(project, where):
    project.test(
        """
        def test_it(connex_sandbox, connex_rest):
            connex_sandbox.faults.answer(503, times=10)
            assert connex_rest.get("/v1/status").status_code == 503
            assert connex_sandbox.faults.pending() == 10 - 1 - 4
        """
    )
    arguments = give(project, where, "max_retries", "4", "6")
    project.run("--connex-retry-delay=0", *arguments).assert_outcomes(passed=1)


@given
def test_attempts_wait_as_long_as_is_given(project, where):
    project.test(
        """
        import pytest

        @pytest.fixture
        def connex_sleep():
            waits = []
            yield waits.append
            assert waits == [2.0, 4.0, 6.0]

        def test_it(connex_sandbox, connex_rest):
            connex_sandbox.faults.answer(503, times=3)
            assert connex_rest.get("/v1/status").status_code == 200
        """
    )
    project.run(*give(project, where, "retry_delay", "2", "1")).assert_outcomes(passed=1)


@given
def test_a_client_waits_beyond_its_recording_as_long_as_is_given(recorded, where):
    recorded.test(BOTH.replace("await ws.recv()\n", "await ws.recv()\n        await ws.recv()\n"))
    result = recorded.run("-k", "test_ws", *give(recorded, where, "replay_timeout", "0.03", "60"))
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(["*waited 0.03 s longer than recorded (connex_replay_timeout)"])


@given
def test_a_missing_recording_skips_where_that_is_given(project, where):
    project.test(BOTH)
    project.run(*give(project, where, "missing_cassette", "skip", "fail")).assert_outcomes(skipped=2)


@given
def test_a_recording_is_played_at_the_pace_that_is_given(project, where):
    project.test(
        """
        import asyncio, pytest

        @pytest.mark.connex(clock="virtual")
        async def test_it(connex_ws):
            start = asyncio.get_running_loop().time()
            await connex_ws.subscribe("ETH/USDT", depth=5)
            frames = [await connex_ws.recv() for _ in range(21)]
            print("seconds:", round(asyncio.get_running_loop().time() - start, 6))
        """
    )
    project.record("--connex-sandbox-interval=1")
    project.run("-rP", *give(project, where, "pace", "0.25", "2")).stdout.fnmatch_lines(["seconds: 5.0"])


@given
def test_a_clear_connection_beyond_this_machine_is_had_where_that_is_given(project, monkeypatch, where):
    monkeypatch.setenv("CONNEX_REST_URL", "http://gateway.example")
    project.test("def test_it(): pass")
    result = project.run("--connex-live", *give(project, where, "allow_plaintext", "true", "false"))
    result.stdout.fnmatch_lines(["connex: live: REST http://gateway.example from the environment, *"])


def test_a_clear_connection_is_had_with_the_bare_flag(project, monkeypatch):
    monkeypatch.setenv("CONNEX_REST_URL", "http://gateway.example")
    project.test("def test_it(): pass")
    refused(project.run("--connex-live"), "CONNEX_REST_URL uses http:// for gateway.example, *")
    assert project.run("--connex-live", "--connex-allow-plaintext").ret == 0


UVLOOP = """
import pytest, uvloop

@pytest.fixture(scope="session")
def event_loop_policy():
    return uvloop.EventLoopPolicy()
"""


@given
def test_uvloop_is_had_where_that_is_given(recorded, where):
    recorded.pytester.makeconftest(UVLOOP)
    arguments = give(recorded, where, "allow_uvloop", "true", "false")
    assert recorded.run("-k", "test_ws", "-W", "ignore", *arguments).ret == 0


def test_uvloop_is_had_with_the_bare_flag(recorded):
    recorded.pytester.makeconftest(UVLOOP)
    assert recorded.run("-k", "test_ws", "-W", "ignore", "--connex-allow-uvloop").ret == 0
