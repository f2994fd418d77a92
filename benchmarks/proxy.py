"""Many clients at once on one proxy, each replaying its own recorded frames; beside a plain aiohttp server.

    python benchmarks/proxy.py --clients 200 --frames 1000
    python benchmarks/proxy.py --start-up

Clients are real ``websockets`` connections in one process; the proxy, or the plain server that sends the same
frames of about 300 bytes, runs in another. Every client subscribes with a number of its own, and the frames it
gets carry that number and their place, so that a lost, doubled or misdirected frame fails the run. Loading the
recording is not counted, as the plain server has its frames in memory too. The two take turns; figures are medians
of ``--rounds``, memory is the most that the serving process had.

``--start-up`` measures what a test pays: starting and stopping a proxy within this process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from aiohttp import WSMsgType, web
from contenders import Lenient, peak_memory
from conversation import frames
from websockets.asyncio.client import connect

from pytest_connex.cassette.events import FORMAT, VERSION, Closed, Dial, Header, Open, Received, Sent
from pytest_connex.cassette.session import CassetteSession, Plan, Settings
from pytest_connex.cassette.writing import CassetteWriter
from pytest_connex.config import RECORDED_WS_URL, recorded_config
from pytest_connex.protocol import Dialect
from pytest_connex.proxy.proxy import Proxy
from pytest_connex.secrets.redaction import Redactor
from pytest_connex.upstreams import all_upstreams


def subscription(client: int) -> str:
    return json.dumps({"action": "subscribe", "channel": "orderbook", "client": client})


def updates(client: int, count: int) -> Iterator[str]:
    for place, text in enumerate(frames(count)):
        yield f'{{"client": {client}, "place": {place}, {text[1:]}'


def write_recording(stem: Path, clients: int, count: int) -> None:
    """Write what ``clients`` connections of the same URL said, as if they had taken turns."""
    header = Header(FORMAT, VERSION, "2026-01-01T00:00:00Z", "sandbox", "bench", "bench")
    writer = CassetteWriter(stem.with_name(f"{stem.name}.ws.jsonl"), header, Redactor({}))
    numbers = range(1, clients + 1)
    for conn in numbers:
        writer.write(Dial(conn, 0.0, f"{RECORDED_WS_URL}/"))
        writer.write(Open(conn, 0.0))
    for conn in numbers:
        writer.write(Sent(conn, 0.0, subscription(conn)))
    streams = [updates(conn, count) for conn in numbers]
    for texts in zip(*streams, strict=True):
        for conn, text in enumerate(texts, start=1):
            writer.write(Received(conn, 0.0, text))
    for conn in numbers:
        writer.write(Closed(conn, 0.0, "client", 1000))
    writer.finish()
    writer.commit()
    writer.settle()


def session(stem: Path) -> CassetteSession:
    config = recorded_config()
    settings = Settings(config, Dialect(), all_upstreams(config, {}))
    return CassetteSession(Plan("replay", "bench", stem, "live", "bench"), lambda: settings, Lenient())


# --- The two servers, each in a process of its own ---------------------------------------------------------------


def serve_proxy(pipe: Connection, stem: Path, clients: int, count: int) -> None:
    recordings = session(stem)
    recordings.open()
    with Proxy(lambda: recordings, recorded_config()) as proxy:
        pipe.send(proxy.ws_url)
        pipe.recv()
    pipe.send((peak_memory(), str(recordings.verdict or recordings.unplayed() or "")))


def serve_plainly(pipe: Connection, stem: Path, clients: int, count: int) -> None:
    texts = {client: list(updates(client, count)) for client in range(1, clients + 1)}

    async def answer(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                for text in texts[json.loads(message.data)["client"]]:
                    await socket.send_str(text)
        return socket

    async def run() -> None:
        app = web.Application()
        app.router.add_get("/", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
        pipe.send(f"ws://127.0.0.1:{runner.addresses[0][1]}/")
        await asyncio.to_thread(pipe.recv)
        await runner.cleanup()

    asyncio.run(run())
    pipe.send((peak_memory(), ""))


SERVERS = {"proxy": serve_proxy, "plain aiohttp": serve_plainly}


# --- The clients -------------------------------------------------------------------------------------------------


async def one(url: str, client: int, count: int) -> None:
    async with connect(url, compression=None, open_timeout=60, ping_interval=None) as ws:
        await ws.send(subscription(client))
        for place in range(count):
            begin = f'{{"client": {client}, "place": {place}, '
            text = await ws.recv()
            if not str(text).startswith(begin):
                raise SystemExit(f"client {client} expected frame {place}, and got {text[:60]!r}")


async def crowd(url: str, clients: int, count: int) -> float:
    start = time.perf_counter()
    await asyncio.gather(*(one(url, client, count) for client in range(1, clients + 1)))
    return time.perf_counter() - start


def measured(name: str, stem: Path, clients: int, count: int) -> tuple[float, float]:
    """Return the seconds that all clients took, and the memory of the server in MiB."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=SERVERS[name], args=(theirs, stem, clients, count), daemon=True)
    process.start()
    try:
        seconds = asyncio.run(crowd(ours.recv(), clients, count))
        ours.send("stop")
        memory, problem = ours.recv()
    finally:
        process.join(10)
    if problem:
        raise SystemExit(f"{name}: {problem}")
    return seconds, memory


def start_up(rounds: int) -> None:
    taken = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            recordings = session(Path(folder) / "none")
            proxy = Proxy(lambda: recordings, recorded_config())  # noqa: B023  (it is stopped within the loop)
            start = time.perf_counter()
            proxy.start()
            proxy.stop()
            taken.append((time.perf_counter() - start) * 1e3)
    print(f"start and stop: {statistics.median(taken):.2f} ms ({min(taken):.2f} to {max(taken):.2f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--frames", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--start-up", action="store_true")
    given = parser.parse_args()
    if given.start_up:
        start_up(given.rounds * 10)
        return
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in SERVERS}
    with tempfile.TemporaryDirectory() as folder:
        stem = Path(folder) / "bench"
        write_recording(stem, given.clients, given.frames)
        for _ in range(given.rounds):
            for name, found in results.items():
                found.append(measured(name, stem, given.clients, given.frames))
    total = given.clients * given.frames
    print(f"{given.clients} clients at once, {given.frames:,} frames each, none lost or misdirected")
    for name, found in results.items():
        seconds = statistics.median(taken for taken, _ in found)
        memory = statistics.median(used for _, used in found)
        print(f"{name:14} {seconds:6.2f} s   {total / seconds:9,.0f} frames/s   peak memory {memory:6.1f} MiB")
    ratio = statistics.median(b / a for (a, _), (b, _) in zip(*results.values(), strict=True))
    print(f"the proxy at {ratio:.2f} of the plain server's pace")


if __name__ == "__main__":
    main()
