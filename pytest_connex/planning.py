"""What a run wants of one test's recordings: where they are, and whether they are played, made or left alone."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from .cassette.session import Action, Plan
from .marker import wishes
from .options import RunOptions
from .requirements import known_secrets
from .run import Run, owns_sandbox
from .typed import REPLACE_LIVE
from .verifying import aside

_NAME_LIMIT = 120


def plan(item: pytest.Item, run: Run, generator: str) -> Plan:
    """Return what the run wants of the recordings of a test."""
    options = run.options
    asked = wishes(item, options)
    stem = recording_stem(item, options)
    sources = _sources(stem)
    made = Plan(
        action="pass",
        test=item.nodeid,
        stem=stem,
        source=options.mode,
        generator=generator,
        replay_timeout=options.replay_timeout,
        again=_recording_command(item, options, set(sources.values())),
        secrets=known_secrets(run),
        max_age=options.max_age,
        stale=options.stale,
        strict=asked.strict,
        pace=asked.pace,
        volatile=asked.volatile,
        scripted_http="connex_respx" in getattr(item, "fixturenames", ()),
        without_recording=options.without_recording,
    )
    found = action(item, run, made.exists())
    if found == "record" and (kept := _kept(sources, options)):
        return replace(made, kept=kept)
    if options.verify and found == "pass" and made.exists() and not owns_sandbox(item):
        return aside(made)
    return replace(made, action=found)


def action(item: pytest.Item, run: Run, plan_exists: bool) -> Action:
    """Return what the run does with the recordings of a test."""
    if owns_sandbox(item):
        return "pass"
    if run.options.mode == "recorded":
        return "replay"
    once = run.options.record == "once"
    return "record" if run.options.record is not None and not (once and plan_exists) else "pass"


def recording_stem(item: pytest.Item, options: RunOptions) -> Path:
    """Return where the recordings of a test are, without their suffixes."""
    return options.cassette_dir / _module_folder(item) / _file_name(item)


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
    from .cassette.library import HTTP_SUFFIX, WEBSOCKET_SUFFIX, source_of

    paths = (stem.with_name(stem.name + suffix) for suffix in (WEBSOCKET_SUFFIX, HTTP_SUFFIX))
    return {path: source_of(path) for path in paths if path.exists()}


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


def _module_folder(item: pytest.Item) -> Path:
    path = item.path.with_suffix("")
    root = item.config.rootpath
    if path.is_relative_to(root):
        return path.relative_to(root)
    return Path(f"{path.name}-{_digest(os.path.relpath(path, root))}")


def _file_name(item: pytest.Item) -> str:
    owner = getattr(item, "cls", None)
    name = f"{owner.__qualname__}.{item.name}" if owner else item.name
    safe = re.sub(r"[^A-Za-z0-9._=+,@\[\]-]", "-", name)[:_NAME_LIMIT]
    if safe == name:
        return name
    return f"{safe}-{_digest(name)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
