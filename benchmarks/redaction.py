"""How many megabytes a second are searched for secrets, and have them replaced.

    python benchmarks/redaction.py --megabytes 8 --rounds 3

Everything that is recorded goes through both: replacing first, and a search of what is left, which refuses the
recording when it finds something. Each kind of data is made from a seed and holds no secret, as most data does not.
There are 13 secrets; as many as a run of several accounts has.

``search`` is the search of a whole body or frame, ``replace`` the replacing in it. Figures are medians of
``--rounds``.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import json
import random
import statistics
import string
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from pytest_connex.protocol import Dialect
from pytest_connex.secrets.learning import redactor_for

SECRETS = 13
MEGABYTE = 1_000_000
NOWHERE = Path("benchmark")


def books(chance: random.Random, size: int) -> str:
    """Return order-book messages, one a line."""
    lines = []
    length = 0
    while length < size:
        levels = [[f"{chance.uniform(2000, 3000):.2f}", f"{chance.random():.4f}"] for _ in range(20)]
        message = {"type": "update", "symbol": "ETH/USDT", "sequence": chance.getrandbits(32), "bids": levels}
        lines.append(json.dumps(message))
        length += len(lines[-1]) + 1
    return "\n".join(lines)


def words(chance: random.Random, size: int) -> str:
    """Return a page of text with markup, as an error page is, beyond ASCII here and there."""
    some = ["<p>", "</p>\n", "the", "balance", "of", "é", "&amp;", "&nbsp;", "100%", "order", "C:\\new", "a&b"]
    return " ".join(chance.choices(some, k=size // 4))


def kinds(chance: random.Random, size: int) -> dict[str, bytes]:
    """Return data of each kind, of about ``size`` bytes."""
    text = books(chance, size)
    noise = chance.randbytes(size)
    return {
        "order books": text.encode(),
        "the same inside JSON": json.dumps(text[: size // 2]).encode(),
        "the same, escaped for a URL": quote(text[: size // 2]).encode(),
        "the same, compressed": gzip.compress(text.encode(), 6),
        "a page": words(chance, size).encode(),
        "random bytes": noise,
        "random bytes in base64": base64.b64encode(noise[: size * 3 // 4]),
        "random bytes in hexadecimal": noise[: size // 2].hex().encode(),
        "zeros": bytes(size),
        "backslashes": b'{"token":["' + b"\\" * size,
    }


def speed(work: Callable[[], object], size: int, rounds: int) -> float:
    """Return megabytes a second."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return size / MEGABYTE / statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="only kinds whose name has this in it")
    args = parser.parse_args()
    chance = random.Random(7)
    letters = string.ascii_letters + string.digits
    secrets = {"".join(chance.choices(letters, k=8 + 4 * number)): "x" for number in range(SECRETS)}
    redactor = redactor_for(Dialect(), secrets)
    print(f"{'MB/s':28}{'search':>10}{'replace':>10}")
    for name, data in kinds(chance, int(args.megabytes * MEGABYTE)).items():
        if args.only not in name:
            continue
        searched = speed(lambda: redactor.check(data, NOWHERE, 1), len(data), args.rounds)  # noqa: B023
        replaced = speed(lambda: redactor.payload(data), len(data), args.rounds)  # noqa: B023
        print(f"{name:28}{searched:10.1f}{replaced:10.1f}", flush=True)


if __name__ == "__main__":
    main()
