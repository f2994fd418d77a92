"""Whose dial it is: the proxy's own, towards an upstream, or somebody else's."""

from __future__ import annotations

import threading
from contextvars import ContextVar

THREADS = "connex-"
"""So begin the names of the threads of this package."""

_AT_DOOR: ContextVar[bool] = ContextVar("connex_at_door", default=False)


def at_door() -> None:
    """From now on, what this task or callback dials is dialled by the proxy, on whatever loop."""
    _AT_DOOR.set(True)


def is_at_door() -> bool:
    """Tell whether it is the proxy that dials."""
    return _AT_DOOR.get() or threading.current_thread().name.startswith(THREADS)
