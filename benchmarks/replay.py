"""How fast a recording replays into the real client, against that client's own ceiling.

Both sides are the same ``websockets`` client, reading N order-book frames of about 300 bytes. The ceiling is
fed from a socket pair with frames encoded beforehand; replay begins at the file. The two take turns; figures
are medians.

    python benchmarks/replay.py --frames 10000 100000 --rounds 5
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import statistics
import tempfile
import time
from pathlib import Path

from websockets.asyncio.client import connect
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from pytest_connex.cassette.connect import connector
from pytest_connex.cassette.events import FORMAT, VERSION, Closed, Dial, Header, Open, Received
from pytest_connex.cassette.player import Player, Rules
from pytest_connex.cassette.redaction import Redactor
from pytest_connex.cassette.replay import ReplayDialler
from pytest_connex.cassette.store import Recording
from pytest_connex.cassette.writing import CassetteWriter
from pytest_connex.sandbox.market import Market

URL = "wss://ws.connex.invalid/"


def frames(count: int) -> list[str]:
    """Updates of a market, repeated: about 300 bytes each."""
    market = Market(7, "binance", "ETH/USDT")
    made = []
    for number in range(min(count, 1000)):
        bids, asks = market.snapshot(5)
        update = {"type": "update", "symbol": "ETH/USDT", "sequence": number, "bids": bids, "asks": asks}
        made.append(json.dumps(update))
    return [made[number % len(made)] for number in range(count)]


def write_recording(path: Path, texts: list[str]) -> None:
    nothing = Redactor({})
    writer = CassetteWriter(
        path, Header(FORMAT, VERSION, "2026-01-01T00:00:00Z", "sandbox", "bench", "bench"), nothing
    )
    writer.write(Dial(1, 0.0, URL))
    writer.write(Open(1, 0.0))
    for number, text in enumerate(texts):
        writer.write(Received(1, number / 1000, text))
    writer.write(Closed(1, len(texts) / 1000, "client", 1000))
    writer.finish()
    writer.commit()


class Fed(asyncio.Protocol):
    """Answers the handshake and writes what was encoded beforehand, minding the client's buffers."""

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
                self._send()
                self._pump()
            else:
                self._transport.close()
                return
        self._send()

    def pause_writing(self) -> None:
        self._writing = False

    def resume_writing(self) -> None:
        self._writing = True
        self._pump()

    def _send(self) -> None:
        for data in self._protocol.data_to_send():
            self._transport.write(data)

    def _pump(self) -> None:
        while self._writing and (chunk := next(self._chunks, None)) is not None:
            self._transport.write(chunk)


def encoded(texts: list[str], batch: int = 256) -> list[bytes]:
    whole = [Frame(Opcode.TEXT, text.encode()).serialize(mask=False) for text in texts]
    return [b"".join(whole[start : start + batch]) for start in range(0, len(whole), batch)]


async def read(ws, count: int) -> None:
    for _ in range(count):
        await ws.recv()


async def ceiling(chunks: list[bytes], count: int) -> float:
    ours, theirs = socket.socketpair()
    for half in (ours, theirs):
        half.setblocking(False)
    start = time.perf_counter()
    await asyncio.get_running_loop().create_connection(lambda: Fed(chunks), sock=ours)
    ws = await connect("ws://ws.connex.invalid/", sock=theirs, compression=None)
    await read(ws, count)
    taken = time.perf_counter() - start
    await ws.close()
    return count / taken


async def replay(path: Path, count: int) -> float:
    def verdict(error: Exception) -> None:
        raise error

    start = time.perf_counter()
    dialler = ReplayDialler(Player(Recording(path), Rules((), Redactor({}))), 5.0, verdict)
    ws = await connector(dialler)(URL, compression=None)
    await read(ws, count)
    taken = time.perf_counter() - start
    await ws.close()
    return count / taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    for count in arguments.frames:
        texts = frames(count)
        chunks = encoded(texts)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "bench.ws.jsonl"
            write_recording(path, texts)
            pairs = [
                (asyncio.run(replay(path, count)), asyncio.run(ceiling(chunks, count)))
                for _ in range(arguments.rounds)
            ]
        ours = statistics.median(a for a, _ in pairs)
        theirs = statistics.median(b for _, b in pairs)
        ratio = statistics.median(a / b for a, b in pairs)
        print(
            f"{count:>9} frames of {len(texts[0])} bytes: replay {ours:9.0f}/s   ceiling {theirs:9.0f}/s   "
            f"ratio {ratio:.2f} ({min(a / b for a, b in pairs):.2f} to {max(a / b for a, b in pairs):.2f})"
        )


if __name__ == "__main__":
    main()
