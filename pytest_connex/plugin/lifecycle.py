"""The hooks around a test that uses Connex: from opening its recordings to their verdict.

They are registered by :mod:`pytest_connex.plugin` as soon as such a test is collected.
"""

from __future__ import annotations

import copy
import threading
import unittest
from collections.abc import Callable, Generator
from contextlib import ExitStack
from typing import Any, NamedTuple

import pytest

from ..cassette.session import CassetteSession
from ..errors import CassetteError, ReplayAborted
from . import verifying
from .coroutines import drive_runner, driven_test, is_runner
from .ending import WIDER, Ending
from .network import UVLOOP_REFUSED, blocked, nothing_around
from .planning import allowed_hosts, plan, runs_on_uvloop
from .recording import let_pass, part_recordings
from .run import ACTIVE, OUTCOMES, PROXY, RUN, SETTINGS, TRIAL, uses_connex
from .settings import settings_of
from .shared import attributed
from .trial import Trial
from .verdict import failed_call, judged, raise_verdict

_UNDONE = pytest.StashKey[ExitStack]()
"""What is undone when a test is over."""


class _Held(NamedTuple):
    """A call that passed, while its recording is not used up: what is left may be for the fixtures that end.

    Attributes:
        call: The call.
        report: Its report.
        shown: What stands for the report until then.
    """

    call: pytest.CallInfo[None]
    report: pytest.TestReport
    shown: pytest.TestReport


class _Told:
    """Knows the last report that the other plugins were told of."""

    last: pytest.TestReport | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.last = report


_HELD: pytest.StashKey[_Held | None] = pytest.StashKey()
_TOLD = pytest.StashKey[_Told]()

_Hook = Callable[[threading.ExceptHookArgs], Any]
_EXCEPTHOOK = pytest.StashKey[_Hook]()


def begin(item: pytest.Item, known: dict[str, Any]) -> Trial:
    """Know the recordings of a test from now on.

    Args:
        item: The test.
        known: Where its ``connex_config`` and ``connex_dialect`` are, once they are set up.
    """
    run = item.config.stash[RUN]
    planned = plan(item, run)
    ending = Ending(planned.replay_timeout)
    trial = Trial(
        CassetteSession(planned, lambda: settings_of(run, known), ending, run.now, run.learned, run.hide), ending
    )
    item.stash[TRIAL] = trial
    item.stash[OUTCOMES] = []
    item.stash[_HELD] = None
    item.stash[_UNDONE] = ExitStack()
    ending.open()
    return trial


