"""What recording costs: the same relay with a recorder that writes, and without one.

A ``websockets`` server on 127.0.0.1, in a process of its own, sends N frames of about 300 bytes; a real client
reads them through the relay. Recording is what it is in a test: key and secret are replaced, every line is searched
for them and written to a file. The two take turns, first one and then the other being first.

    python benchmarks/record.py --frames 10000 --rounds 9

Printed are medians over the rounds: by the clock, which includes waiting for the server, and by the processor time
of the process in which client, relay and recorder run.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from contenders import Door, Taken, read, timed
from conversation import SUBSCRIBE, frames
from websockets.asyncio.server import ServerConnection, serve

from pytest_connex.cassette.events import FORMAT, VERSION, Header
from pytest_connex.cassette.recorder import Recorder
from pytest_connex.cassette.writing import CassetteWriter
from pytest_connex.config import RECORDED_KEY, RECORDED_SECRET
from pytest_connex.protocol import Dialect
from pytest_connex.proxy.relay import RelayDialler, Unrecorded
from pytest_connex.secrets.redaction import Redactor

SECRETS = {
    "cnx_live_7f3a9c1e5b8d4026": RECORDED_KEY,
    "q8Zr2LwXv5TnJ0sKfYb7HdMc3PgUeA9iR1oVxNtE6kB=": RECORDED_SECRET,
}


async def through_relay(recorder: Any, url: str, count: int) -> None:
    dialler = RelayDialler(recorder)
    async with Door(dialler.behaviour) as connect, connect(url, compression=None) as ws:
        await ws.send(SUBSCRIBE)
        await read(ws.recv, count)
    await dialler.stop_here()


async def recorded(folder: Path, url: str, count: int) -> None:
    redactor = Redactor(SECRETS, Dialect().secret_fields)
    header = Header(FORMAT, VERSION, "2026-01-01T00:00:00Z", "live", "bench", "bench")
    writer = CassetteWriter(folder / "bench.ws.jsonl", header, redactor)
    recorder = Recorder(writer.write, writer.write_messages, redactor, lambda url: url)
    await through_relay(recorder, url, count)
    recorder.finish()
    writer.finish()
    writer.commit()
    writer.settle()


# --- The server ----------------------------------------------------------------------------------------------


async def answer(count: int, port: Connection) -> None:
    texts = list(frames(count))

    async def handler(ws: ServerConnection) -> None:
        async for _ in ws:
            for text in texts:
                await ws.send(text)

    async with serve(handler, "127.0.0.1", 0, compression=None) as server:
        port.send(next(iter(server.sockets)).getsockname()[1])
        await server.serve_forever()


def run_server(count: int, port: Connection) -> None:
    asyncio.run(answer(count, port))


@contextmanager
def server(count: int) -> Iterator[str]:
    """Run the server in a process of its own; yields its URL."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=run_server, args=(count, there), daemon=True)
    process.start()
    try:
        yield f"ws://127.0.0.1:{here.recv()}/"
    finally:
        process.terminate()
        process.join()


# --- The comparison --------------------------------------------------------------------------------------------


def one_round(url: str, count: int, silent_first: bool) -> tuple[Taken, Taken]:
    """Return how long it took with and without recording."""

    def with_recording() -> Taken:
        with tempfile.TemporaryDirectory() as folder:
            return asyncio.run(timed(recorded(Path(folder), url, count)))[1]

    def without() -> Taken:
        return asyncio.run(timed(through_relay(Unrecorded(), url, count)))[1]

    if silent_first:
        silent = without()
        return with_recording(), silent
    return with_recording(), without()


def report(label: str, pairs: list[tuple[float, float]], count: int) -> None:
    """Print frames in a second with and without recording, their ratio, and what recording adds to a frame."""
    ratios = [silent / recording for recording, silent in pairs]
    added = [(recording - silent) / count * 1e6 for recording, silent in pairs]
    print(
        f"{label:18} recording {count / statistics.median(a for a, _ in pairs):8,.0f}/s   "
        f"without {count / statistics.median(b for _, b in pairs):8,.0f}/s   "
        f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})   "
        f"adds {statistics.median(added):.1f} us a frame ({min(added):.1f} to {max(added):.1f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    with server(given.frames) as url:
        one_round(url, given.frames, silent_first=True)  # to warm up
        pairs = [one_round(url, given.frames, bool(number % 2)) for number in range(given.rounds)]
    print(f"{given.frames:,} frames")
    report("by the clock:", [(a.seconds, b.seconds) for a, b in pairs], given.frames)
    report("by processor time:", [(a.cpu, b.cpu) for a, b in pairs], given.frames)


if __name__ == "__main__":
    main()
