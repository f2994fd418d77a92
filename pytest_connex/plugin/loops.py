"""Giving the tests that ask for it a virtual clock, through pytest-asyncio's own hook.

The hook is there only while such a test is collected: pytest-asyncio would otherwise ask it for every
asynchronous test of every suite that the plugin is installed for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

import pytest

from .marker import wishes
from .run import RUN, Run, owns_sandbox, uses_connex

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

NEEDS_ASYNCIO = "needs pytest-asyncio 1.4 or newer for its virtual clock: pip install -U pytest-asyncio"
NEEDS_FUNCTION_LOOP = (
    'a test on a virtual clock has an event loop of its own: drop its loop_scope, or set it to "function"'
)
NEEDS_PYTEST_ASYNCIO = (
    "a virtual clock is given through pytest-asyncio, which does not run this test: drop its other runner (the "
    'marker anyio or trio, IsolatedAsyncioTestCase) or mark it asyncio; or set clock="real"'
)
NEEDS_REAL_TIME = (
    "the clock of looptime does not wait for connections: drop its marker looptime, or say looptime(False), and use "
    '@pytest.mark.connex(clock="virtual")'
)
_CONNECTING = ("connex_connect", "connex_proxy", "connex_rest_async")


class _Factory:
    """Makes loops with a virtual clock, whose clients find the proxy and the sandbox on the same loop."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def __call__(self) -> AbstractEventLoop:
        """Make one."""
        from ..virtual import VirtualLoop

        self._run.loop = VirtualLoop(self._run.stand_ins)
        return self._run.loop


class _Factories:
    """What pytest-asyncio asks for the loops of one test."""

    def __init__(self, run: Run) -> None:
        self._factory = _Factory(run)

    @pytest.hookimpl(tryfirst=True, optionalhook=True)
    def pytest_asyncio_loop_factories(self) -> dict[str, Callable[[], AbstractEventLoop]]:
        """Return the loop of the virtual clock and no other."""
        return {"virtual": self._factory}


@contextmanager
def clock_offered(metafunc: pytest.Metafunc) -> Iterator[None]:
    """Offer a virtual clock to pytest-asyncio while it looks at a test that asks for one."""
    manager = metafunc.config.pluginmanager
    try:
        wanted = is_virtual(metafunc.definition)
    except pytest.UsageError:
        wanted = False  # the run is refused once everything is collected
    if not wanted or not hasattr(metafunc.config.hook, "pytest_asyncio_loop_factories"):
        yield
        return
    factories = _Factories(metafunc.config.stash[RUN])
    manager.register(factories)
    try:
        yield
    finally:
        manager.unregister(factories)


def is_virtual(item: pytest.Item) -> bool:
    """Tell whether a test asks for a virtual clock, and is one that can have it.

    It must have an event loop, and must not talk to the live gateway, which keeps its own time: there, the test
    runs on the real clock.
    """
    function: Any = getattr(item, "obj", None)
    tested = getattr(getattr(function, "hypothesis", None), "inner_test", function)
    if not uses_connex(item) or not iscoroutinefunction(tested):
        return False
    options = item.config.stash[RUN].options
    return wishes(item, options).virtual and (options.mode != "live" or owns_sandbox(item))


def skip_impossible(items: list[pytest.Item]) -> None:
    """Skip what cannot have the virtual clock it asks for; refuse markers that cannot be read."""
    for item in filter(uses_connex, items):
        wishes(item, item.config.stash[RUN].options)
        if _is_on_looptime(item) and any(name in _CONNECTING for name in getattr(item, "fixturenames", ())):
            raise pytest.UsageError(f"{item.nodeid}: {NEEDS_REAL_TIME}")
        if is_virtual(item) and (reason := obstacle(item)):
            item.add_marker(pytest.mark.skip(reason=reason))


def obstacle(item: pytest.Item) -> str | None:
    """Return why a test cannot have the virtual clock it asks for, or None.

    Raises:
        pytest.UsageError: It asks for a loop that is not its own besides, or is run by somebody else.
    """
    if not hasattr(item.config.hook, "pytest_asyncio_loop_factories"):
        return NEEDS_ASYNCIO
    scopes = [marker.kwargs.get("loop_scope") for marker in item.iter_markers("asyncio")]
    scope = next(filter(None, scopes), item.config.getini("asyncio_default_test_loop_scope"))
    if scope != "function":
        raise pytest.UsageError(f"{item.nodeid}: {NEEDS_FUNCTION_LOOP}")
    if _has_other_runner(item):
        raise pytest.UsageError(f"{item.nodeid}: {NEEDS_PYTEST_ASYNCIO}")
    return None


def _has_other_runner(item: pytest.Item) -> bool:
    """Tell whether somebody else than pytest-asyncio runs a test, so that its loop is not ours to give."""
    callspec = getattr(item, "callspec", None)
    given = callspec is not None and any(isinstance(value, _Factory) for value in callspec.params.values())
    on_anyio = item.get_closest_marker("anyio") or "anyio_backend" in getattr(item, "fixturenames", ())
    return bool(on_anyio) or not given


def _is_on_looptime(item: pytest.Item) -> bool:
    """Tell whether looptime replaces the clock of an asynchronous test, by its own rules."""
    if not hasattr(item.config.option, "looptime") or not iscoroutinefunction(getattr(item, "obj", None)):
        return False
    flag = item.config.option.looptime
    markers = list(item.iter_markers("looptime"))
    told = [bool(marker.args[0]) for marker in markers if marker.args]
    return told[0] if told else flag is not False and bool(markers or flag)
