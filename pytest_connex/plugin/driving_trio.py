"""Ending what runs in trio: its cancel scope cannot be swallowed for long."""

from __future__ import annotations

from contextlib import suppress

import trio


def runs_here() -> bool:
    """Tell whether trio runs in this thread."""
    try:
        trio.lowlevel.current_trio_token()
    except RuntimeError:
        return False
    return True


class Scope:
    """A test in a cancel scope of its own, entered as ``cancelled``; pressed to end like those of asyncio.

    Attributes:
        loop: None: no loop of asyncio runs.
        at_last: False: what is cancelled stays cancelled, however often that is swallowed.
        unanswered: Whether trio has not come round since it was pressed last.
    """

    loop = None
    at_last = False

    def __init__(self) -> None:
        self.cancelled = trio.CancelScope()
        self.unanswered = False
        self.over = False
        self._token = trio.lowlevel.current_trio_token()

    def press(self) -> None:
        """Cancel the scope; from any thread."""
        self.unanswered = True
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._pressed)

    def in_task(self) -> bool:
        """Tell whether a task runs at this moment, seen from its thread."""
        try:
            trio.lowlevel.current_task()
        except RuntimeError:
            return False
        return True

    def runs_here(self) -> bool:
        """Tell whether it is the test itself that runs; a task beside it cannot be told apart."""
        return True

    def _pressed(self) -> None:
        self.unanswered = False
        if not self.over:
            self.cancelled.cancel()
