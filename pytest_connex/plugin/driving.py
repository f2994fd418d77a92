"""Ways to end what runs on an asyncio loop, from the politest on, without touching what belongs to others.

:class:`Driven` is one coroutine of a test, :class:`Tasks` are all tasks of a loop that a test runs by itself. Both
are pressed from another thread: twice they are cancelled as anybody would cancel them, and after that they are
left behind. What is left behind is never resumed, so nothing is thrown into it and none of its code runs again;
it is kept until the process ends, because closing a coroutine would run its code once more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn, TypeVar

from ..errors import ReplayAborted

_Result = TypeVar("_Result")

_CANCELLATIONS = 2
"""How often a task may swallow its cancellation before it is left behind."""

_NEVER_RETRIEVED = "exception was never retrieved"

_left_behind: list[object] = []


class _Pressed:
    """What a loop runs, and is to end.

    Attributes:
        loop: The loop.
        unanswered: Whether the loop has not come round since it was pressed last: its task never suspends.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.unanswered = False
        self.over = False
        self._times = 0

    @property
    def at_last(self) -> bool:
        """Whether it is cancelled for the last time, and what swallows that is left behind."""
        return self._times >= _CANCELLATIONS

    def press(self) -> None:
        """Ask once more for the end; from any thread."""
        self.unanswered = True
        with suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(self._pressed)

    def in_task(self) -> bool:
        """Tell whether a task runs at this moment, seen from the thread of the loop."""
        return asyncio.current_task(self.loop) is not None

    def runs_here(self) -> bool:
        """Tell whether it is this itself that runs at this moment, and no task beside it."""
        return False

    def _pressed(self) -> None:
        self.unanswered = False
        if self.over:
            return
        self._times += 1
        if self._times <= _CANCELLATIONS:
            self._cancel()
        else:
            self._leave()

    def _cancel(self) -> None:
        raise NotImplementedError

    def _leave(self) -> None:
        raise NotImplementedError


class Driven(_Pressed):
    """A coroutine within its own task, which it does not outlive.

    It is awaited in the place of the coroutine, and hands every suspension on. When the coroutine was ended, it
    raises the verdict instead of :class:`asyncio.CancelledError`, so that a task which others need goes on.

    Args:
        coroutine: Runs in the task that awaits this object.
        verdict: Returns what is raised when it was ended.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, _Result], verdict: Callable[[], BaseException]) -> None:
        super().__init__(asyncio.get_running_loop())
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  (coroutines run in tasks)
        self._task = task
        self._coroutine = coroutine
        self._verdict = verdict
        self._left = False

    def __await__(self) -> Generator[Any, Any, Any]:
        resume: Callable[[], Any] = partial(self._coroutine.send, None)
        try:
            while True:
                try:
                    awaited = resume()
                except StopIteration as finished:
                    return finished.value
                except (asyncio.CancelledError, ReplayAborted) as ended:
                    if isinstance(ended, ReplayAborted) or self._times:
                        self._raise_verdict(ended)
                    raise
                try:
                    resume = partial(self._coroutine.send, (yield awaited))
                except GeneratorExit:
                    self._coroutine.close()
                    raise
                except BaseException as exc:  # noqa: BLE001  (it is the coroutine's)
                    if self._left:
                        _left_behind.append(self._coroutine)
                        self._raise_verdict(exc)
                    resume = partial(self._coroutine.throw, exc)
        finally:
            self.over = True
            for _ in range(min(self._times, self._task.cancelling())):
                self._task.uncancel()

    def _raise_verdict(self, ended: BaseException) -> NoReturn:
        raise self._verdict().with_traceback(ended.__traceback__) from None

    def runs_here(self) -> bool:
        """Tell whether the coroutine itself asks."""
        return asyncio.current_task(self.loop) is self._task

    def _cancel(self) -> None:
        self._task.cancel()

    def _leave(self) -> None:
        self._left = True
        self._task.cancel()


class Tasks(_Pressed):
    """All tasks of a loop that a test runs by itself, as with :func:`asyncio.run`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        hush(loop)

    def _cancel(self) -> None:
        for task in asyncio.all_tasks(self.loop):
            task.cancel()

    def _leave(self) -> None:
        leave_behind(asyncio.all_tasks(self.loop))
        self.loop.stop()


class Closing(_Pressed):
    """A loop that does not run and is about to be closed, which would wait for what is left on it for ever."""

    def press(self) -> None:
        """Do nothing: :meth:`end_tasks` does it."""

    def end_tasks(self, seconds: float) -> None:
        """End what is left on the loop.

        Args:
            seconds: How long tasks may take to clean up after each cancellation.
        """
        while not self.at_last:
            tasks = asyncio.all_tasks(self.loop)
            if not tasks:
                return
            self._times += 1
            for task in tasks:
                task.cancel()
            self.loop.run_until_complete(asyncio.wait(tasks, timeout=seconds))
        leave_behind(asyncio.all_tasks(self.loop))


def leave_behind(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Let nobody wait for ``tasks`` any more, and nobody complain of them."""
    for task in tasks:
        asyncio.tasks._unregister_task(task)  # documented under "Extending asyncio"
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        task.add_done_callback(_retrieve)
        _left_behind.append(task)


def hush(loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
    """Keep a loop from reporting exceptions of tasks that nobody waited for: they follow from the verdict.

    Such a report comes when the garbage collector finds the task, in whatever runs then.

    Returns:
        What makes the loop as it was, if it is still open.
    """
    before = loop.get_exception_handler()

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if str(context.get("message", "")).endswith(_NEVER_RETRIEVED):
            return
        if before is None:
            loop.default_exception_handler(context)
        else:
            before(loop, context)

    def restore() -> None:
        if loop.get_exception_handler() is handle and not loop.is_closed():
            loop.set_exception_handler(before)

    loop.set_exception_handler(handle)
    return restore


def abort(verdict: BaseException | None) -> NoReturn:
    """Raise :class:`~pytest_connex.errors.ReplayAborted` in what runs here, a task or not.

    Args:
        verdict: What is said.

    Raises:
        ReplayAborted: Always.
    """
    __tracebackhide__ = True
    with suppress(RuntimeError):  # no loop runs here
        if (task := asyncio.current_task()) is not None:
            task.add_done_callback(_retrieve)
    raise ReplayAborted(f"the test went on after its verdict: {verdict}")


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Take note of what a task raised, so that nobody complains that it was not retrieved."""
    if not task.cancelled():
        task.exception()
