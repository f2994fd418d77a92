"""How many frames a second are held against their pinned schema, and how that compares with plain decoding.

The frames are the updates of the other benchmarks, about 300 bytes each, five levels a side. The schema is inferred
from a thousand of them. Three things are measured in turn, and the median of the rounds is printed:

* ``decoded``: ``msgspec.json.decode``, which reads numbers through float and keeps the last of duplicate keys;
* ``decoded exactly``: ``decode_json``, which does neither;
* ``checked``: ``PinnedSchemas.check`` from the text: decoded exactly, classified, and held against the schema.

    python benchmarks/schema.py --frames 20000 --rounds 7
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from conversation import frames

from pytest_connex.protocol import decode_json
from pytest_connex.schema.infer import Inference
from pytest_connex.schema.pinned import PinnedSchemas, write_schema


def per_second(work: Callable[[str], object], texts: list[str]) -> float:
    start = time.perf_counter()
    for text in texts:
        work(text)
    return len(texts) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    texts = list(frames(given.frames))
    inference = Inference()
    start = time.perf_counter()
    for text in texts[:1000]:
        inference.add(text)
    schemas = inference.schemas()
    inferred = len(texts[:1000]) / (time.perf_counter() - start)
    with tempfile.TemporaryDirectory() as folder:
        for name, schema in schemas.items():
            write_schema(Path(folder), name, schema)
        pinned = PinnedSchemas(Path(folder))
        pinned.check(texts[0])
        works = {"decoded": msgspec.json.decode, "decoded exactly": decode_json, "checked": pinned.check}
        rates: dict[str, list[float]] = {name: [] for name in works}
        for _ in range(given.rounds):
            for name, work in works.items():
                rates[name].append(per_second(work, texts))
    plain = statistics.median(rates["decoded"])
    size = statistics.mean(map(len, texts))
    print(f"{given.frames} frames of {size:.0f} characters, median of {given.rounds} rounds")
    for name, measured in rates.items():
        rate = statistics.median(measured)
        print(f"{name:<16} {rate:>10,.0f} frames/s   {plain / rate:6.1f} times as long as plain decoding")
    print(f"{'inferred':<16} {inferred:>10,.0f} frames/s   once, when a schema is pinned")


if __name__ == "__main__":
    main()
