"""Tests that are seen to use Connex only while they run: ``request.getfixturevalue``, ``getfixture`` of doctest.

Their recordings are opened as soon as such a fixture is asked for. pytest tells nobody when a value of a wider scope
is asked for that is there already, therefore the one public way to ask at run time is watched.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator
from typing import Any

import pytest

from .run import RUN, SETTINGS, TRIAL, owns_sandbox

_PREFIX = "connex_"
_TOO_LATE = (
    "connex_sandbox is requested at run time, when the recordings of this test are open already: request it by name, "
    "or mark the test with @pytest.mark.connex_sandbox"
)


_KNOWN = pytest.StashKey[dict[str, Any]]()


def pytest_configure(config: pytest.Config) -> None:
    """Watch whoever asks for a fixture of ours at run time, until the run is over."""
    asked: Callable[..., Any] = pytest.FixtureRequest.getfixturevalue

    @functools.wraps(asked)
    def watched(request: pytest.FixtureRequest, argname: str) -> Any:
        if not argname.startswith(_PREFIX):
            return asked(request, argname)
        _notice(request, argname)
        return _learn(request, argname, asked(request, argname))

    def restore() -> None:
        if pytest.FixtureRequest.getfixturevalue is watched:
            pytest.FixtureRequest.getfixturevalue = asked  # type: ignore[method-assign]

    pytest.FixtureRequest.getfixturevalue = watched  # type: ignore[assignment,method-assign]
    config.add_cleanup(restore)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Know which test runs: a fixture of a wider scope does not say."""
    run = item.config.stash[RUN]
    run.item = item
    try:
        return (yield)
    finally:
        run.item = None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, Any, Any]:
    """See to it that a test has its recordings before it has a fixture of ours."""
    name = fixturedef.argname
    if not name.startswith(_PREFIX):
        return (yield)
    _notice(request, name)
    return _learn(request, name, (yield))


def _notice(request: pytest.FixtureRequest, name: str) -> None:
    """Open the recordings of the test that runs, unless they are."""
    run = request.config.stash.get(RUN, None)
    item = run.item if run is not None else None
    if item is None:
        return
    if TRIAL in item.stash:
        if name == "connex_sandbox" and _KNOWN in item.stash and not owns_sandbox(item):
            pytest.fail(_TOO_LATE, pytrace=False)
        return
    from . import lifecycle

    manager = request.config.pluginmanager
    if not manager.is_registered(lifecycle):
        manager.register(lifecycle, "connex-lifecycle")
    # What was asked for decides, as if it had been requested by name; tests of one function share the list.
    item.fixturenames = [*getattr(item, "fixturenames", []), name]  # type: ignore[attr-defined]
    known = item.stash[_KNOWN] = {}
    lifecycle.open_recordings(item, lifecycle.begin(item, known))
    for setting in (*SETTINGS, "_connex_visit"):
        if setting != name:
            request.getfixturevalue(setting)


def _learn(request: pytest.FixtureRequest, name: str, value: Any) -> Any:
    """Keep the settings of a test whose recordings were opened late."""
    item = request.config.stash[RUN].item
    if name not in SETTINGS or item is None or _KNOWN not in item.stash:
        return value
    item.stash[_KNOWN].setdefault(name, value)
    return value
