"""Which switches the person at the keyboard typed, as against what files and code of the project added.

Going live and recording are decisions of that person. What counts as typed: the command line, ``-o addopts=...`` on
it, and ``PYTEST_ADDOPTS`` in the environment.
"""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest

REPLACE_LIVE = "replace-live"
RECORD_MODES = ("once", "rewrite", REPLACE_LIVE)

ADDED = pytest.StashKey[list[str]]()
"""The switches of a run that are in the ``addopts`` of a file and were not typed."""


class _RecordMode(argparse.Action):
    """Takes its value behind an equals sign only: what follows ``--connex-record`` is a test path."""

    def __init__(self, option_strings: Sequence[str], dest: str, **settings: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **settings)

    def __call__(
        self, parser: object, namespace: argparse.Namespace, values: object, option_string: str | None = None
    ) -> None:
        setattr(namespace, self.dest, (option_string or "").partition("=")[2] or RECORD_MODES[0])


def declare(add: Callable[..., object]) -> None:
    """Declare the switches that only a person gives.

    Args:
        add: ``add_argument`` of :mod:`argparse`, or what pytest has in its place.
    """
    add("--connex-live", action="store_true", help="send traffic to CONNEX_REST_URL and CONNEX_WS_URL")
    add(
        "--connex-record",
        *(f"--connex-record={mode}" for mode in RECORD_MODES),
        action=_RecordMode,
        dest="connex_record",
        help="with --connex-live or --connex-sandbox: write recordings, missing ones (once) or all (rewrite); the "
        "sandbox replaces what is from live with replace-live only",
    )


def added_by_files(config: pytest.Config, args: Iterable[str]) -> list[str]:
    """Return the switches that are among the arguments of a run without having been typed.

    Args:
        config: The configuration of the run, before any ``conftest.py`` is read.
        args: All arguments of the run, as :func:`pytest.hookspec.pytest_load_initial_conftests` has them. A process
            that took over the options of another, such as a worker of pytest-xdist, has none of them there.
    """
    if not switches(config.known_args_namespace):
        return []
    typed = _typed(os.environ.get("PYTEST_ADDOPTS", ""), map(os.fspath, config.invocation_params.args))
    return [switch for switch in switches(_parsed(args)) if switch not in switches(typed)]


def refuse_what_was_not_typed(config: pytest.Config) -> None:
    """Refuse a run that a file, or code of the project, has sent live or made record.

    Raises:
        pytest.UsageError: With the line to type instead.
    """
    if added := config.stash.get(ADDED, []):
        file = config.inipath
        where = f" of {os.path.relpath(file, config.invocation_params.dir)}" if file is not None else ""
        raise pytest.UsageError(_refusal(config, added, f"in addopts{where}", "take it out of there"))
    parsed = switches(config.known_args_namespace)
    if by_code := [switch for switch in switches(config.option) if switch not in parsed]:
        raise pytest.UsageError(_refusal(config, by_code, "set by code of a conftest.py or a plugin", "remove that"))


def switches(options: argparse.Namespace) -> list[str]:
    """Return those of the switches that are set, as they are typed."""
    live = ["--connex-live"] if options.connex_live else []
    return live if options.connex_record is None else [*live, f"--connex-record={options.connex_record}"]


def _refusal(config: pytest.Config, found: list[str], where: str, remedy: str) -> str:
    effective = switches(config.option)
    mode = [] if "--connex-live" in effective else ["--connex-sandbox"]
    command = " ".join(["pytest", *mode, *effective])
    what = f"{' and '.join(found)} {'is' if len(found) == 1 else 'are'} {where}"
    return f"{what}, and only a person goes live or records: {remedy}, and type: {command}"


def _typed(environment: str, args: Iterable[str]) -> argparse.Namespace:
    given = [*shlex.split(environment), *args]
    overrides = [text.partition("=") for text in _parsed(given).override_ini]
    addopts = [value for name, _, value in overrides if name == "addopts"]
    return _parsed([*shlex.split(addopts[-1] if addopts else ""), *given])


def _parsed(args: Iterable[str]) -> argparse.Namespace:
    """Parse as pytest does, which also reads arguments from a file named as ``@FILE``."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, fromfile_prefix_chars="@")
    declare(parser.add_argument)
    parser.add_argument("-o", "--override-ini", action="append", default=[])
    return parser.parse_known_args(list(args))[0]
