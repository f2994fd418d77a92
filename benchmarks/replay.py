"""How fast a recording replays into the real client: against that client's own ceiling, and against peers.

    python benchmarks/replay.py --frames 10000 100000 --rounds 5
    python benchmarks/replay.py --stages
    python benchmarks/replay.py --memory
    python benchmarks/replay.py --peers                   # ten thousand, a hundred thousand and a million frames

By itself it compares with the ceiling: the same ``websockets`` client reads the same frames of about 300 bytes,
encoded beforehand, from a socket pair, whereas replay begins at the file. Ceiling and replay take turns. The ratio
is given twice, the second time of processor time, which other work on the machine hardly changes.

``--stages`` says where the time goes that replay takes and the ceiling does not: each stage is run by itself.

``--peers`` runs ours beside those of cassetter and nimax that are installed (``pip install
'pytest-connex[bench]'``), and ``--memory`` ours with ten thousand and a million frames: every measurement in a
process of its own, one after the other in turn, from the load of the recording to the close of its connection. A
measurement that takes longer than ``--timeout`` seconds is given up.

Figures are medians of ``--rounds``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from contenders import CONTENDERS, Ours, importable, read, timed
from conversation import SUBSCRIBE, URL, frames
from websockets.asyncio.client import connect
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from pytest_connex.cassette.store import Recording

FEW, MANY = 10_000, 1_000_000


# --- Against the ceiling -----------------------------------------------------------------------------------


class Fed(asyncio.Protocol):
    """Writes what was encoded beforehand when the client has subscribed, minding the client's buffers."""

    def __init__(self, chunks: list[bytes]) -> None:
        self._protocol = ServerProtocol()
        self._chunks = iter(chunks)
        self._writing = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._protocol.send_response(self._protocol.accept(event))
            elif event.opcode is Opcode.TEXT:
                self._pump()
        for data in self._protocol.data_to_send():
            self._transport.write(data) if data else self._transport.close()

    def pause_writing(self) -> None:
        self._writing = False

    def resume_writing(self) -> None:
        self._writing = True
        self._pump()

    def _pump(self) -> None:
        while self._writing and (chunk := next(self._chunks, None)) is not None:
            self._transport.write(chunk)


def encoded(texts: Iterable[str], batch: int = 256) -> list[bytes]:
    whole = [Frame(Opcode.TEXT, text.encode()).serialize(mask=False) for text in texts]
    return [b"".join(whole[start : start + batch]) for start in range(0, len(whole), batch)]


async def ceiling(chunks: list[bytes], count: int) -> None:
    ours, theirs = socket.socketpair()
    for half in (ours, theirs):
        half.setblocking(False)
    await asyncio.get_running_loop().create_connection(lambda: Fed(chunks), sock=ours)
    async with connect("ws://ws.connex.invalid/", sock=theirs, compression=None) as ws:
        await ws.send(SUBSCRIBE)
        await read(ws.recv, count)


def compare_with_ceiling(count: int, rounds: int) -> None:
    chunks = encoded(frames(count))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.ws.jsonl"
        Ours().write(path, frames(count))
        asyncio.run(Ours().replay(path, count))  # to warm up: the first replay imports what it needs
        pairs = [
            (asyncio.run(timed(Ours().replay(path, count)))[1], asyncio.run(timed(ceiling(chunks, count)))[1])
            for _ in range(rounds)
        ]
    print(
        f"{count:>9,} frames: replay {count / statistics.median(a.seconds for a, _ in pairs):9,.0f}/s   "
        f"ceiling {count / statistics.median(b.seconds for _, b in pairs):9,.0f}/s   "
        f"ratio {spread([b.seconds / a.seconds for a, b in pairs])}   "
        f"by processor time {spread([b.cpu / a.cpu for a, b in pairs])}"
    )


def show_stages(count: int, rounds: int) -> None:
    chunks = encoded(frames(count))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.ws.jsonl"
        Ours().write(path, frames(count))
        asyncio.run(Ours().replay(path, count))
        taken: dict[str, list[float]] = defaultdict(list)
        for _ in range(rounds):
            taken["all of it"].append(asyncio.run(timed(Ours().replay(path, count)))[1].cpu)
            taken["the client reads (the ceiling)"].append(asyncio.run(timed(ceiling(chunks, count)))[1].cpu)
            recording, load = asyncio.run(timed(checked(path)))
            taken["the file is read and checked"].append(load.cpu)
            taken["what is due is chosen, and read again behind 24 MiB"].append(
                asyncio.run(timed(delivered(recording, count)))[1].cpu
            )
    whole, *stages = (statistics.median(times) / count * 1e6 for times in taken.values())
    print(f"{count:>9,} frames, by processor time: {whole:.2f} us a frame")
    for name, share in zip(
        [*list(taken)[1:], "framing, TCP, the event loop"], [*stages, whole - sum(stages)], strict=True
    ):
        print(f"{share:14.2f} us  {share / whole:4.0%}  {name}")


