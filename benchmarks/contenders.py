"""One measurement in a process of its own: load and replay a recording with ours, cassetter or nimax.

``replay.py`` starts it, so that the memory of one contender does not count for another. By hand:

    python benchmarks/contenders.py ours write /tmp/x.ws.jsonl 10000
    python benchmarks/contenders.py ours replay /tmp/x.ws.jsonl 10000

It prints one line of JSON: ``seconds`` and ``cpu`` (seconds of the processor) from the load to the close, without
imports, ``imported`` and ``peak`` for the memory in MiB after the imports and at its highest; or ``error``.

Peers write their recordings themselves, through what they record with, and read them through the client that they
put in place of the real one. Ours is read by the real one.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib.util
import json
import resource
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from conversation import SUBSCRIBE, URL, frames


class Ours:
    """pytest-connex: the real ``websockets.connect``, with the rules of a test."""

    package = "pytest_connex"
    ending = ".ws.jsonl"

    def __init__(self) -> None:
        pass

    def write(self, path: Path, texts: Iterable[str]) -> None:
        from pytest_connex.cassette.events import FORMAT, VERSION, Closed, Dial, Header, Open, Received, Sent
        from pytest_connex.cassette.writing import CassetteWriter
        from pytest_connex.secrets.redaction import Redactor

        header = Header(FORMAT, VERSION, "2026-01-01T00:00:00Z", "sandbox", "bench", "bench")
        writer = CassetteWriter(path, header, Redactor({}))
        for event in (Dial(1, 0.0, URL), Open(1, 0.0), Sent(1, 0.0, SUBSCRIBE)):
            writer.write(event)
        at = 0.0
        for number, text in enumerate(texts):
            at = number / 1000
            writer.write(Received(1, at, text))
        writer.write(Closed(1, at, "client", 1000))
        writer.finish()
        writer.commit()
        writer.settle()

    def player(self, recording: Any) -> Any:
        """Return what plays a recording to the clients of a test."""
        from pytest_connex.cassette.player import Player, Rules
        from pytest_connex.protocol import Dialect
        from pytest_connex.secrets.redaction import Redactor

        rules = Rules(Dialect().volatile_paths, Redactor({}), echoed=Dialect().echoed_paths)
        return Player(recording, rules)

    async def replay(self, path: Path, count: int) -> str | bytes:
        from pytest_connex.cassette.store import Recording
        from pytest_connex.proxy.replay import ReplayDialler

        def verdict(error: Exception) -> None:
            raise error

        dialler = ReplayDialler(self.player(Recording(path)), 5.0, verdict)
        async with Door(dialler.behaviour) as connect, connect(URL, compression=None) as ws:
            await ws.send(SUBSCRIBE)
            return await read(ws.recv, count)


class Cassetter:
    """cassetter: ``use_cassette`` and its ``websockets.connect``, with the settings it comes with."""

    package = "cassetter"
    ending = ".yaml"

    def __init__(self) -> None:
        import cassetter.websockets  # noqa: F401

    def write(self, path: Path, texts: Iterable[str]) -> None:
        from cassetter.cassette import Cassette
        from cassetter.intercept._websockets import ws_frame
        from cassetter.recording import RecordMode

        cassette = Cassette(path, record_mode=RecordMode.ALL)
        cassette.load()
        received = [ws_frame("recv", text, number) for number, text in enumerate(texts)]
        cassette.record_ws(URL, {}, [ws_frame("send", SUBSCRIBE), *received])
        cassette.save()

    async def replay(self, path: Path, count: int) -> str | bytes:
        from cassetter import use_cassette
        from cassetter.websockets import connect

        with use_cassette(path, record_mode="none"):
            async with connect(URL) as ws:
                await ws.send(SUBSCRIBE)
                return await read(ws.recv, count)


class Nimax:
    """nimax: a cassette around the WebSocket of an asynchronous niquests session."""

    package = "nimax"
    ending = ".json"

    def __init__(self) -> None:
        import nimax  # noqa: F401

    def write(self, path: Path, texts: Iterable[str]) -> None:
        from nimax import Cassette, RecordMode
        from nimax._websocket import Frame

        cassette = Cassette(path, record_mode=RecordMode.ALL)
        session, _ = cassette.record_ws(URL)
        session.frames.append(Frame("send", "text", SUBSCRIBE))
        session.frames += (Frame("recv", "text", text, number) for number, text in enumerate(texts))
        cassette.save()

    async def replay(self, path: Path, count: int) -> str | bytes:
        import niquests
        from nimax import NimaxRecorder, RecordMode

        async with niquests.AsyncSession() as session:
            recorder = NimaxRecorder(session)
            with recorder.use_cassette(path.stem, cassette_dir=path.parent, record_mode=RecordMode.NONE):
                response = await session.get(URL)
                await response.extension.send_payload(SUBSCRIBE)
                return await read(response.extension.next_payload, count)


class Lenient:
    """A judge that ends nothing: there is no test to end."""

    def begin(self, verdict: Exception) -> None:
        """The session keeps it."""

    def asked_again(self) -> None:
        """The next client hears it."""


class Door:
    """Answers dials of this process over TCP, on the running loop, as a run does; an asynchronous context manager.

    Args:
        answers: Returns what answers a dial, from its URL and its arguments.
    """

    def __init__(self, answers: Callable[[str, dict[str, Any]], Any]) -> None:
        from pytest_connex.faults import Faults
        from pytest_connex.proxy.port import Port

        self._answers = answers
        self._announced: dict[Any, tuple[str, dict[str, Any]]] = {}
        self._dialled: dict[Any, Any] = {}
        self._port = Port(_no_http, self._websocket, Faults(0), announced=lambda asked: asked.peer in self._announced)

    async def __aenter__(self) -> Any:
        from pytest_connex.proxy.connect import connector

        await self._port.start()
        return connector(self, _at_once)

    async def __aexit__(self, *exc_info: object) -> None:
        await self._port.stop()

    @property
    def address(self) -> tuple[str, int]:
        return self._port.host, self._port.number

    def announce(self, dialler: Any, url: str, dial: dict[str, Any]) -> None:
        self._announced[dialler] = url, dial

    def behaviour(self, dialler: Any) -> Any:
        return self._dialled.pop(dialler, None)

    def _websocket(self, asked: Any) -> Any:
        behaviour = self._dialled[asked.peer] = self._answers(*self._announced.pop(asked.peer))
        return behaviour


async def _no_http(asked: Any, answering: Any) -> None:
    answering.cut()


async def _at_once() -> None:
    """Hold no dial up."""


T = TypeVar("T")


class Taken(NamedTuple):
    """How long something took: by the clock, and of this process's processor time."""

    seconds: float
    cpu: float