def open_recordings(item: pytest.Item, trial: Trial) -> None:
    """Block the network, and read or begin the recordings of a test.

    What clients ask counts for it from then on, not before: a client that an earlier test has left behind may ask
    while they are being read.
    """
    run = item.config.stash[RUN]
    if run.options.mode == "recorded":
        block = blocked(allowed_hosts(item), run.options.allow_uvloop, trial.session.fail)
        item.stash[_UNDONE].enter_context(block)
    elif trial.session.plan.action == "record":
        item.stash[_UNDONE].enter_context(nothing_around(run.addresses, trial.session.fail))
    trial.session.open()
    item.config.stash[ACTIVE] = trial


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    """Know the recordings of a test before its first fixture; a verdict during setup is left to the call."""
    if not uses_connex(item):
        return (yield)
    run = item.config.stash[RUN]
    session = begin(item, getattr(item, "funcargs", {})).session
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
    trial = item.stash.get(TRIAL, None)
    if trial is not None:
        open_recordings(item, trial)
        let_pass(item)
        part_recordings(item)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Let a verdict decide, whatever the test made of it."""
    __tracebackhide__ = True
    trial = item.stash.get(TRIAL, None)
    if trial is None:
        return (yield)
    session = trial.session
    raise_verdict(item, session, None)
    trial.called = True
    allow_uvloop = item.config.stash[RUN].options.allow_uvloop
    try:
        with trial.ending.phase(trial.ending.patience), driven_test(item, trial, allow_uvloop):
            result = yield
        trial.returned = True
        if (proxy := item.config.stash.get(PROXY, None)) is not None:
            proxy.hear()
        session.check_recorded()
    except (KeyboardInterrupt, pytest.exit.Exception):
        raise
    except BaseException as exc:
        raise_verdict(item, session, exc)
        raise
    finally:
        trial.called = False
    raise_verdict(item, session, None)
    return result


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """When fixtures are gone, write what a passed test recorded, or fail it for what it left unused."""
    trial = item.stash.get(TRIAL, None)
    if trial is None:
        return (yield)
    session = trial.session
    known = session.verdict
    try:
        with trial.ending.phase(None):
            yield
        session.close()
        item.stash[_UNDONE].close()
        verifying.compare(item, session, item.config.stash[RUN].options.cassette_dir)
        if session.verdict is not None and session.verdict is not known:
            raise session.verdict
        _settle(item, trial)
    except ReplayAborted:
        raise session.verdict or AssertionError("interrupted without a verdict") from None
    finally:
        if (held := item.stash[_HELD]) is not None:
            _release(item, held)
        session.close()
        session.discard()
        trial.ending.close()
        item.config.stash[ACTIVE] = None
        item.stash[_UNDONE].close()
    return None


def _settle(item: pytest.Item, trial: Trial) -> None:
    """Write what a passed test recorded, or fail it for what it left unused."""
    session = trial.session
    if _passed(item, trial) and session.plan.baseline is None:
        session.commit()
    if (held := item.stash[_HELD]) is not None and (error := session.unplayed()):
        error.advise(session.plan.again)
        session.verdict = error
        item.stash[_HELD] = held._replace(report=failed_call(item, held.call, error))


def _passed(item: pytest.Item, trial: Trial) -> bool:
    outcomes = item.stash[OUTCOMES]
    if outcomes:
        return "failed" not in outcomes
    # A plugin has called it again, and makes a report of its own. What unittest calls returns also when it fails.
    return trial.returned and not issubclass(getattr(item, "cls", None) or object, unittest.TestCase)


def _release(item: pytest.Item, held: _Held) -> None:
    """Have a report be known at last: told, or, where nobody is told yet, in the place of what stands for it."""
    if item.config.stash[_TOLD].last is held.shown:
        item.ihook.pytest_runtest_logreport(report=held.report)
    else:
        vars(held.shown).update(vars(held.report))


def pytest_configure(config: pytest.Config) -> None:
    """Know which reports are told, and have threads not reported that were ended: that follows from the verdict."""
    told = config.stash[_TOLD] = _Told()
    config.pluginmanager.register(told)
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
        active.session.discard()
        verifying.clean(active.session)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, Any, Any]:
    """End the set-up of a fixture that goes on after the verdict, and learn from the values of some."""
    run, trial = request.config.stash[RUN], request.config.stash.get(ACTIVE, None)
    if trial is None:
        value = yield
    else:
        try:
            with trial.ending.phase(_limit(fixturedef, trial)), attributed(fixturedef, request):
                value = yield
        except ReplayAborted:
            verdict = trial.verdict or CassetteError("the set-up of a fixture was interrupted")
            _keep(fixturedef, request, verdict)
            raise verdict from None
        except CassetteError as exc:
            _keep(fixturedef, request, exc)
            raise
    if fixturedef.argname in SETTINGS:
        run.known[fixturedef.argname] = value
    if is_runner(value):
        drive_runner(value, lambda: request.config.stash.get(ACTIVE, None), run.options.allow_uvloop)
    if fixturedef.argname == "connex_dialect" and run.masking is not None:
        run.masking.hide_fields(value.secret_fields)
    return value


def _keep(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest, verdict: CassetteError) -> None:
    """Have the tests that come later get the verdict too: pytest keeps no BaseException, and nothing of a wrapper."""
    fixturedef.cached_result = (None, fixturedef.cache_key(request), (verdict, verdict.__traceback__))  # type: ignore[arg-type]


def _limit(fixturedef: pytest.FixtureDef[Any], trial: Trial) -> float:
    """Return for how many seconds the set-up of a fixture may go on after the verdict."""
    patience = trial.ending.patience
    return patience if fixturedef.scope == "function" and trial.verdict is None else WIDER * patience


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Have a report say the verdict, remember whether a test passed, and attach what the terminal section counts."""
    raised = call.excinfo.value if call.excinfo else None
    report = yield
    trial = item.stash.get(TRIAL, None)
    if trial is None:
        return report
    session = trial.session
    if report.when == "call":
        if session.verdict is not None and not trial.called:  # a subtest reports too, while its test is called
            report = judged(item, session, call, raised, report)
        xfailed = report.skipped and hasattr(report, "wasxfail")
        outcome = "xfailed" if xfailed else "passed" if report.passed else "failed"
        item.stash[OUTCOMES].append(outcome)
    run = item.config.stash[RUN]
    if report.when == "teardown":
        while run.accounts:  # of shared fixtures, which have ended with this test
            session.account.add(run.accounts.pop())
    report.connex = {"mode": run.options.mode, **vars(session.account)}  # type: ignore[attr-defined]
    if report.failed:
        item.config.stash[RUN].failures += 1
        report.sections += [*_notes(item), *_faults(item)]
    if report.when == "call" and not trial.called and item.stash[_HELD] is None and _is_held(item, session):
        shown = copy.copy(report)
        shown.when = "setup"  # nobody takes note of a set-up that passed
        item.stash[_HELD] = _Held(call, report, shown)
        return shown
    return report


def _is_held(item: pytest.Item, session: CassetteSession) -> bool:
    """Tell whether the report of a call has to wait for the end of the fixtures, which may use up the recording."""
    outcomes: list[str] = item.stash[OUTCOMES]
    return set(outcomes) == {"passed"} and session.unplayed() is not None


def _notes(item: pytest.Item) -> list[tuple[str, str]]:
    """Return a section that says why clients of the test got no answer from the servers behind the proxy."""
    proxy = item.config.stash.get(PROXY, None)
    return [("connex proxy", "\n".join(proxy.notes))] if proxy is not None and proxy.notes else []


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