async def checked(path: Path) -> Recording:
    return Recording(path)


async def delivered(recording: Recording, count: int) -> None:
    playback = Ours().player(recording).dial(URL)
    playback.sent(SUBSCRIBE)
    while batch := playback.deliver(256):
        count -= len(batch)
    if count:
        raise AssertionError(f"{count} messages were not delivered")


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


# --- In processes of their own -------------------------------------------------------------------------------


class Contest:
    """The contenders' recordings of one conversation, and what was measured of their replay."""

    def __init__(self, names: Iterable[str], count: int, folder: Path, timeout: float) -> None:
        self._count = count
        self._folder = folder
        self._timeout = timeout
        self.results: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        self.failures: dict[str, str] = {}

    def write(self) -> None:
        for name in self.results:
            self._child(name, "write")

    def run(self, rounds: int) -> None:
        """Let the contenders take turns; one that has failed is out."""
        for _ in range(rounds):
            for name, results in self.results.items():
                if name not in self.failures and (result := self._child(name, "replay")):
                    results.append(result)

    def median(self, name: str, what: str) -> float:
        return statistics.median(result[what] for result in self.results[name])

    def _child(self, name: str, action: str) -> dict[str, float]:
        path = self._folder / f"{name}-{self._count}{CONTENDERS[name].ending}"
        script = str(Path(__file__).with_name("contenders.py"))
        command = [sys.executable, script, name, action, str(path), str(self._count)]
        what = {"write": "cannot write", "replay": "cannot load"}[action]
        try:
            ran = subprocess.run(command, capture_output=True, text=True, timeout=self._timeout)
        except subprocess.TimeoutExpired:
            self.failures[name] = f"{what}: took longer than {self._timeout:g} s"
            return {}
        if ran.returncode:
            self.failures[name] = f"{what}: the process ended with {ran.returncode}: {ran.stderr.strip()[-200:]}"
            return {}
        result = json.loads(ran.stdout.splitlines()[-1])
        if "error" in result:
            self.failures[name] = f"{what}: {' '.join(result['error'].split())[:200]}"
            return {}
        return result


def compare_with_peers(count: int, rounds: int, timeout: float) -> None:
    names = [name for name in CONTENDERS if importable(name)]
    with tempfile.TemporaryDirectory() as folder:
        contest = Contest(names, count, Path(folder), timeout)
        contest.write()
        contest.run(rounds)
    for name in names:
        label = f"{count:>9,} frames  {name:9}"
        if name in contest.failures:
            print(f"{label}  {contest.failures[name]}")
            continue
        seconds, cpu, peak, imported = (contest.median(name, what) for what in ("seconds", "cpu", "peak", "imported"))
        times = [result["seconds"] for result in contest.results[name]]
        print(
            f"{label}  {seconds:7.3f} s ({min(times):.3f} to {max(times):.3f}), processor {cpu:7.3f} s   "
            f"{count / seconds:9,.0f}/s   peak memory {peak:7.1f} MiB, after the imports {imported:5.1f} MiB"
        )


def compare_memory(rounds: int, timeout: float) -> None:
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        for count in (FEW, MANY):
            contest = Contest(["ours"], count, Path(folder), timeout)
            contest.write()
            contest.run(rounds)
            if "ours" in contest.failures:
                print(f"{count:>9,} frames: {contest.failures['ours']}")
                return
            peaks.append(contest.median("ours", "peak"))
            print(f"{count:>9,} frames: peak memory {peaks[-1]:.1f} MiB, {contest.median('ours', 'seconds'):.2f} s")
    print(f"difference: {peaks[1] - peaks[0]:.1f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--stages", action="store_true", help="where the time goes")
    kind.add_argument("--peers", action="store_true", help="beside cassetter and nimax")
    kind.add_argument("--memory", action="store_true", help="peak memory of a million frames against ten thousand")
    parser.add_argument("--frames", type=int, nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--timeout", type=float, default=120, help="seconds for each process")
    given = parser.parse_args()
    if given.memory:
        compare_memory(given.rounds, given.timeout)
    elif given.peers:
        for name in CONTENDERS:
            if not importable(name):
                print(f"{name} is not installed: pip install 'pytest-connex[bench]'")
        for count in given.frames or (FEW, 100_000, MANY):
            compare_with_peers(count, given.rounds, given.timeout)
    elif given.stages:
        for count in given.frames or (FEW, 100_000, MANY):
            show_stages(count, given.rounds)
    else:
        for count in given.frames or (FEW, 100_000):
            compare_with_ceiling(count, given.rounds)


if __name__ == "__main__":
    main()
