"""A port that the stand-ins for ``websockets.connect`` dial, with the behaviour under test behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from websockets.asyncio.client import connect as websockets_connect

from pytest_connex.faults import Faults
from pytest_connex.proxy.connect import Address, connector
from pytest_connex.proxy.endpoint import Behaviour
from pytest_connex.proxy.http import Answering, Asked, refusal
from pytest_connex.proxy.port import Port

Answers = Callable[[str, dict[str, Any]], Behaviour]
"""Returns what answers a dial: its URL, and its arguments."""


class Doorway:
    """Answers dials that are announced, on the loop that opens it, until that loop ends its tasks."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._port = Port(
            _no_http, self._websocket, Faults(0), announced=lambda asked: self.client(asked) in self._announced
        )
        self._announced: dict[Address, tuple[str, dict[str, Any]]] = {}
        self._dialled: dict[Address, Behaviour] = {}
        self._serving: asyncio.Task[None] | None = None
        self._opened = asyncio.Event()

    @property
    def address(self) -> Address:
        return "127.0.0.1", self._port.number

    def announce(self, dialler: Address, url: str, dial: dict[str, Any]) -> None:
        self._announced[dialler] = url, dial

    def behaviour(self, dialler: Address) -> Behaviour | None:
        return self._dialled.pop(dialler, None)

    def client(self, asked: Asked) -> Address:
        """Return where whoever asks has dialled from."""
        return asked.peer

    async def open_here(self) -> None:
        """Listen on the running loop, if that has not begun."""
        if self._serving is None:
            self._serving = asyncio.create_task(self._serve())
            self._serving._log_destroy_pending = False  # type: ignore[attr-defined]  # a loop may leave its tasks behind
        await self._opened.wait()

    async def open(self) -> None:
        """Listen on the running loop until :meth:`close`."""
        await self._port.start()

    async def close(self) -> None:
        await self._port.stop()

    async def _serve(self) -> None:
        await self._port.start()
        self._opened.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await self._port.stop()

    def _websocket(self, asked: Asked) -> Behaviour:
        url, dial = self._announced.pop(self.client(asked))
        behaviour = self._dialled[self.client(asked)] = self._answers(url, dial)
        return behaviour


async def _no_http(asked: Asked, answering: Answering) -> None:
    answering.refuse(refusal(404, "there are WebSockets only"))


def connects(answers: Answers) -> type[websockets_connect]:
    """Return a stand-in for ``websockets.connect`` whose dials are answered on the loop that dials first."""
    doorway = Doorway(answers)
    return connector(doorway, doorway.open_here)
