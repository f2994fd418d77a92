"""What HTTP through the proxy costs: memory over many connections and long bodies, and time for each request.

    python benchmarks/passing_on.py --connections 100000
    python benchmarks/passing_on.py --mebibytes 100
    python benchmarks/passing_on.py --requests 10000
    python benchmarks/passing_on.py --stall 100

A server, the proxy in front of it and the clients run in a process each. ``--connections`` opens so many, one request
on each, and prints the memory of the proxy at each tenth of them; ``--mebibytes`` sends a body of that size in both
directions at once. Memory is what is resident, now and at most. ``--requests`` asks on kept connections, through the
proxy and directly. ``--stall`` fetches a body of so many MiB while it is recorded, and prints how long messages on a
WebSocket took meanwhile, there and back.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import random
import tempfile
import time
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext
from pathlib import Path

from contenders import Lenient, peak_memory
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websockets
from websockets.sync.client import connect

from pytest_connex.cassette.session import Action, CassetteSession, Plan, Settings
from pytest_connex.config import ConnexConfig
from pytest_connex.protocol import Dialect
from pytest_connex.proxy.proxy import Proxy
from pytest_connex.upstreams import all_upstreams

AT_ONCE = 50
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n" + b'{"status":"ok"}'
ASK = "GET /v1/status HTTP/1.1\r\nHost: localhost\r\nX-CONNEX-API-KEY: key\r\nAccept: */*\r\nConnection: {}\r\n\r\n"
MEBIBYTE = 1 << 20


def resident() -> float:
    """Return the memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / MEBIBYTE


# --- The server and the proxy, each in a process of its own -----------------------------------------------------


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer short requests shortly, and send back the body of a long one as it comes."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET /long/"):
                await send_long(writer, int(head.split(b"/")[2].split()[0]))
                continue
            if not head.startswith(b"PUT"):
                writer.write(ANSWER)
                continue
            left = int(head.lower().partition(b"content-length:")[2].split()[0])
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % left)
            while left:
                piece = await reader.read(1 << 16)
                left -= len(piece)
                writer.write(piece)
                await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def send_long(writer: asyncio.StreamWriter, mebibytes: int) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (mebibytes * MEBIBYTE))
    piece = random.Random(1).randbytes(1 << 16)
    for _ in range(mebibytes * 16):
        writer.write(piece)
        await writer.drain()


async def echo(websocket: ServerConnection) -> None:
    async for message in websocket:
        await websocket.send(message)


def serve(pipe: Connection) -> None:
    async def run() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=1024)
        async with serve_websockets(echo, "127.0.0.1", 0) as echoing:
            pipe.send([one.sockets[0].getsockname()[1] for one in (server, echoing)])
            await asyncio.to_thread(pipe.recv)

    asyncio.run(run())


def serve_proxy(pipe: Connection, rest: int, websocket: int, action: Action) -> None:
    config = ConnexConfig(
        rest_url=f"http://127.0.0.1:{rest}",
        ws_url=f"ws://127.0.0.1:{websocket}/",
        api_key="key-of-a-benchmark",
        api_secret="secret-of-a-benchmark",
    )
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(action, "bench", Path(folder) / "bench", "live", "bench")
        settings = Settings(config, Dialect(), all_upstreams(config, {}))
        session = CassetteSession(plan, lambda: settings, Lenient())
        session.open()
        with Proxy(lambda: session, config) as proxy:
            pipe.send((int(proxy.rest_url.rpartition(":")[2]), proxy.ws_url))
            while pipe.recv() == "memory":
                pipe.send((resident(), peak_memory()))
        start = time.perf_counter()
        session.close()
        session.commit()
        pipe.send((time.perf_counter() - start, sum(file.stat().st_size for file in Path(folder).iterdir())))


# --- The clients -------------------------------------------------------------------------------------------------


