"""How long HTTP recordings take: recording, loading and playing N interactions, and one body of many megabytes.

    python benchmarks/rest.py --interactions 1000 10000 100000 --rounds 3
    python benchmarks/rest.py --body 100

An interaction is a signed query with its headers, and an answer of about 300 bytes of JSON. Recording goes from the
request to the finished file; loading begins at the file; playing asks for every interaction, the last one first. Each
is measured in the process's own time, which other work on the machine hardly changes; figures are medians.

``--body`` records, loads and plays one answer of so many MiB, of text and of random bytes, each in a process of its
own, and prints seconds and the largest size that the process had.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conversation import frames

from pytest_connex.cassette.exchange import HttpRequest
from pytest_connex.cassette.http_file import read_interactions
from pytest_connex.cassette.http_matching import Matching
from pytest_connex.cassette.http_player import HttpPlayer, HttpRules
from pytest_connex.cassette.http_recorder import HttpRecorder
from pytest_connex.cassette.stamps import TapeClock
from pytest_connex.errors import CassetteError
from pytest_connex.protocol import Dialect
from pytest_connex.secrets.redaction import Redactor

HOST = "https://rest.connex.invalid"
KEY, SECRET = "AKfYcbwXYZ0123456789abcd", "s3cr3t-0123456789abcdef"
REDACTOR = Redactor({KEY: "connex-recorded-key", SECRET: "connex-recorded-secret"}, Dialect().secret_fields)
UPSTREAMS = {"rest": HOST}
HEADERS = [("Accept", "*/*"), ("User-Agent", "bench"), ("X-CONNEX-API-KEY", KEY), ("X-CONNEX-API-SECRET", SECRET)]
ANSWER = [
    ("Content-Type", "application/json"),
    ("Date", "Mon, 23 Nov 2026 21:20:55 GMT"),
    ("X-RateLimit-Limit", "1200"),
]
PIECE = 65_536


def requests(count: int) -> list[HttpRequest]:
    return [
        HttpRequest("GET", f"{HOST}/v1/orderbook/binance/ETHUSDT?number={number}&signature=00ff", HEADERS, b"")
        for number in range(count)
    ]


def failed(problem: CassetteError) -> None:
    raise problem


def record(path: Path, asked: list[HttpRequest], answers: Iterator[Iterator[bytes]]) -> None:
    recorder = HttpRecorder(path, REDACTOR, UPSTREAMS, TapeClock(time.monotonic), failed)
    for request, pieces in zip(asked, answers, strict=False):
        conversation = recorder.asked(request)
        conversation.answered(200, "OK", ANSWER)
        for piece in pieces:
            conversation.piece(piece)
        conversation.ended("whole")
    recorder.finish()
    writer = recorder.writer({"source": "live", "test": "bench"})
    assert writer is not None
    writer.finish()
    writer.commit()
    writer.settle()
    recorder.close()


def load(path: Path) -> HttpPlayer:
    dialect = Dialect()
    matching = Matching(dialect.volatile_query, dialect.volatile_body)
    return HttpPlayer(path, read_interactions(path), HttpRules(matching, REDACTOR, UPSTREAMS))


def play(player: HttpPlayer, asked: list[HttpRequest]) -> None:
    for request in reversed(asked):
        played = player.ask(request)
        assert all(played.due(part) for part in range(-1, len(played.pieces) + 1))
    assert player.unplayed() is None


@contextmanager
def timed(figures: list[float]) -> Iterator[None]:
    start = time.process_time()
    yield
    figures.append(time.process_time() - start)


def interactions(count: int, rounds: int) -> None:
    asked = requests(count)
    recording: list[float] = []
    loading: list[float] = []
    playing: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.yaml"
        for _ in range(rounds):
            with timed(recording):
                record(path, asked, (iter([text.encode()]) for text in frames(count)))
            with timed(loading):
                player = load(path)
            with timed(playing):
                play(player, asked)
    figures = [statistics.median(one) for one in (recording, loading, playing)]
    print(
        f"{count:>8,} interactions: recorded in {figures[0]:.2f} s, loaded in {figures[1]:.2f} s, "
        f"played in {figures[2]:.2f} s; load and play {figures[1] + figures[2]:.2f} s"
    )


def body(kind: str, size: int) -> None:
    def pieces() -> Iterator[bytes]:
        text = "\n".join(frames(300)).encode()[:PIECE]
        for _ in range(size * 2**20 // PIECE):
            yield text if kind == "text" else os.urandom(PIECE)

    asked = requests(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.yaml"
        start = time.process_time()
        record(path, asked, iter([pieces()]))
        middle = time.process_time()
        largest = largest_size()
        play(load(path), asked)
        seconds = middle - start, time.process_time() - middle
    print(
        f"{size} MiB of {kind}: recorded in {seconds[0]:.1f} s with {largest:,.0f} MiB, "
        f"loaded and played in {seconds[1]:.1f} s with {largest_size():,.0f} MiB"
    )


def largest_size() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--interactions", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--body", type=int, help="MiB")
    parser.add_argument("--kind", choices=("text", "random"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.body is None:
        for count in given.interactions:
            interactions(count, given.rounds)
    elif given.kind is None:
        for kind in ("text", "random"):
            subprocess.run([sys.executable, __file__, "--body", str(given.body), "--kind", kind], check=True)
    else:
        body(given.kind, given.body)


if __name__ == "__main__":
    main()
