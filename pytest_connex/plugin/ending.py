"""Ending a phase of a test that goes on after its verdict, whatever it swallows.

A client that retries for ever must not keep its test from failing. A phase is the set-up of one fixture, the call
of the test, or the teardown of its fixtures. When the verdict is there, a thread watches the phase that runs, and
after a limit presses it to end, until it is over:

1. The coroutine of the phase is cancelled, twice, with time to clean up after each.
2. A coroutine that swallows both is left behind: it is not resumed, and its task ends (:mod:`.driving`).
3. Code without a loop, and a task that never suspends, are interrupted by a signal in the main thread, which raises
   :class:`~pytest_connex.errors.ReplayAborted` there, and are cornered when they swallow that (:mod:`.cornering`).

Whatever was begun for a phase looks whether that phase is over before it does anything. Background tasks of the
test are left to the test and its fixtures; what is left of them when their loop is closed is ended then. Code in
threads of its own cannot be ended. :class:`~pytest_connex.errors.ReplayAborted` is raised there where it dials with
``connex_connect_sync`` after the verdict, or uses ``connex_rest`` after its test; what it asks with any other client
is taken for the business of the test that runs then.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any, Protocol, TypeVar

from .cornering import corner
from .driving import Driven, Tasks, abort, hush

_Result = TypeVar("_Result")

_SIGNAL = signal.SIGUSR2
"""Used only while a test runs, and only where nobody else has a handler for it."""

_AGAIN = 0.05
"""Seconds between two interruptions, from the third on."""

_SINGLY = 10
"""How many interruptions may be swallowed before what runs is cornered."""

_PACE = 1.0
"""Seconds between two questions of a thread that cannot be ended."""

_SWALLOWING = frozenset({"__del__", "_remove"})
"""Functions whose exceptions the interpreter only prints: ``_remove`` is that of weak collections.

It does so with all that the module ``weakref`` calls, too.
"""

_PLUMBING = frozenset(
    {"contextlib", "pluggy", "_pytest", "pytest_asyncio", __name__.partition(".")[0]}
    | {"importlib", "logging", "tempfile", "http.cookiejar"}
)
"""Packages and modules in whose own code nothing is raised.

