"""The plugin: everything that knows pytest, and nothing else does.

Options, markers, hooks, fixtures; what happens before, around and after a test. This module is the entry point. Every
run reads it, so it imports little; the rest is imported when a test that uses Connex is collected.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

from ..cassette.places import UNUSED_OPTION
from . import fixtures, hooks, late, options, typed
from .report.terminal import TerminalSection
from .run import REFUSAL, RUN, UNUSED, UNUSED_KEY, Run, uses_connex

_MARKERS = (
    "connex(strict, pace, clock, volatile, tls): uses Connex in the mode of the run; the README has the arguments",
    "connex_live: runs against the live gateway only",
    "connex_recorded: runs from its recording only",
    "connex_sandbox: runs against a sandbox of its own in every mode",
)
_CREDENTIALS = ("CONNEX_API_KEY", "CONNEX_API_SECRET")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare options and ini settings."""
    options.declare(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Add the hooks that other plugins may implement."""
    pluginmanager.add_hookspecs(hooks)


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> Generator[None]:
    """Note what files ask; keep the environment out of the error of a conftest.py, which pytest shows before all."""
    early_config.stash[typed.ADDED] = typed.added_by_files(early_config, args)
    try:
        return (yield)
    except Exception as exc:
        if any(map(os.environ.get, _CREDENTIALS)):
            from .report.masking import hide_in_error

            hide_in_error(exc, *map(os.environ.get, _CREDENTIALS))
        raise


def pytest_configure(config: pytest.Config) -> None:
    """Read what the user asked, and refuse what cannot work."""
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)
    run = config.stash[RUN] = Run(options.read(config))
    if run.options.mode == "live":
        from .requirements import configure_live, origins

        run.live = configure_live(config, run.options)
        run.origins = origins(config)
    config.pluginmanager.register(fixtures, "connex-fixtures")
    config.pluginmanager.register(late, "connex-late")
    section = TerminalSection(config.rootpath, REFUSAL, UNUSED_KEY, lambda: config.stash.get(UNUSED, []))
    config.pluginmanager.register(section, "connex-terminal")
    if run.options.verify:
        from .report.drift import DriftReport

        config.pluginmanager.register(DriftReport(run.options.mode, run.options.verify_report), "connex-drift")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Keep secrets out of reports and logs from now on, if there are any yet."""
    config = session.config
    known = any(os.environ.get(name) for name in _CREDENTIALS) or config.hook.pytest_connex_secrets.get_hookimpls()
    if known or config.stash[RUN].options.mode != "recorded":
        from .requirements import learn_secrets

        learn_secrets(config)


def pytest_report_header(config: pytest.Config) -> str:
    """Say where traffic goes."""
    run = config.stash[RUN]
    record = f", recording ({run.options.record})" if run.options.record else ""
    return f"connex: {run.options.mode}{record}: {_whereabouts(run)}"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> Generator[None]:
    """Collect a test that asks for a virtual clock with that clock."""
    if not uses_connex(metafunc.definition):
        return (yield)
    from .loops import clock_offered

    with clock_offered(metafunc):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None]:
    """Skip what cannot run in this mode, and stop a live run that lacks a variable."""
    if not any(map(uses_connex, items)) and not config.getoption(UNUSED_OPTION):
        return (yield)
    from . import lifecycle, loops, recording, requirements, unused

    requirements.refuse_threads(config)
    unused.find(config, items)
    loops.skip_impossible(items)
    config.pluginmanager.register(lifecycle, "connex-lifecycle")
    config.pluginmanager.register(recording, "connex-recording")
    yield
    requirements.learn_secrets(config)  # again: by now every conftest.py has been read
    if refusal := requirements.prepare(items, config.stash[RUN]):
        requirements.refuse(config, items, refusal)
    return None


def _whereabouts(run: Run) -> str:
    if run.options.mode == "sandbox":
        return f"embedded sandbox, seed {run.options.seed}"
    from ..config import API_KEY, API_SECRET, REST_URL, WS_URL, mask_key, recorded_config

    if run.live is None:
        shown = recorded_config()
        return f"REST {shown.rest_url}, WebSocket {shown.ws_url}, key {mask_key(shown.api_key)}"
    values = {
        "REST": (REST_URL, run.live.rest_url or "not set"),
        "WebSocket": (WS_URL, run.live.ws_url or "not set"),
        "key": (API_KEY, mask_key(run.live.api_key)),
        "secret": (API_SECRET, "" if run.live.api_secret else "not set"),
    }
    told = ([what, value, run.origins.get(name, "")] for what, (name, value) in values.items())
    return ", ".join(" ".join(filter(None, words)) for words in told)
