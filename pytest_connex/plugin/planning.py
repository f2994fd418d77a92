"""What a run wants of one test's recordings: where they are, and whether they are played, made or left alone."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from .. import GENERATOR
from ..cassette.places import digest, file_name, files_at, fixture_name
from ..cassette.session import Action, Plan
from .marker import wishes
from .options import RunOptions
from .requirements import known_secrets
from .run import UNUSED, Run, owns_sandbox
from .typed import REPLACE_LIVE
from .verifying import aside

_CONFIGURATIONS = ("pytest.toml", "pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg", "setup.py")
"""Files by which pytest finds a rootdir."""


def plan(item: pytest.Item, run: Run) -> Plan:
    """Return what the run wants of the recordings of a test."""
    stem = recording_stem(item, run.options)
    made = _planned(item, run, stem)
    found = action(item, run, made.exists())
    if found == "record" and (kept := _kept(_sources(stem), run.options)):
        return replace(made, kept=kept)
    if run.options.verify and found == "pass" and made.exists() and not owns_sandbox(item):
        return aside(made)
    return replace(made, action=found)


def _planned(item: pytest.Item, run: Run, stem: Path) -> Plan:
    """Return what is the same whatever becomes of the recordings at ``stem``."""
    options = run.options
    asked = wishes(item, options)
    return Plan(
        action="pass",
        test=item.nodeid,
        stem=stem,
        source=options.mode,
        generator=GENERATOR,
        replay_timeout=options.replay_timeout,
        again=_recording_command(item, options, set(_sources(stem).values())),
        renaming=_renaming(item, stem, options),
        secrets=known_secrets(run),
        max_age=options.max_age,
        stale=options.stale,
        strict=asked.strict,
        pace=asked.pace,
        volatile=asked.volatile,
        match_headers=asked.match_headers,
    )


def plan_shared(
    item: pytest.Item, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest, run: Run
) -> Plan:
    """Return what the run wants of the recordings of a fixture that several tests share.

    Args:
        item: The test that it is set up for.
        fixturedef: The fixture.
        request: What it is given.
        run: The run.
    """
    stem = shared_stem(item, fixturedef, request, run.options)
    made = replace(
        _planned(item, run, stem),
        test=f"{fixturedef.baseid or '.'}::{fixturedef.argname}",
        renaming="",
    )
    found = action(item, run, made.exists())
    if found == "record" and (kept := _kept(_sources(stem), run.options)):
        return replace(made, kept=kept)
    return replace(made, action=found)


def shared_stem(
    item: pytest.Item, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest, options: RunOptions
) -> Path:
    """Return where the recordings of a shared fixture are, without their suffixes: ``@`` and its name.

    That is with those of the tests of its class or module, or in the folder of its package or of the project.
    """
    module = usual_stem(item, options).parent
    owner = getattr(item, "cls", None) if fixturedef.scope == "class" else None
    name = fixture_name(fixturedef.argname, owner.__qualname__ if owner else "", _parameter(request))
    folder = {"class": module, "module": module, "package": module.parent}.get(fixturedef.scope, options.cassette_dir)
    return folder / file_name(name)


def _parameter(request: pytest.FixtureRequest) -> str:
    value = getattr(request, "param", None)
    if value is None:
        return ""
    return str(value if isinstance(value, (str, int, float, bool)) else getattr(request, "param_index", 0))


def action(item: pytest.Item, run: Run, plan_exists: bool) -> Action:
    """Return what the run does with the recordings of a test."""
    if owns_sandbox(item):
        return "pass"
    if run.options.mode == "recorded":
        return "replay"
    once = run.options.record == "once"
    return "record" if run.options.record is not None and not (once and plan_exists) else "pass"


def recording_stem(item: pytest.Item, options: RunOptions) -> Path:
    """Return where the recordings of a test are, or will be, without their suffixes.

    That is below the rootdir. Where nothing is there, a run with another rootdir may have made them: then they are
    where they are when a folder above the test's module is the rootdir, the closest first.
    """
    usual = usual_stem(item, options)
    if files_at(usual):
        return usual
    others = (_stem_below(root, item, options) for root in item.path.parents)
    return next((stem for stem in others if stem is not None and files_at(stem)), usual)


def usual_stem(item: pytest.Item, options: RunOptions) -> Path:
    """Return where the recordings of a test are as long as the rootdir stays what it is.

    A module outside of the rootdir has its own project: the closest folder above it with a configuration.
    """
    rootdir = item.config.rootpath
    if item.path.is_relative_to(rootdir):
        return options.cassette_dir / item.path.with_suffix("").relative_to(rootdir) / _file_name(item)
    own = next((root for root in item.path.parents if _is_project(root)), item.path.parent)
    return _stem_below(own, item, options) or options.cassette_dir / _distinct_folder(item) / _file_name(item)


def allowed_hosts(item: pytest.Item) -> tuple[str, ...]:
    """Return the hosts that a test's own ``block_network`` marker allows, as regular expressions."""
    marker = item.get_closest_marker("block_network")
    return tuple(marker.kwargs.get("allowed_hosts") or ()) if marker else ()


