"""What the plugin costs a pytest run that uses nothing of it.

Runs ``pytest`` on one empty test with and without the plugin in turn, and prints medians, the spread, the
median of the paired differences, and which modules the plugin brings.

    python benchmarks/startup.py --rounds 20
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WITHOUT = ("-p", "no:connex")


def seconds(folder: Path, *args: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "pytest", "-q", *args], cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - start


def modules(folder: Path, *args: str) -> set[str]:
    code = "import sys, pytest; pytest.main(['-q', *sys.argv[1:]], plugins=[]);print(); print(*sorted(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code, *args], cwd=folder, check=True, capture_output=True, text=True)
    return set(ran.stdout.splitlines()[-1].split())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "test_empty.py").write_text("def test_empty():\n    pass\n")
        for args in ((), WITHOUT):
            seconds(folder, *args)
        pairs = [(seconds(folder), seconds(folder, *WITHOUT)) for _ in range(rounds)]
        brought = modules(folder) - modules(folder, *WITHOUT)
    for label, values in (("with", [a for a, _ in pairs]), ("without", [b for _, b in pairs])):
        print(
            f"{label:8} median {statistics.median(values) * 1e3:7.1f} ms   "
            f"min {min(values) * 1e3:7.1f}   max {max(values) * 1e3:7.1f}"
        )
    difference = statistics.median(a - b for a, b in pairs)
    print(f"the plugin's own: {difference * 1e3:.1f} ms (median of {rounds} paired differences)")
    print("modules it brings:", *sorted(brought))


if __name__ == "__main__":
    main()
