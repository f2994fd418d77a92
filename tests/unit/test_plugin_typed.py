"""Which switches were typed, and how they are read."""

from __future__ import annotations

import argparse

import pytest

from pytest_connex.plugin.typed import added_by_files, declare, switches

INI = "[pytest]\nasyncio_default_fixture_loop_scope = function\n"


def parse(*args: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    declare(parser.add_argument)
    parser.add_argument("paths", nargs="*")
    return parser.parse_args(args)


@pytest.mark.parametrize(
    ("args", "found"),
    [
        ([], []),
        (["--connex-live"], ["--connex-live"]),
        (["--connex-record"], ["--connex-record=once"]),
        (["--connex-record=rewrite", "--connex-live"], ["--connex-live", "--connex-record=rewrite"]),
        (["--connex-record=rewrite", "--connex-record=replace-live"], ["--connex-record=replace-live"]),
    ],
)
def test_switches_are_named_as_they_are_typed(args, found):
    assert switches(parse(*args)) == found


def test_the_record_switch_leaves_a_path_alone():
    options = parse("--connex-record", "tests/test_x.py")
    assert (options.connex_record, options.paths) == ("once", ["tests/test_x.py"])


def test_an_unknown_mode_is_refused_with_the_known_ones(capsys):
    with pytest.raises(SystemExit):
        parse("--connex-record=all")
    assert (
        "argument --connex-record/--connex-record=once/--connex-record=rewrite/--connex-record=replace-live: "
        "ignored explicit argument 'all'" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("environment", "typed", "args", "added"),
    [
        ("", ["--connex-live"], ["--connex-live"], []),
        ("", [], ["-v", "--connex-live"], ["--connex-live"]),
        ("--connex-live", [], ["--connex-live"], []),
        ("", ["--connex-live"], ["--connex-record=rewrite", "--connex-live"], ["--connex-record=rewrite"]),
        ("", ["-o", "addopts=--connex-live"], ["--connex-live", "-o", "addopts=--connex-live"], []),
        ("", ["-oaddopts=--connex-live"], ["--connex-live", "-oaddopts=--connex-live"], []),
        ("-o addopts=--connex-live", [], ["--connex-live", "-o", "addopts=--connex-live"], []),
        ("", ["-o", "other=--connex-live"], ["--connex-live", "-o", "other=--connex-live"], ["--connex-live"]),
    ],
)
def test_what_was_not_typed_was_added(pytester, monkeypatch, environment, typed, args, added):
    pytester.makeini(INI)
    config = pytester.parseconfig(*typed)
    config.known_args_namespace.connex_live = True
    monkeypatch.setenv("PYTEST_ADDOPTS", environment)
    assert added_by_files(config, args) == added


def test_a_process_that_took_over_options_has_nothing_added(pytester):
    pytester.makeini(INI)
    config = pytester.parseconfig("test_x.py")
    config.known_args_namespace.connex_live = True
    assert added_by_files(config, ["test_x.py"]) == []
