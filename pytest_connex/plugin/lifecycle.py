"""The hooks around a test that uses Connex: from opening its recordings to their verdict.

They are registered by :mod:`pytest_connex.plugin` as soon as such a test is collected.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from .. import __version__
from ..cassette.ending import WIDER
from ..cassette.session import CassetteSession
from ..errors import CassetteError, ReplayAborted
from . import verifying
from .coroutines import drive_runner, driven_test, is_runner
from .network import UVLOOP_REFUSED, blocked
from .planning import allowed_hosts, plan, runs_on_uvloop
from .run import ACTIVE, OUTCOMES, RUN, SESSION, Run, owns_sandbox, uses_connex
from .verdict import failed_call, judged, raise_verdict

if TYPE_CHECKING:
    from ..config import ConnexConfig
    from ..protocol import Dialect

_LOOPBACK = (r"127\.0\.0\.1\Z", r"::1\Z", r"localhost\Z")
_UNDONE = pytest.StashKey[ExitStack]()
"""What is undone when a test is over."""

_HELD = pytest.StashKey[tuple[pytest.CallInfo[None], pytest.TestReport]]()
"""A call that passed, while its recording is not used up: what is left may be for the fixtures that end."""

_Hook = Callable[[threading.ExceptHookArgs], Any]
_EXCEPTHOOK = pytest.StashKey[_Hook]()


def begin(item: pytest.Item, known: dict[str, Any]) -> CassetteSession:
    """Know the recordings of a test from now on.

    Args:
        item: The test.
        known: Where its ``connex_config`` and ``connex_dialect`` are, once they are set up.
    """
    run = item.config.stash[RUN]
    session = CassetteSession(plan(item, run, f"pytest-connex {__version__}"), lambda: _settings(known))
    item.stash[SESSION] = session
    item.stash[OUTCOMES] = []
    item.stash[_UNDONE] = ExitStack()
    item.config.stash[ACTIVE] = session
    session.ending.open()
    return session


def begin_unmarked(item: pytest.Item, known: dict[str, Any]) -> None:
    """Know the recordings of a test that is being set up or called already; see :mod:`pytest_connex.plugin.late`."""
    open_recordings(item, begin(item, known))


def open_unmarked(item: pytest.Item) -> None:
    """Do what pytest-recording does for a test with markers, now that the settings of the test are known."""
    item.stash[_UNDONE].enter_context(_unmarked(item, item.stash[SESSION]))


def open_recordings(item: pytest.Item, session: CassetteSession) -> None:
    """Block the network, and read or begin the recordings of a test."""
    run = item.config.stash[RUN]
    if run.options.mode == "recorded":
        block = blocked(allowed_hosts(item), run.options.allow_uvloop, run.options.without_recording)
        item.stash[_UNDONE].enter_context(block)
    session.open()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    """Know the recordings of a test before its first fixture; a verdict during setup is left to the call."""
    if not uses_connex(item):
        return (yield)
    run = item.config.stash[RUN]
    session = begin(item, getattr(item, "funcargs", {}))
    try:
        yield
    except CassetteError as exc:
        if session.verdict is None:
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
    if session is not None:
        open_recordings(item, session)
        _mark(item, item.config.stash[RUN], session)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Let a verdict decide, whatever the test made of it."""
    __tracebackhide__ = True
    session = item.stash.get(SESSION, None)
    if session is None:
        return (yield)
    raise_verdict(item, session, None)
    session.called = True
    allow_uvloop = item.config.stash[RUN].options.allow_uvloop
    try:
        with session.ending.phase(session.ending.patience), driven_test(item, session, allow_uvloop):
            result = yield
        session.check_recorded()
    except (KeyboardInterrupt, pytest.exit.Exception):
        raise
    except BaseException as exc:
        raise_verdict(item, session, exc)
        raise
    finally:
        session.called = False
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
        session.settle()
        with session.ending.phase(None):
            yield
        session.close()
        item.stash[_UNDONE].close()
        verifying.compare(item, session, item.config.stash[RUN].options.cassette_dir)
        if session.verdict is not None and session.verdict is not known:
            raise session.verdict
        _settle(item, session)
    except ReplayAborted:
        raise session.verdict or AssertionError("interrupted without a verdict") from None
    finally:
        if _HELD in item.stash:
            item.ihook.pytest_runtest_logreport(report=item.stash[_HELD][1])
        session.close()
        session.discard()
        session.ending.close()
        item.config.stash[ACTIVE] = None
        item.stash[_UNDONE].close()
    return None


def _settle(item: pytest.Item, session: CassetteSession) -> None:
    """Write what a passed test recorded, or fail it for what it left unused."""
    if item.stash[OUTCOMES] and "failed" not in item.stash[OUTCOMES] and session.plan.baseline is None:
        session.commit()
    if _HELD in item.stash and (error := session.unplayed()):
        error.advise(session.plan.again)
        session.verdict = error
        call, _ = item.stash[_HELD]
        item.stash[_HELD] = call, failed_call(item, call, error)


