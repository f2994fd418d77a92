"""Waiting until a connection takes more."""

from __future__ import annotations

import asyncio


class Flow:
    """Whether the buffers of a transport accept data; :meth:`room` waits until they do."""

    def __init__(self) -> None:
        self._full: asyncio.Future[None] | None = None

    def pause(self) -> None:
        """Let writers wait."""
        self._full = asyncio.get_running_loop().create_future()

    def resume(self) -> None:
        """Let them go on; also at the end of the connection, when nobody must wait any more."""
        full, self._full = self._full, None
        if full is not None and not full.done():
            full.set_result(None)

    async def room(self) -> None:
        """Return as soon as more can be written."""
        if self._full is not None:
            await asyncio.shield(self._full)