async def visit(port: int, connections: int, requests: int) -> None:
    """Open so many connections, some at once, with so many requests on each."""
    ask = ASK.format("keep-alive").encode()

    async def visitor(count: int) -> None:
        for _ in range(count):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for _ in range(requests):
                writer.write(ask)
                found = await reader.readexactly(len(ANSWER))
                if found != ANSWER:
                    raise SystemExit(f"expected {ANSWER!r}, and got {found!r}")
            writer.close()
            await writer.wait_closed()

    at_once = min(AT_ONCE, connections)
    await asyncio.gather(*(visitor(connections // at_once) for _ in range(at_once)))


async def exchange(port: int, mebibytes: int) -> None:
    """Send a long body, and read it back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    size = mebibytes * MEBIBYTE
    writer.write(b"PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % size)

    async def send() -> None:
        for _ in range(mebibytes):
            writer.write(bytes(MEBIBYTE))
            await writer.drain()

    sending = asyncio.create_task(send())
    await reader.readuntil(b"\r\n\r\n")
    left = size
    while left:
        left -= len(await reader.read(1 << 16))
    await sending
    writer.close()


async def fetch(port: int, mebibytes: int) -> float:
    start = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /long/%d HTTP/1.1\r\nHost: localhost\r\n\r\n" % mebibytes)
    await reader.readuntil(b"\r\n\r\n")
    left = mebibytes * MEBIBYTE
    while left:
        left -= len(await reader.read(1 << 16))
    writer.close()
    return time.perf_counter() - start


def converse(pipe: Connection, url: str) -> None:
    """Say something every few milliseconds until told to stop, and tell how long each answer took."""
    with connect(url) as websocket:
        for _ in range(100):  # the first make the proxy import what it needs
            websocket.send("x")
            websocket.recv()
        pipe.send("ready")
        taken = []
        while not pipe.poll():
            start = time.perf_counter()
            websocket.send("x")
            websocket.recv()
            taken.append((time.perf_counter() - start) * 1e3)
            time.sleep(0.002)
        pipe.send(taken)


def show_stall(context: SpawnContext, proxy: Connection, port: int, url: str, mebibytes: int) -> None:
    asyncio.run(visit(port, 1, 1))
    pipe, theirs = context.Pipe()
    context.Process(target=converse, args=(theirs, url), daemon=True).start()
    pipe.recv()
    seconds = asyncio.run(fetch(port, mebibytes))
    pipe.send("stop")
    taken = sorted(pipe.recv())
    print(f"{mebibytes} MiB came in {seconds:.2f} s; meanwhile {len(taken)} messages went there and back")
    print(f"median {taken[len(taken) // 2]:.1f} ms, the slowest {', '.join(f'{one:.1f}' for one in taken[-3:])} ms")
    proxy.send("memory")
    print("memory of the proxy: {:.1f} MiB now, {:.1f} MiB at most".format(*proxy.recv()))
    proxy.send("stop")
    seconds, size = proxy.recv()
    print(f"cleaned, written and proved in {seconds:.2f} s: {size / MEBIBYTE:.1f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--connections", type=int, default=0)
    parser.add_argument("--mebibytes", type=int, default=0)
    parser.add_argument("--requests", type=int, default=0)
    parser.add_argument("--stall", type=int, default=0, metavar="MEBIBYTES")
    given = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    server, theirs = context.Pipe()
    context.Process(target=serve, args=(theirs,), daemon=True).start()
    direct, websocket = server.recv()
    proxy, theirs = context.Pipe()
    context.Process(
        target=serve_proxy, args=(theirs, direct, websocket, "record" if given.stall else "pass"), daemon=True
    ).start()
    port, url = proxy.recv()
    if given.stall:
        show_stall(context, proxy, port, url, given.stall)
        return

    def memory(when: str) -> None:
        proxy.send("memory")
        now, most = proxy.recv()
        print(f"{when:>24}: {now:6.1f} MiB now, {most:6.1f} MiB at most")

    memory("at the beginning")
    for tenth in range(1, 11) if given.connections else ():
        asyncio.run(visit(port, given.connections // 10, 1))
        memory(f"{given.connections // 10 * tenth:,} connections")
    if given.mebibytes:
        start = time.perf_counter()
        asyncio.run(exchange(port, given.mebibytes))
        memory(f"{given.mebibytes} MiB there and back")
        print(f"{given.mebibytes * 2 / (time.perf_counter() - start):,.0f} MiB/s")
    for name, number in (("directly", direct), ("through the proxy", port)) if given.requests else ():
        start = time.perf_counter()
        asyncio.run(visit(number, AT_ONCE, given.requests // AT_ONCE))
        taken = time.perf_counter() - start
        print(f"{name:>24}: {given.requests / taken:8,.0f} requests/s, {taken / given.requests * 1e6:.0f} us each")


if __name__ == "__main__":
    main()
