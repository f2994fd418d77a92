"""The pytest plugin: options, markers and hooks. Engines are imported where a test needs them."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from . import __version__, hooks, options
from .config import mask_key, recorded_config
from .errors import CassetteError
from .network import UVLOOP_REFUSED, blocked
from .run import (
    LOOPBACK,
    OUTCOMES,
    REFUSAL,
    RUN,
    SESSION,
    UNUSED,
    Run,
    allowed_hosts,
    ask_for_secrets,
    configure_live,
    owns_sandbox,
    plan,
    prepare,
    refuse,
    refuse_short_secrets,
    runs_on_uvloop,
    uses_connex,
)
from .verdict import raise_verdict, task_noted

if TYPE_CHECKING:
    from .cassette.session import CassetteSession

_MARKERS = (
    "connex(strict=False): uses Connex in whatever mode the run has; strict forbids unread recorded messages",
    "connex_live: runs against the live gateway only",
    "connex_recorded: runs from its recording only",
    "connex_sandbox: runs against a sandbox of its own in every mode",
)
_ACTIVE: pytest.StashKey[CassetteSession | None] = pytest.StashKey()
_GUARD = pytest.StashKey[ExitStack]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare options and ini settings."""
    options.declare(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Add the hooks that other plugins may implement."""
    pluginmanager.add_hookspecs(hooks)


def pytest_configure(config: pytest.Config) -> None:
    """Read what the user asked, and refuse what cannot work."""
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)
    chosen = options.read(config)
    config.stash[RUN] = Run(chosen, configure_live(config, chosen))
    from . import fixtures, loops, unused
    from .report.terminal import TerminalSection

    config.pluginmanager.register(fixtures, "connex-fixtures")
    config.pluginmanager.register(loops, "connex-loops")
    config.pluginmanager.register(unused, "connex-unused")
    section = TerminalSection(config.rootpath, REFUSAL, lambda: config.stash.get(UNUSED, []))
    config.pluginmanager.register(section, "connex-terminal")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Learn which values are secret, and keep them out of reports and logs from now on."""
    _learn_secrets(session.config)


def pytest_report_header(config: pytest.Config) -> str:
    """Say where traffic goes."""
    run = config.stash[RUN]
    if run.options.mode == "sandbox":
        where = f"embedded sandbox, seed {run.options.seed}"
    else:
        shown = run.live if run.options.mode == "live" else recorded_config()
        where = f"REST {shown.rest_url or 'not set'}, WebSocket {shown.ws_url or 'not set'}, "
        where += f"key {mask_key(shown.api_key)}"
    record = f", recording ({run.options.record})" if run.options.record else ""
    return f"connex: {run.options.mode}{record}: {where}"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what cannot run in this mode, and stop a live run that lacks a variable."""
    _learn_secrets(config)  # again: by now every conftest.py has been read
    if refusal := prepare(items, config.stash[RUN]):
        refuse(config, items, refusal)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    """Open the recordings of a test before its first fixture; a verdict during setup is left to the call."""
    if not uses_connex(item):
        return (yield)
    from .cassette.session import CassetteSession

    run = item.config.stash[RUN]
    funcargs: dict[str, Any] = getattr(item, "funcargs", {})
    session = CassetteSession(
        plan(item, run, f"pytest-connex {__version__}"),
        lambda: (funcargs["connex_config"], funcargs["connex_dialect"]),
    )
    item.stash[SESSION] = session
    item.stash[OUTCOMES] = []
    item.config.stash[_ACTIVE] = session
    if run.options.mode == "recorded":
        guard = item.stash[_GUARD] = ExitStack()
        guard.enter_context(blocked(allowed_hosts(item), run.options.allow_uvloop))
    session.open()
    _mark(item, run, session)
    try:
        with session.ending:
            yield
    except CassetteError as exc:
        session.fail(exc)
    except BaseException as exc:
        if session.verdict is None or isinstance(exc, (KeyboardInterrupt, pytest.exit.Exception)):
            raise
    if session.plan.action == "replay" and not run.options.allow_uvloop and runs_on_uvloop(item):
        pytest.fail(UVLOOP_REFUSED, pytrace=False)
    return None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Let a verdict decide, whatever the test made of it."""
    __tracebackhide__ = True
    session = item.stash.get(SESSION, None)
    if session is None:
        return (yield)
    raise_verdict(item, session, None)
    try:
        with session.ending, task_noted(item, session):
            result = yield
    except (KeyboardInterrupt, pytest.exit.Exception):
        raise
    except BaseException as exc:
        raise_verdict(item, session, exc)
        raise
    raise_verdict(item, session, None)
    return result


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """When fixtures are gone, write what a passed test recorded, or fail it for what it left unused."""
    session = item.stash.get(SESSION, None)
    if session is None:
        return (yield)
    known = session.verdict
    try:
        with session.ending:
            yield
        session.close()
        if session.verdict is not None and session.verdict is not known:
            raise session.verdict
        outcomes = item.stash[OUTCOMES]
        if outcomes and all(outcomes):
            if error := session.unplayed():
                error.advise(session.plan.again)
                raise error
            session.commit()
    finally:
        session.close()
        session.discard()
        item.config.stash[_ACTIVE] = None
        if _GUARD in item.stash:
            item.stash[_GUARD].close()
    return None


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Throw away what a test was recording when the run was interrupted."""
    if active := session.config.stash.get(_ACTIVE, None):
        active.discard()


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, Any, Any]:
    """Watch the VCR cassette of a Connex test for misses."""
    value = yield
    if fixturedef.argname == "vcr" and (session := request.config.stash.get(_ACTIVE, None)) and session.http:
        session.http.attach(value)
    return value


@pytest.hookimpl(optionalhook=True)
def pytest_recording_configure(config: pytest.Config, vcr: Any) -> None:
    """Give VCR our persister and matchers."""
    session = config.stash.get(_ACTIVE, None)
    if session is not None and session.http is not None:
        session.http.configure(vcr)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember whether a test passed, and attach what the terminal section counts."""
    report = yield
    session = item.stash.get(SESSION, None)
    if session is not None:
        if report.when == "call":
            item.stash[OUTCOMES].append(report.passed)  # a subtest reports too, before its test does
        account = vars(session.account)
        report.connex = {"mode": item.config.stash[RUN].options.mode, **account}  # type: ignore[attr-defined]
    return report


def _learn_secrets(config: pytest.Config) -> None:
    run = config.stash[RUN]
    run.extra = ask_for_secrets(config)
    known = run.secrets()
    if run.options.record:
        refuse_short_secrets(known)
    if not known and run.options.mode == "recorded":
        return
    if run.masking is None:
        from .protocol import Dialect
        from .report.masking import Masking

        run.masking = Masking(Dialect.secret_fields)
        run.masking.install()
        config.pluginmanager.register(run.masking, "connex-masking")
    run.masking.hide(*known)


def _mark(item: pytest.Item, run: Run, session: CassetteSession) -> None:
    """Give a test the markers that pytest-recording acts on; its own ``block_network`` counts."""
    if session.http is not None:
        item.add_marker(pytest.mark.vcr(**session.http.options()), append=False)
        item.add_marker(pytest.mark.default_cassette("connex"), append=False)
    sandboxed = owns_sandbox(item) or run.options.mode == "sandbox"
    wanted = run.options.mode == "recorded" or (sandboxed and item.config.getoption("--block-network", False))
    if wanted and item.get_closest_marker("block_network") is None:
        hosts = {"allowed_hosts": list(LOOPBACK)} if sandboxed else {}
        item.add_marker(pytest.mark.block_network(**hosts), append=False)
