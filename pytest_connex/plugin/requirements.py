"""What a run needs before its first test: variables, and values that must stay secret."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from ..config import (
    API_KEY,
    API_SECRET,
    MIN_SECRET,
    REST_URL,
    VARIABLES,
    WS_URL,
    ConnexConfig,
    live_config,
    read_environment,
    variable_origins,
)
from ..errors import ConfigError
from .options import RunOptions
from .run import REFUSAL, RUN, Run, owns_sandbox, skip_reason, uses_connex

_REST_FIXTURES = frozenset({"connex_rest", "connex_rest_async", "connex_respx"})
_WS_FIXTURES = frozenset({"connex_ws", "connex_ws_connect", "connex_connect", "connex_connect_sync"})


_THREADS = {"--tests-per-worker": "pytest-parallel", "--parallel-threads": "pytest-run-parallel"}
"""Options for the number of threads in which tests run."""


def configure_live(config: pytest.Config, options: RunOptions) -> ConnexConfig | None:
    """Return what the environment and ``.env`` say of the gateway; None for a run that is not live.

    Raises:
        pytest.UsageError: Nothing is set, or something cannot be used.
    """
    if options.mode != "live":
        return None
    try:
        environment = read_environment(_dotenv(config))
        if not environment:
            raise pytest.UsageError(
                f"--connex-live: nothing is configured. Set {', '.join(VARIABLES)}, in the environment or in .env"
            )
        return live_config(environment, **options.client)
    except ConfigError as exc:
        raise pytest.UsageError(f"--connex-live: {exc}") from exc


def origins(config: pytest.Config) -> dict[str, str]:
    """Return where each variable of a live run came from, as words."""
    return variable_origins(_dotenv(config))


def _dotenv(config: pytest.Config) -> Path:
    return config.rootpath / ".env"


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
        wanted = ["connex_dialect", "connex_sandbox" if owns_sandbox(item) else "connex_config"]
        if run.options.mode == "sandbox" and not owns_sandbox(item):
            wanted.append("_connex_spoken")
        if run.proxied:
            wanted.append("_connex_visit")
        names[:] = [*wanted, *(name for name in names if name not in wanted)]
    if run.live is None:
        return None
    missing = run.live.missing(*required, *run.live.half_credentials())
    if not missing:
        return None
    return (
        f"--connex-live: {', '.join(missing)} not set, in the environment or in .env; "
        "set them, or deselect the tests that need them"
    )


def needs(item: pytest.Item) -> set[str]:
    """Return the variables a live run of the test needs."""
    if owns_sandbox(item) or not uses_connex(item):
        return set()
    names = set(getattr(item, "fixturenames", []))
    found: set[str] = set()
    if names & _REST_FIXTURES:
        found |= {REST_URL, API_KEY, API_SECRET}
    if "connex_proxy" in names:
        found |= {REST_URL, WS_URL}
    if names & _WS_FIXTURES:
        found.add(WS_URL)
    return found or {REST_URL, WS_URL}


def refuse_threads(config: pytest.Config) -> None:
    """Refuse tests in several threads of one process, which would share the network block and each other's answers.

    Raises:
        pytest.UsageError: A plugin was asked for that.
    """
    for option, plugin in _THREADS.items():
        wanted = config.getoption(option, None) or "1"
        if str(wanted) != "1":
            raise pytest.UsageError(
                f"{option}={wanted} of {plugin} runs tests in threads of one process, where Connex tests would get "
                "each other's recordings: drop it, and spread tests over processes with -n auto of pytest-xdist"
            )


def refuse(config: pytest.Config, items: list[pytest.Item], message: str) -> None:
    """Stop the run before its first test; a worker of a distributed run leaves it to the controller."""
    output: dict[str, Any] | None = getattr(config, "workeroutput", None)
    if output is None:
        raise pytest.UsageError(message)
    output[REFUSAL] = message
    items.clear()


def ask_for_secrets(config: pytest.Config) -> tuple[str, ...]:
    """Return what the hook ``pytest_connex_secrets`` gives, as far as its implementations are known by now.

    Raises:
        pytest.UsageError: One of them gives something else than strings.
    """
    found: list[str] = []
    for values in config.hook.pytest_connex_secrets(config=config):
        listed = isinstance(values, Iterable) and not isinstance(values, str)
        if not listed or not all(value is None or isinstance(value, str) for value in values):
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


def known_secrets(run: Run) -> tuple[str, ...]:
    """Return every value that must not be written or shown, besides those of a test's own configuration.

    The environment's credentials are among them in every mode: code under test may read them itself.
    """
    environment = read_environment()
    live = (run.live.api_key, run.live.api_secret) if run.live else ()
    known = (*live, environment.get(API_KEY), environment.get(API_SECRET), *run.extra)
    return tuple(dict.fromkeys(filter(None, known)))


def learn_secrets(config: pytest.Config) -> None:
    """Keep the values that are known to be secret by now out of reports and logs.

    Raises:
        pytest.UsageError: The run is to record, and one of them is too short to be kept out of recordings.
    """
    run = config.stash[RUN]
    run.extra = ask_for_secrets(config)
    known = known_secrets(run)
    if run.options.record:
        refuse_short_secrets(known)
    if not known and run.options.mode == "recorded":
        return
    if run.masking is None:
        from ..protocol import Dialect
        from .report.masking import Masking

        run.masking = Masking(Dialect.secret_fields)
        run.masking.install()
        config.pluginmanager.register(run.masking, "connex-masking")
    run.masking.hide(*known)
