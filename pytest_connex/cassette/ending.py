"""Ending a test that goes on after its verdict, whatever it swallows.

A client that retries for ever must not keep its test from failing. Three means are used, one after the other:
the task of the test is cancelled, and ended from within where it swallows that; whatever the test asks raises
:class:`~pytest_connex.errors.ReplayAborted`; and at last that is raised in the threads of the test, wherever
they are.
"""

from __future__ import annotations

import asyncio
import ctypes
import threading
from contextlib import suppress
from types import TracebackType

from ..errors import ReplayAborted

_AGAIN = 0.05
"""Seconds between two cancellations: the first may be swallowed."""

_ABORTS = 100
_SETTLING = 1_000

_GRACE = 1.0
"""Seconds that cancelling gets before the thread of the test is interrupted."""


class Ending:
    """Ends one phase of a test; a context manager around it, entered in the thread of the test.

    Args:
        patience: Seconds that the test may go on after its verdict.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._threads: set[int] = set()
        self._task: asyncio.Task[object] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._cancelled = False
        self._interrupted = False
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._over.set()

    def __enter__(self) -> None:
        self._threads = {threading.get_ident()}
        self._over.clear()

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        with self._lock:
            self._over.set()
        if self._interrupted:
            _settle(threading.get_ident())
        task, loop = self._task, self._loop
        if self._cancelled and task is not None and not task.done() and loop is not None and not loop.is_running():
            _abort(task)  # or closing its loop would wait for it

    def note_task(self) -> None:
        """Remember the current task: it is the test's."""
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()

    def note_thread(self) -> None:
        """Remember the current thread: it works for the test."""
        self._threads.add(threading.get_ident())

    def begin(self) -> None:
        """The verdict is there: end the test unless it ends by itself in time."""
        if self._over.is_set():
            return
        loop = self._loop or _running_loop()
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(loop.call_later, self._patience, self.cancel, loop)
        threading.Thread(target=self._interrupt, name="connex-ending", daemon=True).start()

    def cancel(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Cancel the task of the test, or every task of the loop where it cannot be told, until it is over."""
        loop = loop or _running_loop()
        if loop is None or self._over.is_set():
            return
        for task in (self._task,) if self._task is not None else asyncio.all_tasks(loop):
            if self._cancelled and task is not asyncio.current_task(loop):
                _abort(task)
            task.cancel()
        self._cancelled = True
        loop.call_later(_AGAIN, self.cancel, loop)

    def _interrupt(self) -> None:
        if self._over.wait(self._patience + _GRACE):
            return
        while not self._over.wait(_AGAIN):
            with self._lock:
                for thread in () if self._over.is_set() else self._threads:
                    self._interrupted = True
                    _raise_in(thread)


def _abort(task: asyncio.Task[object]) -> None:
    """Raise :class:`ReplayAborted` where a suspended task waits, as often as it swallows that."""
    coroutine = task.get_coro()
    with suppress(BaseException):
        for _ in range(_ABORTS):
            coroutine.throw(ReplayAborted("the test went on after its verdict"))


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _raise_in(thread: int) -> None:
    """Have :class:`ReplayAborted` raised in a thread when it runs Python code again."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(ReplayAborted))


def _settle(thread: int) -> None:
    """Take what may still be on its way to this thread, so that nothing after it is hit.

    It is raised once more and caught. Taking it back instead (with NULL) would leave the interpreter looking for it
    for ever, at every call it makes.
    """
    with suppress(ReplayAborted):
        _raise_in(thread)
        for _ in range(_SETTLING):
            pass