CONTENDERS = {"ours": Ours, "cassetter": Cassetter, "nimax": Nimax}


async def read(receive: Callable[[], Awaitable[str | bytes]], count: int) -> str | bytes:
    """Receive ``count`` messages and return the last."""
    message: str | bytes = ""
    for _ in range(count):
        message = await receive()
    return message


async def timed(work: Awaitable[T]) -> tuple[T, Taken]:
    """Return the result of ``work`` and how long it took."""
    gc.collect()
    start = Taken(time.perf_counter(), time.process_time())
    result = await work
    return result, Taken(time.perf_counter() - start.seconds, time.process_time() - start.cpu)


def importable(name: str) -> bool:
    """Tell whether a contender is installed."""
    return importlib.util.find_spec(CONTENDERS[name].package) is not None


def peak_memory() -> float:
    """Return the most memory this process has had, in MiB.

    Where there is /proc: ``ru_maxrss`` counts what the parent had at the fork, too.
    """
    try:
        status = Path("/proc/self/status").read_text()
        kibibytes = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
    except (OSError, StopIteration):
        kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)
    return kibibytes / 1024


def _measured(name: str, path: Path, count: int) -> dict[str, float | str]:
    contender = CONTENDERS[name]()
    expected = deque(frames(count), maxlen=1).pop()
    imported = peak_memory()

    message, taken = asyncio.run(timed(contender.replay(path, count)))
    if message != expected:
        return {"error": f"the last frame is {message[:60]!r} instead of {expected[:60]!r}"}
    return {"seconds": taken.seconds, "cpu": taken.cpu, "imported": imported, "peak": peak_memory()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("contender", choices=CONTENDERS)
    parser.add_argument("action", choices=("write", "replay"))
    parser.add_argument("path", type=Path)
    parser.add_argument("frames", type=int)
    given = parser.parse_args()
    result: dict[str, float | str] = {}
    try:
        if given.action == "write":
            CONTENDERS[given.contender]().write(given.path, frames(given.frames))
        else:
            result = _measured(given.contender, given.path, given.frames)
    except Exception as exc:  # noqa: BLE001  (a result like any other)
        result = {"error": f"{type(exc).__name__}: {exc}"}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