def pytest_configure(config: pytest.Config) -> None:
    """Keep threads that were ended from being reported: that follows from the verdict."""
    before = config.stash[_EXCEPTHOOK] = threading.excepthook

    def report(args: threading.ExceptHookArgs) -> None:
        if not issubclass(args.exc_type, ReplayAborted):
            before(args)

    threading.excepthook = report


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave threads as they were."""
    threading.excepthook = config.stash[_EXCEPTHOOK]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Throw away what a test was recording when the run was interrupted."""
    if active := session.config.stash.get(ACTIVE, None):
        active.discard()
        verifying.clean(active)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, Any, Any]:
    """End the set-up of a fixture that goes on after the verdict, and learn from the values of some."""
    run, session = request.config.stash[RUN], request.config.stash.get(ACTIVE, None)
    if session is None:
        value = yield
    else:
        try:
            with session.ending.phase(_limit(fixturedef, session)):
                value = yield
        except ReplayAborted:
            verdict = session.verdict or CassetteError("the set-up of a fixture was interrupted")
            # pytest keeps what a fixture raises for the tests that come later, but not a BaseException.
            fixturedef.cached_result = (None, fixturedef.cache_key(request), (verdict, verdict.__traceback__))  # type: ignore[arg-type]
            raise verdict from None
    if is_runner(value):
        drive_runner(value, lambda: request.config.stash.get(ACTIVE, None), run.options.allow_uvloop)
    if fixturedef.argname == "connex_dialect" and run.masking is not None:
        run.masking.hide_fields(value.secret_fields)
    if fixturedef.argname == "vcr" and session is not None and session.http:
        session.http.attach(value)
    return value


def _limit(fixturedef: pytest.FixtureDef[Any], session: CassetteSession) -> float:
    """Return for how many seconds the set-up of a fixture may go on after the verdict."""
    patience = session.ending.patience
    return patience if fixturedef.scope == "function" and session.verdict is None else WIDER * patience


@pytest.hookimpl(optionalhook=True)
def pytest_recording_configure(config: pytest.Config, vcr: Any) -> None:
    """Give VCR our persister and matchers."""
    session = config.stash.get(ACTIVE, None)
    if session is not None and session.http is not None:
        session.http.configure(vcr)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Have a report say the verdict, remember whether a test passed, and attach what the terminal section counts."""
    raised = call.excinfo.value if call.excinfo else None
    report = yield
    session = item.stash.get(SESSION, None)
    if session is None:
        return report
    if report.when == "call":
        if session.verdict is not None and not session.called:  # a subtest reports too, while its test is called
            report = judged(item, session, call, raised, report)
        xfailed = report.skipped and hasattr(report, "wasxfail")
        outcome = "xfailed" if xfailed else "passed" if report.passed else "failed"
        item.stash[OUTCOMES].append(outcome)
    report.connex = {"mode": item.config.stash[RUN].options.mode, **vars(session.account)}  # type: ignore[attr-defined]
    if report.failed:
        report.sections += _faults(item)
    if report.when == "call" and not session.called and _HELD not in item.stash and _is_held(item, session):
        item.stash[_HELD] = call, report
        report = copy.copy(report)
        report.when = "setup"  # nobody takes note of a set-up that passed
    return report


def _settings(known: dict[str, Any]) -> tuple[ConnexConfig, Dialect]:
    """Return the configuration and the dialect of a test.

    Raises:
        CassetteError: They are asked for before the fixtures know them, or because one of those failed.
    """
    for name in ("connex_config", "connex_dialect"):
        if name not in known:
            raise CassetteError(f"{name} is needed for recordings, and the fixture has not been set up", again=False)
    return known["connex_config"], known["connex_dialect"]


def _is_held(item: pytest.Item, session: CassetteSession) -> bool:
    """Tell whether the report of a call has to wait for the end of the fixtures, which may use up the recording."""
    outcomes: list[str] = item.stash[OUTCOMES]
    return set(outcomes) == {"passed"} and session.unplayed() is not None


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


@contextmanager
def _unmarked(item: pytest.Item, session: CassetteSession) -> Iterator[None]:
    """Let VCR play or record, and block the network beyond what the guard does."""
    from pytest_recording.network import blocking_context

    with ExitStack() as stack:
        if session.http is not None:
            stack.enter_context(session.http.alone())
        if session.plan.action == "replay" and item.get_closest_marker("block_network") is None:
            local = "connex_proxy" in getattr(item, "fixturenames", ())
            stack.enter_context(blocking_context(list(_LOOPBACK) if local else None))
        yield


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
