"""Whether this process may have sockets, asked before anything is made that needs them."""

from __future__ import annotations

import socket


def require_sockets() -> None:
    """Raise what a new event loop would: it needs a pair of sockets, by which other threads wake it.

    asyncio finds out in the middle of making a loop. What is left of that loop reports itself when it is collected,
    which may be while pytest parses a module, and CPython 3.11 answers that with a SystemError.

    Raises:
        Exception: Whatever refuses sockets raised it, as pytest-socket does.
    """
    socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).close()
