"""Handing the coroutines of a test to its :class:`~pytest_connex.plugin.ending.Ending`, whoever runs them.

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

    from .trial import Trial


def is_runner(value: object) -> bool:
    """Tell whether the value of a fixture is what pytest-asyncio runs coroutines with."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and isinstance(value, asyncio.Runner)


def drive_runner(runner: asyncio.Runner, active: Callable[[], Trial | None], allow_uvloop: bool) -> None:
    """Have whatever ``runner`` runs for a test with recordings end with that test.

    Args:
        runner: One of pytest-asyncio's; it may outlive many tests.
        active: Returns the test that runs, if it has recordings.
        allow_uvloop: Whether recorded tests may run on uvloop.
    """
    run, close = runner.run, runner.close
    condemned: list[Trial] = []

    def driven_run(coro: Coroutine[Any, Any, Any], *, context: Context | None = None) -> Any:
        trial = active()
        if trial is None:
            return run(coro, context=context)
        try:
            return run(_driven(trial, coro, allow_uvloop), context=context)
        finally:
            if trial.verdict is not None:
                condemned[:] = [trial]

    def driven_close() -> None:
        if condemned:
            from .driving import Closing

            ending, closing = condemned[0].ending, Closing(runner.get_loop())
            with ending.pressing(closing):
                closing.end_tasks(ending.patience)
        close()

    runner.run, runner.close = driven_run, driven_close  # type: ignore[method-assign]


@contextmanager
def driven_test(item: pytest.Item, trial: Trial, allow_uvloop: bool) -> Iterator[None]:
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
        return await _driven(trial, function(*args, **kwargs), allow_uvloop)

    setattr(owner, name, driven)
    try:
        yield
    finally:
        setattr(owner, name, function)


async def _driven(trial: Trial, coroutine: Coroutine[Any, Any, Any], allow_uvloop: bool) -> Any:
    import asyncio

    from ..background import hear
    from ..virtual import VirtualLoop

    try:
        loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
    except RuntimeError:
        loop = None
    if loop is None:
        return await (_driven_by_trio(trial, coroutine) if "trio" in sys.modules else coroutine)
    if trial.session.plan.action == "replay" and not allow_uvloop and is_uvloop(loop):
        coroutine.close()
        pytest.fail(UVLOOP_REFUSED, pytrace=False)
    result = await trial.ending.driven(coroutine)
    if isinstance(loop, VirtualLoop):
        await hear()  # the proxy is on this loop
    return result


async def _driven_by_trio(trial: Trial, coroutine: Coroutine[Any, Any, Any]) -> Any:
    from .driving_trio import Scope, runs_here

    if not runs_here():
        return await coroutine
    scope = Scope()
    with trial.ending.pressing(scope), scope.cancelled:
        return await coroutine
    raise trial.verdict or pytest.fail.Exception("cancelled without a verdict")
