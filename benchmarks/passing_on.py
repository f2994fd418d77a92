"""What HTTP through the proxy costs: memory over many connections and long bodies, and time for each request.

    python benchmarks/passing_on.py --connections 100000
    python benchmarks/passing_on.py --mebibytes 100
    python benchmarks/passing_on.py --requests 10000

A server, the proxy in front of it and the clients run in a process each. ``--connections`` opens so many, one request
on each, and prints the memory of the proxy at each tenth of them; ``--mebibytes`` sends a body of that size in both
directions at once. Memory is what is resident, now and at most. ``--requests`` asks on kept connections, through the
proxy and directly.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import time
from multiprocessing.connection import Connection
from pathlib import Path

from contenders import Lenient, peak_memory

from pytest_connex.cassette.session import CassetteSession, Plan, Settings
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


def serve(pipe: Connection) -> None:
    async def run() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=1024)
        pipe.send(server.sockets[0].getsockname()[1])
        await asyncio.to_thread(pipe.recv)

    asyncio.run(run())


def serve_proxy(pipe: Connection, upstream: int) -> None:
    config = ConnexConfig(rest_url=f"http://127.0.0.1:{upstream}")
    plan = Plan("pass", "bench", Path("unused"), "live", "bench")
    settings = Settings(config, Dialect(), all_upstreams(config, {}))
    session = CassetteSession(plan, lambda: settings, Lenient())
    session.open()
    with Proxy(lambda: session, config) as proxy:
        pipe.send(int(proxy.rest_url.rpartition(":")[2]))
        while pipe.recv() == "memory":
            pipe.send((resident(), peak_memory()))


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--connections", type=int, default=0)
    parser.add_argument("--mebibytes", type=int, default=0)
    parser.add_argument("--requests", type=int, default=0)
    given = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    server, theirs = context.Pipe()
    context.Process(target=serve, args=(theirs,), daemon=True).start()
    direct = server.recv()
    proxy, theirs = context.Pipe()
    context.Process(target=serve_proxy, args=(theirs, direct), daemon=True).start()
    port = proxy.recv()

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
