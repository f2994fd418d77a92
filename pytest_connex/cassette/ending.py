"""Ending a test that goes on after its verdict, whatever it swallows.

A client that retries for ever must not keep its test from failing. Three means are used, one after the other:
the task of the test is cancelled, and ended from within where it swallows that; whatever the test asks raises
:class:`~pytest_connex.errors.ReplayAborted`; and at last a signal raises that in the main thread, wherever it is,
also where it waits for another thread.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from contextlib import suppress
from types import FrameType, TracebackType

from ..errors import ReplayAborted

_SIGNAL = signal.SIGUSR2
"""Used only while a test runs, and only where nobody else has a handler for it."""

_AGAIN = 0.05
"""Seconds between two cancellations: the first may be swallowed."""

_MESSAGE = "the test went on after its verdict"
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
        self._task: asyncio.Task[object] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._cancelled = False
        self._interruptible = False
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._over = threading.Event()
        self._over.set()

    def __enter__(self) -> None:
        self._thread = threading.current_thread()
        in_main_thread = self._thread is threading.main_thread()
        self._interruptible = in_main_thread and signal.getsignal(_SIGNAL) is signal.SIG_DFL
        self._over.clear()
        if self._interruptible:
            signal.signal(_SIGNAL, self._abort_here)

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        with self._lock:
            self._over.set()
        if self._interruptible:
            for _ in range(_SETTLING):
                pass  # what was sent just before is handled by now, and finds that the phase is over
            signal.signal(_SIGNAL, signal.SIG_DFL)
        task, loop = self._task, self._loop
        if self._cancelled and task is not None and not task.done() and loop is not None and not loop.is_running():
            _abort(task)  # or closing its loop would wait for it

    def note_task(self) -> None:
        """Remember the current task: it is the test's."""
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()

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
        if self._over.is_set():
            return
        if threading.current_thread() is not self._thread:
            if self._loop is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self.cancel, self._loop)
            return
        loop = loop or _running_loop()
        if loop is None:
            return
        for task in (self._task,) if self._task is not None else asyncio.all_tasks(loop):
            if self._cancelled and task is not asyncio.current_task(loop):
                _abort(task)
            task.cancel()
        self._cancelled = True
        loop.call_later(_AGAIN, self.cancel, loop)

    def _interrupt(self) -> None:
        if not self._interruptible or self._over.wait(self._patience + _GRACE):
            return
        main = threading.main_thread().ident
        while main is not None and not self._over.wait(_AGAIN):
            with self._lock:
                if not self._over.is_set():
                    signal.pthread_kill(main, _SIGNAL)

    def _abort_here(self, number: int, frame: FrameType | None) -> None:
        if not self._over.is_set():
            raise ReplayAborted(_MESSAGE)


def _abort(task: asyncio.Task[object]) -> None:
    """Raise :class:`ReplayAborted` where a suspended task waits, as often as it swallows that."""
    coroutine = task.get_coro()
    with suppress(BaseException):
        for _ in range(_ABORTS):
            coroutine.throw(ReplayAborted(_MESSAGE))


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
