"""What holds for every test: how much Hypothesis tries, who gets a Ctrl-C, and that no thread outlives its test."""

from __future__ import annotations

import gc
import signal
import threading
import time
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes depends on who else uses the machine, so nothing here goes by it.
settings.register_profile("quick", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", settings.get_profile("quick"), max_examples=200)
settings.load_profile("quick")

PATIENCE = 5
"""Seconds within which the threads of a test that is over end."""

KEPT = pytest.StashKey[set[threading.Thread]]()
"""The threads that may be there between two tests."""


def pytest_configure(config: pytest.Config) -> None:
    config.stash[KEPT] = set(threading.enumerate())
    config.pluginmanager.register(SharedThreads())
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # So does a shell that starts this in the background, and the processes of the tests would inherit it. They
        # do not inherit a function, and this one ignores the signal as well.
        signal.signal(signal.SIGINT, lambda *_: None)


def pytest_collection_finish() -> None:
    """Leave what is loaded by now to no garbage collection: every pytest that runs within this one makes five."""
    gc.collect()
    gc.freeze()


class SharedThreads:
    """Keeps the threads of fixtures that several tests share.

    It is registered as a plugin: pytest asks no conftest.py below the rootdir about fixtures of the whole session.
    """

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        before = set(threading.enumerate())
        made = yield
        if fixturedef.scope != "function":
            request.config.stash[KEPT].update(set(threading.enumerate()) - before)
        return made


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test whose thread goes on: it would work, log and draw random numbers in the name of the next."""
    done = yield
    kept = item.config.stash[KEPT]
    ends = time.monotonic() + PATIENCE
    for thread in set(threading.enumerate()) - kept:
        thread.join(max(0, ends - time.monotonic()))
    left = set(threading.enumerate()) - kept
    kept.update(left)  # so that they fail one test only
    assert not left, f"threads of this test go on: {', '.join(sorted(thread.name for thread in left))}"
    return done
