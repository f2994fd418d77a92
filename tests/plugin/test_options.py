"""Options and ini settings: which are refused, and what the user reads then."""

from __future__ import annotations

import pytest

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
        project.run("--connex-sandbox", "--connex-record", "test_it.py"),
        "--connex-record=test_it.py: choose --connex-record=once or --connex-record=rewrite, with the equals sign",
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
            assert connex_config.rest_url == "https://rest.connex.invalid"
            assert connex_config.ws_url == "wss://ws.connex.invalid"
            assert connex_config.api_key == "connex-recorded-key"
        """
    )
    assert project.run("--connex-max-retries=5", "--connex-retry-delay=0.5").ret == 0


def test_every_option_is_in_the_help(project):
    result = project.run("--help")
    result.stdout.fnmatch_lines(["Connex integration tests:", "*--connex-live*", "*--connex-sandbox*"])
    result.stdout.fnmatch_lines(["*connex_replay_timeout*"])
