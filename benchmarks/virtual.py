"""What a jump of the virtual clock costs, with many connections.

    python benchmarks/virtual.py --sockets 200 --jumps 10000

Prints microseconds of processor time for one ``asyncio.sleep`` on a virtual clock, medians of ``--rounds`` that take
turns: without connections, beside idle ones, and where each sleep is followed by a message on one of them; the last
also on a loop that does not look for bytes under way, which is what there is to gain.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable

from pytest_connex import loopback, virtual


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Answers(asyncio.Protocol):
    def __init__(self) -> None:
        self.answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.answered.set_result(data)


async def jumps(sockets: int, count: int, asking: bool) -> float:
    """Return the microseconds of one sleep."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    clients = [await loop.create_connection(Answers, *address) for _ in range(sockets // 2)]
    start = time.process_time()
    for number in range(count):
        await asyncio.sleep(1)
        if asking:
            transport, protocol = clients[number % len(clients)]
            protocol.answered = loop.create_future()
            transport.write(b"question")
            await protocol.answered
    taken = time.process_time() - start
    for transport, _ in clients:
        transport.close()
    server.close()
    await asyncio.sleep(1)
    return taken / count * 1e6


def run(sockets: int, count: int, asking: bool = False) -> float:
    with asyncio.Runner(loop_factory=virtual.VirtualLoop) as runner:
        return runner.run(jumps(sockets, count, asking))


def trusting(sockets: int, count: int) -> float:
    """Run with messages on a loop that takes for granted that everything has arrived."""
    under_way = loopback.Connections.under_way
    loopback.Connections.under_way = lambda self: {}
    try:
        return run(sockets, count, True)
    finally:
        loopback.Connections.under_way = under_way


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sockets", type=int, default=200)
    parser.add_argument("--jumps", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    programs: dict[str, Callable[[], float]] = {
        "no connections": lambda: run(0, asked.jumps),
        f"{asked.sockets} idle sockets": lambda: run(asked.sockets, asked.jumps),
        f"{asked.sockets} sockets, a message on one": lambda: run(asked.sockets, asked.jumps, True),
        "the same, bytes under way not looked for": lambda: trusting(asked.sockets, asked.jumps),
    }
    taken: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(asked.rounds):
        for name, program in programs.items():
            taken[name].append(program())
    for name, figures in taken.items():
        print(f"{name:42} {statistics.median(figures):7.1f} us a jump, {min(figures):7.1f} at best")


if __name__ == "__main__":
    main()
