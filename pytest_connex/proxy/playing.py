"""Giving a client the recorded answer to its request: when its time has come, and as it came."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..cassette.causality import Order
from ..cassette.http_player import Played
from ..errors import CassetteExhausted
from .http import Answering, Asked
from .messages import Headers


class Playing:
    """Plays one answer, on the loop of its client.

    Args:
        played: The answer.
        order: Of the tape; it tells when something may have become due.
        timeout: How long the client may wait beyond the recorded gap, in seconds.
        pace: What the recorded intervals are multiplied with; 0 gives at once what is due.
        headed: Returns the headers as this client is to have them.
    """

    def __init__(
        self,
        played: Played,
        order: Order,
        timeout: float,
        pace: float,
        headed: Callable[[Headers], Headers],
    ) -> None:
        self._played = played
        self._order = order
        self._timeout = timeout
        self._pace = pace
        self._headed = headed

    async def play(self, asked: Asked, answering: Answering) -> None:
        """Give the answer.

        Raises:
            CassetteExhausted: It does not become due, or the client waits for more than was recorded.
        """
        try:
            await self._play(asked, answering)
        finally:
            self._played.over()

    async def _play(self, asked: Asked, answering: Answering) -> None:
        played = self._played
        if played.status is None:
            await self._end(asked, answering, 0)
            return
        await self._due(Played.HEAD)
        headers = self._headed(played.headers)
        if played.ended == "whole" and len(played.pieces) < 2 and played.due(len(played.pieces)) and not self._pace:
            whole = b"".join(map(played.data, range(len(played.pieces))))
            await answering.whole(played.status, played.reason, headers, whole)
            return
        await answering.head(played.status, played.reason, headers)
        played.given(Played.HEAD)
        for index in range(len(played.pieces)):
            await self._due(index)
            await answering.write(played.data(index))
            played.given(index)
        await self._end(asked, answering, len(played.pieces))

    async def _end(self, asked: Asked, answering: Answering, index: int) -> None:
        played = self._played
        if played.ended == "left":
            await self._left(asked, played.gap(index))
            return
        await self._due(index)
        match played.ended:
            case "whole":
                await answering.end()
            case "cut" | "unanswered" if played.error is None:
                answering.cut()
            case _:
                answering.reset()

    async def _left(self, asked: Asked, gap: float) -> None:
        """Say nothing more until the client leaves, as it did when it was recorded."""
        done, _ = await asyncio.wait([asked.gone], timeout=gap + self._timeout)
        if not done:
            raise self._exhausted("the client left before the end of the answer")

    async def _due(self, index: int) -> None:
        """Wait until a part of the answer is due."""
        if self._pace:
            await asyncio.sleep(self._played.gap(index) * self._pace)
        if self._played.due(index):
            return
        loop, changed = asyncio.get_running_loop(), asyncio.Event()
        stop = self._order.listen(lambda: _tell(loop, changed))
        try:
            async with asyncio.timeout(self._played.gap(index) + self._timeout):
                while not self._played.due(index):
                    await changed.wait()
                    changed.clear()
        except TimeoutError:
            raise self._exhausted(self._played.waits_for(index)) from None
        finally:
            stop()

    def _exhausted(self, awaited: str) -> CassetteExhausted:
        request = self._played.interaction.request
        return CassetteExhausted(
            f"the client waits for the answer to {request.method} {request.url}, which comes after this: {awaited}\n"
            f"waited {self._timeout:g} s longer than recorded (connex_replay_timeout)"
        )


def _tell(loop: asyncio.AbstractEventLoop, changed: asyncio.Event) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(changed.set)
