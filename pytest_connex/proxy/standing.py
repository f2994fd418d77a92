"""A port of a proxy on the loop of a virtual clock, for the clients of that loop."""

from __future__ import annotations

from ..background import hear
from .desk import Desk


class PortOnLoop:
    """Serves an upstream on the running loop, in the time of that loop.

    Args:
        desk: Answers.
        name: The upstream.
    """

    def __init__(self, desk: Desk, name: str) -> None:
        self._desk = desk
        self._port = desk.port(name)

    async def start(self) -> int:
        """Listen, within the running loop, and return the number of the port."""
        return await self._port.start()

    async def stop(self) -> None:
        """Hear what clients have sent, then end what is connected."""
        await hear()
        await self._desk.stop()
        await self._port.stop()
