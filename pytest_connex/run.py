"""What the plugin knows of a run and of each test in it, and the rules that follow from the mode.

State is kept in stashes of pytest's own objects. Rules that can be decided from markers, fixture names and
options are here; hooks are in :mod:`pytest_connex.plugin`.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .config import (
    API_KEY,
    API_SECRET,
    MIN_SECRET,
    REST_URL,
    VARIABLES,
    WS_URL,
    ConnexConfig,
    live_config,
    read_environment,
)
from .errors import ConfigError
from .marker import wishes
from .options import RunOptions

if TYPE_CHECKING:
    from .cassette.session import Action, CassetteSession, Plan
    from .report.masking import Masking

MARKERS = ("connex", "connex_live", "connex_recorded", "connex_sandbox")
LOOPBACK = (r"127\.0\.0\.1\Z", r"::1\Z", r"localhost\Z")

REFUSAL = "connex_refusal"
"""Under this name a worker of a distributed run tells why the run cannot start."""

UNUSED = pytest.StashKey[list[Path]]()
"""The recordings that no collected test uses."""

_REST_FIXTURES = frozenset({"connex_rest", "connex_rest_async", "connex_respx"})
_WS_FIXTURES = frozenset({"connex_ws", "connex_ws_connect", "connex_connect", "connex_connect_sync"})
_NAME_LIMIT = 120


@dataclass
class Run:
    """One run: what the user asked, and what is known of Connex.

    Attributes:
        options: What the user asked.
        live: The configuration of a live run; empty otherwise.
        extra: Secret values that the hook ``pytest_connex_secrets`` gave.
        masking: Hides secrets in reports and logs, where there are any.
    """

    options: RunOptions
    live: ConnexConfig
    extra: tuple[str, ...] = field(default=(), repr=False)
    masking: Masking | None = field(default=None, repr=False)

    def secrets(self) -> tuple[str, ...]:
        """Return every value that must not be written or shown, besides those of a test's own configuration.

        The environment's credentials are among them in every mode: code under test may read them itself.
        """
        environment = read_environment()
        known = (self.live.api_key, self.live.api_secret, environment.get(API_KEY), environment.get(API_SECRET))
        return tuple(dict.fromkeys(filter(None, (*known, *self.extra))))


RUN = pytest.StashKey[Run]()
SESSION: pytest.StashKey[CassetteSession] = pytest.StashKey()
OUTCOMES = pytest.StashKey[list[bool]]()
"""Whether the call of a test, and each of its subtests, passed."""


def uses_connex(item: pytest.Item) -> bool:
    """Tell whether a test uses Connex: by marker, or by requesting a ``connex_*`` fixture."""
    names: list[str] = getattr(item, "fixturenames", [])
    return any(name.startswith("connex_") for name in names) or any(
        item.get_closest_marker(marker) for marker in MARKERS
    )


def owns_sandbox(item: pytest.Item) -> bool:
    """Tell whether a test has a sandbox of its own in every mode."""
    return bool(item.get_closest_marker("connex_sandbox")) or "connex_sandbox" in getattr(item, "fixturenames", [])


def skip_reason(item: pytest.Item, options: RunOptions) -> str | None:
    """Return why a test cannot run in this mode, with the switch that would run it."""
    if item.get_closest_marker("connex_live") and options.mode != "live":
        return "needs the live gateway: run with --connex-live"
    if item.get_closest_marker("connex_recorded") and (options.mode != "recorded"):
        return f"runs from its recording only: run without --connex-{options.mode}"
    return None


def needs(item: pytest.Item) -> set[str]:
    """Return the variables a live run of the test needs."""
    if owns_sandbox(item) or not uses_connex(item):
        return set()
    names = set(getattr(item, "fixturenames", []))
    found: set[str] = set()
    if names & _REST_FIXTURES:
        found |= {REST_URL, API_KEY, API_SECRET}
    if names & _WS_FIXTURES:
        found.add(WS_URL)
    return found or {REST_URL, WS_URL}


def configure_live(config: pytest.Config, options: RunOptions) -> ConnexConfig:
    """Return what the environment and ``.env`` say of the gateway; nothing for a run that is not live.

    Raises:
        pytest.UsageError: Nothing is set, or something cannot be used.
    """
    if options.mode != "live":
        return ConnexConfig()
    try:
        environment = read_environment(config.rootpath / ".env")
        if not environment:
            raise pytest.UsageError(
                f"--connex-live: nothing is configured. Set {', '.join(VARIABLES)}, in the environment or in .env"
            )
        return live_config(environment, **options.client)
    except ConfigError as exc:
        raise pytest.UsageError(f"--connex-live: {exc}") from exc


def prepare(items: list[pytest.Item], run: Run) -> str | None:
    """Skip what cannot run in this mode, and let the rest know its configuration before anything else.

    Returns:
        Why a live run cannot start: every variable that a test needs and that is not set.
    """
    required: set[str] = set()
    for item in filter(uses_connex, items):
        if reason := skip_reason(item, run.options):
            item.add_marker(pytest.mark.skip(reason=reason))
            continue
        required |= needs(item)
        names: list[str] = getattr(item, "fixturenames", [])
        wanted = ("connex_dialect", "connex_sandbox" if owns_sandbox(item) else "connex_config")
        names[:0] = [name for name in wanted if name not in names]
    if run.options.mode != "live":
        return None
    missing = run.live.missing(*required, *run.live.half_credentials())
    if not missing:
        return None
    return (
        f"--connex-live: {', '.join(missing)} not set, in the environment or in .env; "
        "set them, or deselect the tests that need them"
    )


def refuse(config: pytest.Config, items: list[pytest.Item], message: str) -> None:
    """Stop the run before its first test; a worker of a distributed run leaves it to the controller."""
    output: dict[str, Any] | None = getattr(config, "workeroutput", None)
    if output is None:
        raise pytest.UsageError(message)
    output[REFUSAL] = message
    items.clear()


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


def plan(item: pytest.Item, run: Run, generator: str) -> Plan:
    """Return what the run wants of the recordings of a test."""
    from .cassette.session import Plan

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
        secrets=run.secrets(),
        max_age=options.max_age,
        stale=options.stale,
        strict=asked.strict,
        pace=asked.pace,
        volatile=asked.volatile,
        scripted_http="connex_respx" in getattr(item, "fixturenames", ()),
    )
    return replace(made, action=action(item, run, made.exists()))


def ask_for_secrets(config: pytest.Config) -> tuple[str, ...]:
    """Return what the hook ``pytest_connex_secrets`` gives, as far as its implementations are known by now.

    Raises:
        pytest.UsageError: One of them gives something else than strings.
    """
    found: list[str] = []
    for values in config.hook.pytest_connex_secrets(config=config):
        if isinstance(values, str) or not all(value is None or isinstance(value, str) for value in values):
            raise pytest.UsageError("pytest_connex_secrets must return a list of strings; unset values may be None")
        found += filter(None, values)
    return tuple(dict.fromkeys(found))


def refuse_short_secrets(values: Iterable[str | None]) -> None:
    """Stop a recording run whose secrets are too short to be replaced without hitting innocent text."""
    if count := sum(len(value) < MIN_SECRET for value in values if value):
        raise pytest.UsageError(
            f"--connex-record: {count} secret value(s) have fewer than {MIN_SECRET} characters and cannot be kept "
            "out of recordings; record with longer ones"
        )


def runs_on_uvloop(item: pytest.Item) -> bool:
    """Tell whether a test's event loop comes from uvloop, which goes around the network block."""
    if "uvloop" not in sys.modules:
        return False
    callspec = getattr(item, "callspec", None)
    values = [*getattr(item, "funcargs", {}).values(), *(callspec.params.values() if callspec else ())]
    return any(_module_of(value).partition(".")[0] == "uvloop" for value in values)


def allowed_hosts(item: pytest.Item) -> tuple[str, ...]:
    """Return the hosts that a test's own ``block_network`` marker allows, as regular expressions."""
    marker = item.get_closest_marker("block_network")
    return tuple(marker.kwargs.get("allowed_hosts") or ()) if marker else ()


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
