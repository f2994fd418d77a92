"""Handing the coroutines of a test to its :class:`~pytest_connex.cassette.ending.Ending`, whoever runs them.

pytest-asyncio runs tests and fixtures through one :class:`asyncio.Runner` for each scope; anyio, unittest and
pytest-trio run the function of the test. A coroutine in anything else, as twisted, is left as it is.
"""

from __future__ import annotations

import functools
import sys
import unittest
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

import pytest

from .network import UVLOOP_REFUSED, is_uvloop

if TYPE_CHECKING:
    import asyncio
    from contextvars import Context

    from .cassette.session import CassetteSession


def is_runner(value: object) -> bool:
    """Tell whether the value of a fixture is what pytest-asyncio runs coroutines with."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and isinstance(value, asyncio.Runner)


def drive_runner(runner: asyncio.Runner, active: Callable[[], CassetteSession | None], allow_uvloop: bool) -> None:
    """Have whatever ``runner`` runs for a test with recordings end with that test.

    Args:
        runner: One of pytest-asyncio's; it may outlive many tests.
        active: Returns the recordings of the test that runs, if it has some.
        allow_uvloop: Whether recorded tests may run on uvloop.
    """
    run, close = runner.run, runner.close
    condemned: list[CassetteSession] = []

    def driven_run(coro: Coroutine[Any, Any, Any], *, context: Context | None = None) -> Any:
        session = active()
        if session is None:
            return run(coro, context=context)
        try:
            return run(_driven(session, coro, allow_uvloop), context=context)
        finally:
            if session.verdict is not None:
                condemned[:] = [session]

    def driven_close() -> None:
        if condemned:
            from .cassette.driving import Closing

            ending, closing = condemned[0].ending, Closing(runner.get_loop())
            with ending.pressing(closing):
                closing.end_tasks(ending.patience)
        close()

    runner.run, runner.close = driven_run, driven_close  # type: ignore[method-assign]


@contextmanager
def driven_test(item: pytest.Item, session: CassetteSession, allow_uvloop: bool) -> Iterator[None]:
    """Have an asynchronous test end with its recordings where no runner of pytest-asyncio runs it."""
    instance = getattr(item, "instance", None)
    owner, name = (instance, item.name) if isinstance(instance, unittest.TestCase) else (item, "obj")
    function: Any = getattr(owner, name, None)
    handled = item.get_closest_marker("asyncio") or hasattr(function, "hypothesis")
    if handled or not iscoroutinefunction(function):
        yield
        return

    @functools.wraps(function)
    async def driven(*args: Any, **kwargs: Any) -> Any:
        return await _driven(session, function(*args, **kwargs), allow_uvloop)

    setattr(owner, name, driven)
    try:
        yield
    finally:
        setattr(owner, name, function)


async def _driven(session: CassetteSession, coroutine: Coroutine[Any, Any, Any], allow_uvloop: bool) -> Any:
    import asyncio

    try:
        loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
    except RuntimeError:
        loop = None
    if loop is None:
        return await (_driven_by_trio(session, coroutine) if "trio" in sys.modules else coroutine)
    if session.plan.action == "replay" and not allow_uvloop and is_uvloop(loop):
        coroutine.close()
        pytest.fail(UVLOOP_REFUSED, pytrace=False)
    return await session.ending.driven(coroutine)


async def _driven_by_trio(session: CassetteSession, coroutine: Coroutine[Any, Any, Any]) -> Any:
    from .cassette.driving_trio import Scope, runs_here

    if not runs_here():
        return await coroutine
    scope = Scope()
    with session.ending.pressing(scope), scope.cancelled:
        return await coroutine
    raise session.verdict or pytest.fail.Exception("cancelled without a verdict")
