"""How a verdict becomes the result of its test.

The verdict is the plugin's, not the client's: whatever the test made of the closed connection or the failed
request, and whatever its markers or its framework make of a failure, its report says the verdict.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import pytest

from ..errors import CassetteError, CassetteMissing
from .run import RUN

if TYPE_CHECKING:
    from ..cassette.session import CassetteSession

_PACKAGE = Path(__file__).parent

_CALLS_AGAIN = "pytest_retry.retry_plugin"
"""A plugin that calls a test again within the hook that makes the report of its failure."""


def raise_verdict(item: pytest.Item, session: CassetteSession, cause: BaseException | None) -> None:
    """Raise the verdict on a test, if there is one; where nothing is recorded, the ini may ask to skip instead.

    Args:
        item: The test.
        session: Its recordings.
        cause: What the test raised. The verdict is shown where that left the test's own code.
    """
    __tracebackhide__ = True
    verdict = outcome(item, session)
    if verdict is None:
        return
    if cause is None or cause is verdict or isinstance(verdict, pytest.skip.Exception):
        raise verdict
    first_line = str(cause).partition("\n")[0]
    verdict.add_note(f"after which the test raised {type(cause).__name__}: {first_line}")
    raise verdict.with_traceback(_own_code(cause.__traceback__, item.config.rootpath)) from None


def outcome(item: pytest.Item, session: CassetteSession) -> BaseException | None:
    """Return what a test that has a verdict is to raise: that, or a skip where the ini asks for it."""
    verdict = session.verdict
    if isinstance(verdict, CassetteMissing) and item.config.stash[RUN].options.missing == "skip":
        return pytest.skip.Exception(f"{verdict} (connex_missing_cassette = skip)")
    return verdict


def judged(
    item: pytest.Item,
    session: CassetteSession,
    call: pytest.CallInfo[None],
    raised: BaseException | None,
    report: pytest.TestReport,
) -> pytest.TestReport:
    """Return the report of the call of a test that has a verdict.

    Args:
        item: The test.
        session: Its recordings.
        call: Its call.
        raised: What left the call, before frameworks and markers had their say; not the verdict where the recordings
            were opened during the call.
        report: What they made of it: an expected failure, or what unittest kept.
    """
    judgement = pytest.CallInfo.from_call(lambda: _raise_again(item, session, raised), "call").excinfo
    if judgement is None:
        return report
    if call.excinfo is not None and call.excinfo.value is judgement.value and not hasattr(report, "wasxfail"):
        return report
    call.excinfo = judgement
    return pytest.TestReport.from_item_and_call(item, call)


def _raise_again(item: pytest.Item, session: CassetteSession, raised: BaseException | None) -> None:
    __tracebackhide__ = True
    if isinstance(raised, (CassetteError, pytest.skip.Exception)):
        raise raised
    raise_verdict(item, session, raised)


def failed_call(item: pytest.Item, call: pytest.CallInfo[None], verdict: CassetteError) -> pytest.TestReport:
    """Return the report of a call that has passed, and whose verdict came when the fixtures were gone."""

    def reveal() -> None:
        __tracebackhide__ = True
        raise verdict

    failed = pytest.CallInfo.from_call(reveal, "call")
    failed.start, failed.stop, failed.duration = call.start, call.stop, call.duration
    manager = item.config.pluginmanager
    calling_again = [plugin for plugin in manager.get_plugins() if getattr(plugin, "__name__", "") == _CALLS_AGAIN]
    make = manager.subset_hook_caller("pytest_runtest_makereport", calling_again)
    report: pytest.TestReport = make(item=item, call=failed)
    return report


def _own_code(traceback: TracebackType | None, rootpath: Path) -> TracebackType | None:
    """Cut a traceback behind the last frame of the project's own code."""
    entry, last = traceback, None
    while entry is not None:
        path = Path(entry.tb_frame.f_code.co_filename)
        if path.is_relative_to(rootpath) and "site-packages" not in path.parts and not path.is_relative_to(_PACKAGE):
            last = entry
        entry = entry.tb_next
    if last is None:
        return traceback
    last.tb_next = None
    return traceback
