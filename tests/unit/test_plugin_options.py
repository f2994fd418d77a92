"""Reading options and ini settings: every kind of value, and which of its two forms decides.

What a user reads when a value is refused is tested with whole runs, in ``tests/plugin/test_options.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from pytest_connex.config import recorded_config
from pytest_connex.plugin.options import RunOptions, read

INI = "[pytest]\nasyncio_default_fixture_loop_scope = function\n"
DEFAULTS = {"timeout": 10.0, "ws_timeout": 30.0, "max_retries": 3, "retry_delay": 5.0, "allow_plaintext": False}

Ask = Callable[..., RunOptions]


@pytest.fixture
def ask(pytester: pytest.Pytester) -> Ask:
    """Read the options of a run with some arguments, and some lines in its ini file."""

    def options_of(*args: str, ini: str = "") -> RunOptions:
        pytester.makeini(f"{INI}{ini}\n")
        return read(pytester.parseconfig(*args))

    return options_of


def setting(options: RunOptions, name: str) -> object:
    """Return the value of a setting by the name it has in the ini file, without its prefix."""
    names = {"missing_cassette": "missing", "sandbox_seed": "seed", "sandbox_interval": "interval"}
    return options.client[name] if name in options.client else getattr(options, names.get(name, name))


def test_nothing_asked_is_a_recorded_run_with_every_default(ask, pytester):
    assert ask() == RunOptions(
        mode="recorded",
        record=None,
        cassette_dir=pytester.path / "cassettes",
        replay_timeout=5.0,
        missing="fail",
        allow_uvloop=False,
        seed=7,
        interval=0.05,
        client=DEFAULTS,
        pace=0.0,
        clock="real",
    )


# --- Modes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "mode"), [([], "recorded"), (["--connex-sandbox"], "sandbox"), (["--connex-live"], "live")]
)
def test_a_switch_says_where_traffic_goes(ask, args, mode):
    assert ask(*args).mode == mode


def test_traffic_goes_to_one_place(ask):
    with pytest.raises(pytest.UsageError) as caught:
        ask("--connex-live", "--connex-sandbox")
    assert str(caught.value) == "--connex-live and --connex-sandbox exclude each other: choose one"


@pytest.mark.parametrize("target", ["--connex-sandbox", "--connex-live"])
@pytest.mark.parametrize(
    ("option", "record"),
    [("--connex-record", "once"), ("--connex-record=once", "once"), ("--connex-record=rewrite", "rewrite")],
)
def test_recording_is_once_unless_asked_otherwise(ask, target, option, record):
    assert ask(target, option).record == record


@pytest.mark.parametrize("value", ["", "all", "ONCE", "none"])
def test_another_record_mode_is_refused(ask, value):
    with pytest.raises(pytest.UsageError) as caught:
        ask("--connex-sandbox", f"--connex-record={value}")
    assert f"ignored explicit argument {value!r}" in str(caught.value)


@pytest.mark.parametrize("option", ["--connex-record", "--connex-record=rewrite"])
def test_a_recorded_run_does_not_record(ask, option):
    with pytest.raises(pytest.UsageError) as caught:
        ask(option)
    assert str(caught.value) == ("--connex-record needs something to record: add --connex-sandbox or --connex-live")


def test_what_a_run_does_with_the_network_has_no_ini_form(ask):
    options = ask(ini="connex_sandbox = true\nconnex_live = true\nconnex_record = rewrite")
    assert (options.mode, options.record) == ("recorded", None)


# --- Values ----------------------------------------------------------------------------------------------

GOOD = [
    ("replay_timeout", "0.25", 0.25),
    ("replay_timeout", "1e3", 1000.0),
    ("timeout", "7", 7.0),
    ("ws_timeout", "0.001", 0.001),
    ("sandbox_interval", "2", 2.0),
    ("retry_delay", "0", 0.0),
    ("retry_delay", "1.5", 1.5),
    ("max_retries", "0", 0),
    ("max_retries", "12", 12),
    ("sandbox_seed", "0", 0),
    ("sandbox_seed", "-3", -3),
    ("pace", "instant", 0.0),
    ("pace", "recorded", 1.0),
    ("pace", "0.5", 0.5),
    ("clock", "real", "real"),
    ("clock", "virtual", "virtual"),
    ("missing_cassette", "fail", "fail"),
    ("missing_cassette", "skip", "skip"),
    *[("allow_uvloop", text, True) for text in ("true", "1", "yes", "on", "TRUE", "Yes")],
    *[("allow_plaintext", text, False) for text in ("false", "0", "no", "off", "False", "OFF")],
]


@pytest.mark.parametrize(("name", "text", "expected"), GOOD)
def test_a_value_of_the_command_line_is_read(ask, name, text, expected):
    found = setting(ask(f"--connex-{name.replace('_', '-')}={text}"), name)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(("name", "text", "expected"), GOOD)
def test_a_value_of_the_ini_is_read(ask, name, text, expected):
    found = setting(ask(ini=f"connex_{name} = {text}"), name)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("name", "line", "ini", "expected"),
    [
        ("missing_cassette", "fail", "skip", "fail"),
        ("sandbox_seed", "1", "2", 1),
        ("allow_plaintext", "false", "true", False),
        ("retry_delay", "0", "3", 0.0),
    ],
)
def test_the_command_line_wins(ask, name, line, ini, expected):
    options = ask(f"--connex-{name.replace('_', '-')}={line}", ini=f"connex_{name} = {ini}")
    assert setting(options, name) == expected


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("replay_timeout", "inf", "a number of seconds above zero"),
        ("replay_timeout", "", "a number of seconds above zero"),
        ("timeout", "1e999", "a number of seconds above zero"),
        ("ws_timeout", "-0.0", "a number of seconds above zero"),
        ("sandbox_interval", "0.05s", "a number of seconds above zero"),
        ("retry_delay", "inf", "a number of seconds, zero or more"),
        ("retry_delay", "soon", "a number of seconds, zero or more"),
        ("retry_delay", "nan", "a number of seconds, zero or more"),
        ("max_retries", "-1", "a whole number, zero or more"),
        ("max_retries", "3.0", "a whole number, zero or more"),
        ("max_retries", "", "a whole number, zero or more"),
        ("sandbox_seed", "7.5", "a whole number"),
        ("sandbox_seed", "", "a whole number"),
        *[
            (
                "pace",
                text,
                "instant, recorded, or a number, zero or more, that recorded intervals are multiplied with",
            )
            for text in ("", "fast", "-1", "inf", "nan")
        ],
        ("clock", "Virtual", "real or virtual"),
        ("clock", "", "real or virtual"),
        ("missing_cassette", "Skip", "fail or skip"),
        ("missing_cassette", "", "fail or skip"),
        ("allow_uvloop", "2", "true or false, on the command line with the equals sign"),
        ("allow_plaintext", "", "true or false, on the command line with the equals sign"),
        ("cassette_dir", "", "a folder"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_with_what_it_must_be(ask, name, text, expected):
    option = f"--connex-{name.replace('_', '-')}"
    with pytest.raises(pytest.UsageError) as caught:
        ask(f"{option}={text}")
    assert str(caught.value) == f"{option} = {text!r}: expected {expected}"


def test_a_value_of_the_ini_that_cannot_be_used_is_named_by_its_setting(ask):
    with pytest.raises(pytest.UsageError, match=re.escape("connex_cassette_dir = '': expected a folder")):
        ask(ini="connex_cassette_dir =")


def test_an_ini_value_that_the_command_line_replaces_need_not_be_usable(ask):
    assert ask("--connex-timeout=7", ini="connex_timeout = soon").client["timeout"] == 7.0


# --- The folder of the recordings ------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["tapes", "deep/er/tapes"])
def test_the_folder_of_the_recordings_is_below_the_rootdir(ask, pytester, text):
    assert ask(f"--connex-cassette-dir={text}").cassette_dir == pytester.path / text


def test_an_absolute_folder_of_the_recordings_stays_where_it_is(ask, tmp_path):
    assert ask(f"--connex-cassette-dir={tmp_path / 'tapes'}").cassette_dir == tmp_path / "tapes"


def test_every_client_setting_is_one_of_the_configuration(ask):
    options = ask("--connex-timeout=1", "--connex-ws-timeout=2", "--connex-max-retries=4", "--connex-retry-delay=3")
    config = recorded_config(**options.client)
    assert (config.timeout, config.ws_timeout, config.max_retries, config.retry_delay) == (1.0, 2.0, 4, 3.0)
