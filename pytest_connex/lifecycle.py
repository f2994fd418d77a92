"""The hooks around a test that uses Connex: from opening its recordings to their verdict.

They are registered by :mod:`pytest_connex.plugin` as soon as such a test is collected.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from . import __version__, verifying
from .cassette.session import CassetteSession
from .errors import CassetteError
from .network import UVLOOP_REFUSED, blocked
from .planning import allowed_hosts, plan, runs_on_uvloop
from .run import ACTIVE, OUTCOMES, RUN, SESSION, Run, owns_sandbox, uses_connex
from .verdict import raise_verdict, task_noted

if TYPE_CHECKING:
    from .config import ConnexConfig
    from .protocol import Dialect

_LOOPBACK = (r"127\.0\.0\.1\Z", r"::1\Z", r"localhost\Z")
_GUARD = pytest.StashKey[ExitStack]()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    """Know the recordings of a test before its first fixture; a verdict during setup is left to the call."""
    if not uses_connex(item):
        return (yield)
    run = item.config.stash[RUN]
    session = CassetteSession(plan(item, run, f"pytest-connex {__version__}"), lambda: _settings(item))
    item.stash[SESSION] = session
    item.stash[OUTCOMES] = []
    item.config.stash[ACTIVE] = session
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


@pytest.hookimpl(tryfirst=True, specname="pytest_runtest_setup")
def pytest_open_recordings(item: pytest.Item) -> None:
    """Block the network and open the recordings of a test.

    What fails here fails within the wrappers of other plugins, whose teardown expects their setup to have been.
    pytest takes no function for a hook whose name does not begin as those of its hooks do.
    """
    session = item.stash.get(SESSION, None)
    if session is None:
        return
    run = item.config.stash[RUN]
    if run.options.mode == "recorded":
        guard = item.stash[_GUARD] = ExitStack()
        guard.enter_context(blocked(allowed_hosts(item), run.options.allow_uvloop, run.options.without_recording))
    session.open()
    _mark(item, run, session)


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
        session.check_recorded()
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
        verifying.compare(item, session, item.config.stash[RUN].options.cassette_dir)
        if session.verdict is not None and session.verdict is not known:
            raise session.verdict
        outcomes = item.stash[OUTCOMES]
        if outcomes and all(outcomes):
            if error := session.unplayed():
                error.advise(session.plan.again)
                raise error
            if session.plan.baseline is None:
                session.commit()
    finally:
        session.close()
        session.discard()
        item.config.stash[ACTIVE] = None
        if _GUARD in item.stash:
            item.stash[_GUARD].close()
    return None


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Throw away what a test was recording when the run was interrupted."""
    if active := session.config.stash.get(ACTIVE, None):
        active.discard()
        verifying.clean(active)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, Any, Any]:
    """Watch the VCR cassette of a Connex test for misses, and learn what the project's dialect calls secret."""
    value = yield
    if fixturedef.argname == "connex_dialect" and (masking := request.config.stash[RUN].masking) is not None:
        masking.hide_fields(value.secret_fields)
    if fixturedef.argname == "vcr" and (session := request.config.stash.get(ACTIVE, None)) and session.http:
        session.http.attach(value)
    return value


@pytest.hookimpl(optionalhook=True)
def pytest_recording_configure(config: pytest.Config, vcr: Any) -> None:
    """Give VCR our persister and matchers."""
    session = config.stash.get(ACTIVE, None)
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
        if report.failed:
            report.sections += _faults(item)
    return report


def _settings(item: pytest.Item) -> tuple[ConnexConfig, Dialect]:
    """Return the configuration and the dialect of a test.

    Raises:
        CassetteError: They are asked for before the fixtures know them, or because one of those failed.
    """
    funcargs: dict[str, Any] = getattr(item, "funcargs", {})
    for name in ("connex_config", "connex_dialect"):
        if name not in funcargs:
            raise CassetteError(f"{name} is needed for recordings, and the fixture has not been set up", again=False)
    return funcargs["connex_config"], funcargs["connex_dialect"]


def _faults(item: pytest.Item) -> list[tuple[str, str]]:
    """Return sections that say what went wrong on purpose, and what was to go wrong and has not."""
    sections = []
    for name in ("connex_sandbox", "connex_proxy"):
        if (owner := getattr(item, "funcargs", {}).get(name)) is None:
            continue
        lines = owner.faults.happened()
        if pending := owner.faults.pending():
            lines.append(f"{pending} more were scripted and have not happened")
        if lines:
            sections.append((f"faults of {name}", "\n".join(lines)))
    return sections


def _mark(item: pytest.Item, run: Run, session: CassetteSession) -> None:
    """Give a test the markers that pytest-recording acts on; its own ``block_network`` counts."""
    if session.http is not None:
        item.add_marker(pytest.mark.vcr(**session.http.options()), append=False)
        item.add_marker(pytest.mark.default_cassette("connex"), append=False)
    sandboxed = owns_sandbox(item) or run.options.mode == "sandbox"
    wanted = run.options.mode == "recorded" or (sandboxed and item.config.getoption("--block-network", False))
    if item.config.getoption("--block-network", None) is None:
        return  # nothing reads markers of pytest-recording, and pytest may refuse unknown ones
    if wanted and item.get_closest_marker("block_network") is None:
        local = sandboxed or "connex_proxy" in getattr(item, "fixturenames", ())
        hosts = {"allowed_hosts": list(_LOOPBACK)} if local else {}
        item.add_marker(pytest.mark.block_network(**hosts), append=False)
