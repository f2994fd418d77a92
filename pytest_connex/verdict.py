"""How a verdict becomes the result of its test, and which task is the test's.

The verdict is the plugin's, not the client's: whatever the test made of the closed connection or the failed
request, its call raises the verdict.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import iscoroutinefunction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import pytest

from .errors import CassetteMissing
from .network import UVLOOP_REFUSED, is_uvloop
from .run import RUN

if TYPE_CHECKING:
    from .cassette.session import CassetteSession

_PACKAGE = Path(__file__).parent


def raise_verdict(item: pytest.Item, session: CassetteSession, cause: BaseException | None) -> None:
    """Raise the verdict on a test, if there is one; where nothing is recorded, the ini may ask to skip instead.

    Args:
        item: The test.
        session: Its recordings.
        cause: What the test raised. The verdict is shown where that left the test's own code.
    """
    __tracebackhide__ = True
    verdict = session.verdict
    if verdict is None:
        return
    if isinstance(verdict, CassetteMissing) and item.config.stash[RUN].options.missing == "skip":
        pytest.skip(f"{verdict} (connex_missing_cassette = skip)")
    if cause is None or cause is verdict:
        raise verdict
    first_line = str(cause).partition("\n")[0]
    verdict.add_note(f"after which the test raised {type(cause).__name__}: {first_line}")
    raise verdict.with_traceback(_own_code(cause.__traceback__, item.config.rootpath)) from None


@contextmanager
def task_noted(item: pytest.Item, session: CassetteSession) -> Iterator[None]:
    """Have an asynchronous test tell which task it is, so that it can be ended."""
    function: Any = getattr(item, "obj", None)
    if not iscoroutinefunction(function) or hasattr(function, "hypothesis"):
        yield
        return

    @functools.wraps(function)
    async def noted(*args: Any, **kwargs: Any) -> Any:
        import asyncio

        session.ending.note_task()
        refused = session.plan.action == "replay" and not item.config.stash[RUN].options.allow_uvloop
        if refused and is_uvloop(asyncio.get_running_loop()):
            pytest.fail(UVLOOP_REFUSED, pytrace=False)
        return await function(*args, **kwargs)

    item.obj = noted  # type: ignore[attr-defined]
    try:
        yield
    finally:
        item.obj = function  # type: ignore[attr-defined]


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
