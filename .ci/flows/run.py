"""Record the flows once from a server of their own, replay them many times without it, and print a table.

python .ci/flows/run.py --times 100             # exit code 1 if a replay is not what was recorded
python .ci/flows/run.py --times 100 --jobs 4    # so many replays at once: they are each other's load
python .ci/flows/run.py -k fill --keep DIR      # some flows; recordings and reports stay there
python .ci/flows/run.py --races                 # those too whose client races with itself
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
FILES = ("conftest.py", "pytest.ini", "trading.py", "test_flows.py", "test_races.py")
UNNEEDED = ("cacheprovider", "randomly", "xdist", "socket", "freezer", "freezegun", "hypothesispytest")

_ROW = "{:<62} {:>8} {:>12} {:>15}"


def main() -> int:
    """Run what the command line asks for, and return the exit code."""
    given = _arguments()
    with _workplace(given.keep) as folder:
        for name in FILES:
            shutil.copy(HERE / name, folder)
        select = [
            "test_flows.py",
            *(["test_races.py"] if given.races else []),
            *(["-k", given.only] if given.only else []),
        ]
        with _served() as variables:
            recorded = _pytest(folder, "recording", variables, "--connex-live", "--connex-record=rewrite", *select)
        if recorded.returncode:
            print(recorded.stdout, "the flows could not be recorded", sep="\n")
            return 1
        with ThreadPoolExecutor(given.jobs) as pool:
            runs = list(pool.map(lambda number: replay(folder, number, select), range(given.times)))
        return print_table(folder, runs)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20, metavar="N", help="how often the flows are replayed")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="how many replays there are at once")
    parser.add_argument("-k", dest="only", metavar="EXPRESSION", help="which flows, as pytest selects them")
    parser.add_argument("--races", action="store_true", help="those too whose client may see another order")
    parser.add_argument("--keep", type=Path, metavar="DIR")
    return parser.parse_args()


@contextmanager
def _workplace(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept.resolve()
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder).resolve()


@contextmanager
def _served() -> Iterator[dict[str, str]]:
    """Run the server; yield the variables that lead to it."""
    with subprocess.Popen([sys.executable, str(HERE / "server.py")], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        lines = [server.stdout.readline() for _ in range(4)]
        words = [word for line in lines for word in line.removeprefix("export").split()]
        try:
            yield dict(word.split("=", 1) for word in words)
        finally:
            server.terminate()


def replay(folder: Path, number: int, select: list[str]) -> subprocess.CompletedProcess[str]:
    """Replay the flows, each time in another order."""
    return _pytest(folder, f"replay-{number}", {"FLOWS_SEED": str(number)}, *select)


def _pytest(folder: Path, name: str, variables: dict[str, str], *args: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("CONNEX_", "VENUE_", "PYTEST_"))}
    environment = {**kept, **variables, "FLOWS_REPORT": str(folder / f"{name}.jsonl")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    (folder / f"{name}.jsonl").unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", *(f"-pno:{plugin}" for plugin in UNNEEDED), *args]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    (folder / f"{name}.txt").write_text(done.stdout + done.stderr)
    return done


def print_table(folder: Path, runs: list[subprocess.CompletedProcess[str]]) -> int:
    """Print what became of each flow; return the exit code."""
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    failed: defaultdict[str, list[str]] = defaultdict(list)
    for number in range(len(runs)):
        report = folder / f"replay-{number}.jsonl"
        for line in report.read_text().splitlines() if report.exists() else ():
            result = json.loads(line)
            flow = result["flow"].partition("::test_")[2]
            seconds[flow].append(result["seconds"])
            if result["failed"]:
                failed[flow].append(f"replay {number}: " + "\n    ".join(result["why"]))
    print(_ROW.format("flow", "replays", "differences", "seconds at most"))
    for flow, taken in seconds.items():
        print(_ROW.format(flow, len(taken), len(failed[flow]), f"{max(taken):.2f}"))
    for flow, reasons in failed.items():
        for reason in reasons[:3]:
            print(f"\n{flow}, {reason}")
    ended = [run.returncode for run in runs]
    print(f"\n{len(seconds)} flows, {len(runs)} replays, {sum(map(len, failed.values()))} differences")
    if not seconds or any(ended):
        bad = next((number for number, code in enumerate(ended) if code), None)
        print(f"exit codes of pytest: {sorted(set(ended))}; the first that is not 0 is replay {bad}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
