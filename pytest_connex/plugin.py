"""The pytest plugin: options, markers and hooks. Engines are imported where a test needs them."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from . import __version__, hooks, options
from .config import API_KEY, API_SECRET, mask_key, read_environment, recorded_config
from .errors import CassetteError, CassetteMissing
from .run import (
    LOOPBACK,
    PASSED,
    REFUSAL,
    RUN,
    SESSION,
    Run,
    configure_live,
    owns_sandbox,
    plan,
    prepare,
    refuse,
    refuse_short_secrets,
    runs_on_uvloop,
    uses_connex,
)

if TYPE_CHECKING:
    from .cassette.session import CassetteSession

_MARKERS = (
    "connex(strict=False): uses Connex in whatever mode the run has; strict forbids unread recorded messages",
    "connex_live: runs against the live gateway only",
    "connex_recorded: runs from its recording only",
    "connex_sandbox: runs against a sandbox of its own in every mode",
)
_ACTIVE: pytest.StashKey[CassetteSession | None] = pytest.StashKey()


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
    from . import fixtures, loops
    from .report.terminal import TerminalSection

    config.pluginmanager.register(fixtures, "connex-fixtures")
    config.pluginmanager.register(loops, "connex-loops")
    config.pluginmanager.register(TerminalSection(config.rootpath, REFUSAL), "connex-terminal")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Learn which values are secret, and keep them out of reports and logs from now on."""
    config = session.config
    run = config.stash[RUN]
    run.extra = tuple(value for values in config.hook.pytest_connex_secrets(config=config) for value in values)
    if run.options.record:
        refuse_short_secrets((run.live.api_key, run.live.api_secret, *run.extra))
    environment = read_environment()
    known = (
        run.live.api_key,
        run.live.api_secret,
        environment.get(API_KEY),
        environment.get(API_SECRET),
        *run.extra,
    )
    if any(known) or run.options.mode != "recorded":
        from .protocol import Dialect
        from .report.masking import Masking

        run.masking = Masking(Dialect.secret_fields)
        run.masking.hide(*known)
        run.masking.install()
        config.pluginmanager.register(run.masking, "connex-masking")


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
    item.stash[PASSED] = False
    item.config.stash[_ACTIVE] = session
    session.open()
    _mark(item, run, session)
    try:
        yield
    except CassetteError as exc:
        session.fail(exc)
    except BaseException as exc:
        if session.verdict is None or isinstance(exc, (KeyboardInterrupt, pytest.exit.Exception)):
            raise
    if session.plan.action == "replay" and not run.options.allow_uvloop and runs_on_uvloop(item):
        pytest.fail(
            "a recorded test on uvloop is refused, because the network block cannot reach it: use asyncio's "
            "loop, or set connex_allow_uvloop = true",
            pytrace=False,
        )
    return None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Let a verdict decide, whatever the test made of it."""
    session = item.stash.get(SESSION, None)
    if session is None:
        return (yield)
    _raise_verdict(item, session, None)
    try:
        result = yield
    except (KeyboardInterrupt, pytest.exit.Exception):
        raise
    except BaseException as exc:
        _raise_verdict(item, session, exc)
        raise
    _raise_verdict(item, session, None)
    return result


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """When fixtures are gone, write what a passed test recorded, or fail it for what it left unused."""
    session = item.stash.get(SESSION, None)
    if session is None:
        return (yield)
    known = session.verdict
    try:
        yield
        session.close()
        if session.verdict is not None and session.verdict is not known:
            raise session.verdict
        if item.stash[PASSED]:
            if error := session.unplayed():
                raise error
            session.commit()
    finally:
        session.close()
        session.discard()
        item.config.stash[_ACTIVE] = None
    return None


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
            item.stash[PASSED] = report.passed
        account = vars(session.account)
        report.connex = {"mode": item.config.stash[RUN].options.mode, **account}  # type: ignore[attr-defined]
    return report


def _mark(item: pytest.Item, run: Run, session: CassetteSession) -> None:
    """Give a test the markers that pytest-recording acts on."""
    if session.http is not None:
        item.add_marker(pytest.mark.vcr(**session.http.options()), append=False)
        item.add_marker(pytest.mark.default_cassette("connex"), append=False)
    if run.options.mode == "recorded":
        hosts = {"allowed_hosts": list(LOOPBACK)} if owns_sandbox(item) else {}
        item.add_marker(pytest.mark.block_network(**hosts), append=False)


def _raise_verdict(item: pytest.Item, session: CassetteSession, cause: BaseException | None) -> None:
    verdict: CassetteError | None = session.verdict
    if verdict is None:
        return
    if isinstance(verdict, CassetteMissing) and item.config.stash[RUN].options.missing == "skip":
        pytest.skip(f"{verdict} (connex_missing_cassette = skip)")
    raise verdict from cause
