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
from .verifying import aside

_NAME_LIMIT = 120


def plan(item: pytest.Item, run: Run, generator: str) -> Plan:
    """Return what the run wants of the recordings of a test."""
    options = run.options
    asked = wishes(item, options)
    made = Plan(
        action="pass",
        test=item.nodeid,
        stem=recording_stem(item, options),
        source=options.mode,
        generator=generator,
        replay_timeout=options.replay_timeout,
        again=_recording_command(item, options),
        secrets=known_secrets(run),
        max_age=options.max_age,
        stale=options.stale,
        strict=asked.strict,
        pace=asked.pace,
        volatile=asked.volatile,
        scripted_http="connex_respx" in getattr(item, "fixturenames", ()),
    )
    found = action(item, run, made.exists())
    if options.verify and found == "pass" and made.exists() and not owns_sandbox(item):
        return aside(made)
    return replace(made, action=found)


def action(item: pytest.Item, run: Run, plan_exists: bool) -> Action:
    """Return what the run does with the recordings of a test."""
    if owns_sandbox(item):
        return "pass"
    if run.options.mode == "recorded":
        return "replay"
    if run.options.record == "rewrite" or (run.options.record == "once" and not plan_exists):
        return "record"
    return "pass"


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


def _recording_command(item: pytest.Item, options: RunOptions) -> str:
    """Return the command, for the folder that pytest was started in, that records a test."""
    config = item.config
    name = item.nodeid.partition("::")[2]
    place = f"{os.path.relpath(item.path, config.invocation_params.dir)}::{name}"
    given = config.getoption("--connex-cassette-dir", None)
    folder = f" --connex-cassette-dir={shlex.quote(str(given))}" if given is not None else ""
    return (
        f"record it: pytest --connex-sandbox --connex-record=rewrite{folder} {shlex.quote(place)} (or --connex-live)"
    )


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