def runs_on_uvloop(item: pytest.Item) -> bool:
    """Tell whether a test's event loop comes from uvloop, which goes around the network block."""
    if "uvloop" not in sys.modules:
        return False
    callspec = getattr(item, "callspec", None)
    values = [*getattr(item, "funcargs", {}).values(), *(callspec.params.values() if callspec else ())]
    return any(_module_of(value).partition(".")[0] == "uvloop" for value in values)


def _sources(stem: Path) -> dict[Path, str]:
    """Return what each recording of a test was made from; empty where it does not say."""
    from ..cassette.library import source_of

    return {path: source_of(path) for path in files_at(stem)}


def _kept(sources: dict[Path, str], options: RunOptions) -> dict[Path, str]:
    """Return those recordings that are not from the sandbox, where it would replace them unasked."""
    if options.mode != "sandbox" or options.record == REPLACE_LIVE:
        return {}
    return {path: source for path, source in sources.items() if source not in ("", "sandbox")}


def _recording_command(item: pytest.Item, options: RunOptions, sources: set[str]) -> str:
    """Return the command, for the folder that pytest was started in, that records a test where it was recorded.

    Args:
        item: The test.
        options: What the user asked; a run that records is to be repeated as it is.
        sources: What its recordings say they were made from.
    """
    config = item.config
    name = item.nodeid.partition("::")[2]
    place = f"{os.path.relpath(item.path, config.invocation_params.dir)}::{name}"
    given = config.getoption("--connex-cassette-dir", None)
    folder = f" --connex-cassette-dir={shlex.quote(str(given))}" if given is not None else ""
    known = {options.mode} if options.record else sources - {""}
    switch = "--connex-live" if known - {"sandbox"} else "--connex-sandbox"
    how = REPLACE_LIVE if options.record == REPLACE_LIVE else "rewrite"
    other = "" if known else " (or --connex-live)"
    first = "take off its marker connex_recorded and " if item.get_closest_marker("connex_recorded") else ""
    return f"{first}record it: pytest {switch} --connex-record={how}{folder} {shlex.quote(place)}{other}"


def _module_of(value: object) -> str:
    return str(getattr(value, "__module__", None) or type(value).__module__)


def _stem_below(root: Path, item: pytest.Item, options: RunOptions) -> Path | None:
    """Return the place of a test's recordings where ``root`` is the rootdir; None where all share one folder."""
    rootdir, folder = item.config.rootpath, options.cassette_dir
    if not folder.is_relative_to(rootdir):
        return None
    return root / folder.relative_to(rootdir) / item.path.with_suffix("").relative_to(root) / _file_name(item)


def _is_project(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _CONFIGURATIONS)


def _distinct_folder(item: pytest.Item) -> str:
    """Return the folder of a module that the rootdir cannot name."""
    return f"{item.path.stem}-{digest(os.path.relpath(item.path.with_suffix(''), item.config.rootpath))}"


def _file_name(item: pytest.Item) -> str:
    owner = getattr(item, "cls", None)
    return file_name(f"{owner.__qualname__}.{item.name}" if owner else item.name)


def _renaming(item: pytest.Item, stem: Path, options: RunOptions) -> str:
    """Return a hint for a test without recordings, where a recording without a test may be its own."""
    unused = item.config.stash.get(UNUSED, [])
    if not unused or files_at(stem):
        return ""
    from ..cassette.library import rename_hint

    return rename_hint(stem, unused, options.cassette_dir)