The last four take a lock in one statement, and begin the ``try`` that gives it back in the next: what is raised in
between leaves it taken, and every thread that imports or logs from then on waits for ever.
"""

_ENTERING = frozenset({"__enter__", "__exit__"})
"""Functions that may take a lock or give it back, as those of :class:`threading.Condition`."""

PATIENCE = 20
"""How often a test may go on asking after a verdict before it is ended."""

WIDER = 12
"""How many times longer than a call a fixture may take that other tests need too, or that began after the verdict."""


class Pressed(Protocol):
    """What a phase runs, and how it is asked to end.

    Attributes:
        loop: The loop of asyncio that it runs in, if it does.
        unanswered: Whether what runs it has not come round since it was pressed last.
        over: Whether it is over, so that pressing it does nothing.
    """

    unanswered: bool
    over: bool

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """Where it runs."""

    @property
    def at_last(self) -> bool:
        """Whether it is cancelled for the last time, and what swallows that is left behind."""

    def press(self) -> None:
        """Ask once more for the end; from any thread."""

    def in_task(self) -> bool:
        """Tell whether a task runs at this moment, seen from the thread that runs it."""

    def runs_here(self) -> bool:
        """Tell whether it is this itself that runs at this moment, and no task beside it."""


class _Phase:
    """One phase.

    Args:
        limit: Seconds that it may go on after the verdict; None for as long as it does not go on asking.
    """

    def __init__(self, limit: float | None) -> None:
        self.limit = limit
        self.thread = threading.current_thread()
        self.driven: list[Pressed] = []
        self.tasks: Tasks | None = None
        self.watched = False
        self.over = False
        self.interruptions = 0
        self.traced_before: Any = None
        self._spared: tuple[FrameType, int] | None = None
        self._news = threading.Event()

    def in_main_thread(self) -> bool:
        """Tell whether it runs where signals are handled."""
        return self.thread is threading.main_thread()

    def end(self) -> None:
        """The phase is over."""
        self.over = True
        self._spared = None
        if self.tasks is not None:
            self.tasks.over = True
        self._news.set()

    def pressed_in(self, loop: asyncio.AbstractEventLoop | None) -> Pressed | None:
        """Return what is to be pressed where ``loop`` runs; None where nothing of the kind runs."""
        if self.driven and self.driven[-1].loop is loop:
            return self.driven[-1]
        if loop is None:
            return None
        if self.tasks is None or self.tasks.loop is not loop:
            self.tasks = Tasks(loop)
        return self.tasks

    def spares(self, frame: FrameType | None) -> bool:
        """Tell whether nothing is to be raised in ``frame`` now.

        What is met at the same place the next time waits there, and has not yet got what it waits for.
        """
        if frame is None:
            return False
        if frame.f_lineno is None:
            return True  # an instruction of the compiler: pytest cannot show a traceback that leads to no line
        if not _is_untouchable(frame):
            return False
        before, self._spared = self._spared, (frame, frame.f_lasti)
        return before != self._spared

    def at_last(self) -> bool:
        """Tell whether what runs is cancelled for the last time."""
        pressed = self.driven[-1] if self.driven else self.tasks
        return pressed is not None and pressed.at_last

    def hurry(self) -> None:
        """Shorten the wait that is under way."""
        self._news.set()

    def ends_within(self, seconds: float) -> bool:
        """Wait for the end, or until somebody is in a hurry; tell whether it is over."""
        self._news.wait(seconds)
        if not self.over:
            self._news.clear()
        return self.over


class Ending:
    """Ends the phases of one test.

    Args:
        patience: Seconds that a call may go on after the verdict, and that each cancellation gets.
    """

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self._verdict: BaseException | None = None
        self._phases: list[_Phase] = []
        self._lock = threading.Lock()
        self._signalled = False
        self._owns_signal = False
        self._restore: list[Callable[[], None]] = []
        self._asked_again = 0

    def open(self) -> None:
        """Begin to look after a test, in the thread that runs it."""
        in_main_thread = threading.current_thread() is threading.main_thread()
        self._owns_signal = in_main_thread and signal.getsignal(_SIGNAL) is signal.SIG_DFL
        if self._owns_signal:
            signal.signal(_SIGNAL, self._interrupted)

    def close(self) -> None:
        """The test is over, with all that it had. Calling it again does nothing."""
        while self._restore:
            self._restore.pop()()
        if self._has_signal():
            signal.signal(_SIGNAL, signal.SIG_DFL)
        self._owns_signal = False

    @contextmanager
    def phase(self, limit: float | None) -> Iterator[None]:
        """Look after one phase, in the thread that runs it.

        Args:
            limit: Seconds that it may go on after the verdict; None for as long as it does not go on asking.
        """
        phase = _Phase(limit)
        with self._lock:
            self._phases.append(phase)
        try:
            try:
                self._watch()
                yield
            finally:
                phase.over = True
        finally:  # also where an interruption came in the last moment of the phase
            with self._lock:
                phase.end()
                self._phases.remove(phase)
            if phase.interruptions:
                sys.settrace(phase.traced_before)  # Python forgets one in which something is raised
            while self._signalled and phase.in_main_thread() and self._has_signal():
                time.sleep(0)  # it is on its way, and is to find that the phase is over
            self._watch()

    def begin(self, verdict: BaseException) -> None:
        """The verdict is there: end the phase that runs, unless it ends by itself in time."""
        self._verdict = verdict
        phase = self._running()
        if phase is not None and phase.driven and phase.driven[-1].loop is not None:
            self._restore.append(hush(phase.driven[-1].loop))
        self._watch()

    def asked_again(self) -> None:
        """The test asks for something after its verdict; called where it asks.

        Raises:
            ReplayAborted: It has done so often.
        """
        self._asked_again += 1
        if self._asked_again <= PATIENCE and not self.at_last():
            return
        self._insist()
        if self._asked_again > 2 * PATIENCE:
            self._slow_down()
        abort(self._verdict)

    def at_last(self) -> bool:
        """Tell whether the phase that runs is cancelled for the last time: what asks is borne with no more."""
        phase = self._running()
        return phase is not None and phase.at_last()

    def _insist(self) -> None:
        """Wait no longer if it is the phase that goes on asking here, and not a task or a thread beside it."""
        phase = self._running()
        if phase is None or threading.current_thread() is not phase.thread:
            return
        loop = _running_loop()
        if loop is not None and not (phase.driven and phase.driven[-1].runs_here()):
            return
        if phase.limit is None:
            phase.limit = 0.0
        self._watch()
        phase.hurry()

    def _slow_down(self) -> None:
        """Have a thread wait that swallows its end and goes on asking: nothing can end it."""
        if threading.current_thread() is not threading.main_thread() and _running_loop() is None:
            time.sleep(_PACE)

    async def driven(self, coroutine: Coroutine[Any, Any, _Result]) -> _Result:
        """Await a coroutine of the phase that runs, so that it can be ended.

        Raises:
            BaseException: What the coroutine raises, or the verdict if it was ended.
        """
        driven = Driven(coroutine, lambda: self._verdict or asyncio.CancelledError())
        if self._verdict is not None:
            self._restore.append(hush(driven.loop))
        with self.pressing(driven):
            result: _Result = await driven
        return result

    @contextmanager
    def pressing(self, pressed: Pressed) -> Iterator[None]:
        """Have ``pressed`` be what is pressed where the phase that runs is to end."""
        phase = self._running()
        if phase is not None:
            phase.driven.append(pressed)
        try:
            yield
        finally:
            pressed.over = True
            if phase is not None:
                phase.driven.remove(pressed)

    # inside

    def _running(self) -> _Phase | None:
        with self._lock:
            return self._phases[-1] if self._phases else None

    def _watch(self) -> None:
        phase = self._running()
        if phase is None or phase.watched or phase.limit is None or self._verdict is None:
            return
        phase.watched = True
        threading.Thread(target=self._press, args=(phase, phase.limit), name="connex-ending", daemon=True).start()

    def _press(self, phase: _Phase, limit: float) -> None:
        """Press a phase to end until it is over; in a thread of its own."""
        waits = iter((limit, self.patience, self.patience))
        while not phase.ends_within(next(waits, _AGAIN)):
            driven = phase.driven[-1] if phase.driven else None
            if self._running() is not phase:
                continue  # another phase runs within it, and is watched itself
            if driven is not None and not driven.unanswered:
                driven.press()
            elif phase.in_main_thread() and self._has_signal():
                self._signal(phase)

    def _has_signal(self) -> bool:
        """Tell whether the signal is ours, and nobody has taken it meanwhile."""
        return self._owns_signal and signal.getsignal(_SIGNAL) == self._interrupted

    def _signal(self, phase: _Phase) -> None:
        main = threading.main_thread().ident
        with self._lock:
            if not phase.over and main is not None:
                self._signalled = True  # again, where the last one came a moment before the thread began to wait
                signal.pthread_kill(main, _SIGNAL)

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        """Handle the signal: end what the main thread does, if it is still what the signal was meant for."""
        self._signalled = False
        phase = self._phases[-1] if self._phases else None
        if phase is None or phase.over or not phase.watched or phase.spares(frame):
            return
        pressed = phase.pressed_in(_running_loop())
        if pressed is not None and not pressed.unanswered:
            pressed.press()
        elif pressed is None or pressed.in_task():
            self._strike(phase, frame)

    def _strike(self, phase: _Phase, frame: FrameType | None) -> None:
        """Raise what ends a phase where the main thread is, or wherever it goes on from there."""
        if not phase.interruptions:
            phase.traced_before = sys.gettrace()
        phase.interruptions += 1
        if frame is not None and phase.interruptions > _SINGLY:
            corner(frame, phase.interruptions - _SINGLY - 1, partial(self._strike_at, phase))
        abort(self._verdict)

    def _strike_at(self, phase: _Phase, frame: FrameType) -> None:
        __tracebackhide__ = True
        if not phase.over and not _is_untouchable(frame):
            abort(self._verdict)


def _is_untouchable(frame: FrameType) -> bool:
    """Tell whether nothing must be raised here: it would be printed only, or keep something from its end.

    Whatever a test does for long is met elsewhere the next time.
    """
    module = str(frame.f_globals.get("__name__"))
    if module in _PLUMBING or module.partition(".")[0] in _PLUMBING or frame.f_code.co_name in _ENTERING:
        return True
    return any(
        one.f_code.co_name in _SWALLOWING or one.f_globals.get("__name__") == "weakref" for one in _stack(frame)
    )


def _stack(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
