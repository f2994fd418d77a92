"""Ending code of the main thread that swallows all that is raised in it, as ``while True: try: ... except: pass``.

An exception out of nowhere nearly always meets such a loop within its ``try``. Therefore another one is raised where
the loop goes on: at the next line of its function, by a trace function, as a debugger would stop there. That is the
line that swallows the first, which is not itself within the ``try``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

_RUNNERS = frozenset({"_pytest", "pluggy", "pytest_asyncio", "asyncio", "unittest"})
"""Packages that run what is to be ended, and are not to be ended themselves."""


def corner(frame: FrameType, turn: int, strike: Callable[[FrameType], None]) -> None:
    """Call ``strike`` at the next line of one of the functions under way.

    Args:
        frame: What the calling thread runs.
        turn: Which function, from that of the test inwards, and again from the beginning: which of them has the
            loop is not known.
        strike: Raises, unless nothing is to be raised in its frame. Python forgets a trace function that raises.
    """

    def at_line(frame: FrameType, event: str, argument: object) -> Any:
        __tracebackhide__ = True
        if event == "line":
            strike(frame)
        return at_line

    own = _own(frame)
    if own:
        own[turn % len(own)].f_trace = at_line
        sys.settrace(_no_calls)


def _no_calls(frame: FrameType, event: str, argument: object) -> None:
    """Trace nothing that is called from now on."""


def _own(frame: FrameType | None) -> list[FrameType]:
    """Return what runs below the nearest runner, the outermost first."""
    own: list[FrameType] = []
    while frame is not None and not _is_runner(str(frame.f_globals.get("__name__"))):
        own.insert(0, frame)
        frame = frame.f_back
    return own


def _is_runner(module: str) -> bool:
    return module.partition(".")[0] in _RUNNERS or module.startswith(f"{__package__}.")
