"""What the plugin costs a pytest run that uses nothing of it.

Runs ``pytest`` on one empty test with and without the plugin in turn, first one and then the other being first, and
prints medians, the median of the paired differences with its quartiles, and the difference of the quickest runs: by
the clock, and in processor time (user and system) of the child process, which other work on the machine changes less.

    python benchmarks/startup.py --rounds 20

The same is printed of ``connex --help`` against a Python that does nothing.

Then it prints the modules that the plugin brings, with what ``-X importtime`` says that they take, and which of the
heavy ones are among them: once beside the plugins that are installed, some of which import heavy ones themselves, and
once with no plugin but this one and what it imports itself.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

COMMAND = ("-m", "pytest", "-q", "-p", "no:hypothesispytest")
"""Hypothesis is left out of every run: it takes a second of its own, in which a few milliseconds would be lost."""

HELP = ("-c", "from pytest_connex.cli import app; app()", "--help")
WITHOUT = ("-p", "no:connex")
ALONE = ("-p", "pytest_connex.plugin")
IMPORT_ROUNDS = 5
MARK = "--- brought ---"
IMPORTS = f"""
import contextlib, sys
for name in sys.argv[1].split():
    with contextlib.suppress(Exception):
        __import__(name)
print({MARK!r}, file=sys.stderr, flush=True)
for name in reversed(sys.argv[2].split()):  # first what imports others
    __import__(name)
"""
HEAVY = frozenset({"asyncio", "ssl", "websockets", "aiohttp", "requests", "vcr", "msgspec"})


class Taken(NamedTuple):
    """Milliseconds that a run took."""

    clock: float
    cpu: float


# --- How long it takes ---------------------------------------------------------------------------------------


def run(folder: Path, *args: str) -> Taken:
    return python_takes(folder, *COMMAND, *args)


def python_takes(folder: Path, *args: str) -> Taken:
    command = [sys.executable, *args]
    start = time.perf_counter()
    child = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    clock = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command)
    return Taken(clock * 1e3, (usage.ru_utime + usage.ru_stime) * 1e3)


def pair(folder: Path, without_first: bool) -> tuple[Taken, Taken]:
    """Return what a run takes with the plugin and without it."""
    if without_first:
        without = run(folder, *WITHOUT)
        return run(folder), without
    return run(folder), run(folder, *WITHOUT)


def report(label: str, pairs: list[tuple[float, float]], what: str = "the plugin's own") -> None:
    differences = [a - b for a, b in pairs]
    low, median, high = statistics.quantiles(differences, n=4)
    print(
        f"{label:15} with {statistics.median(a for a, _ in pairs):6.1f} ms   "
        f"without {statistics.median(b for _, b in pairs):6.1f} ms   "
        f"{what} {median:5.1f} ms (half of the differences from {low:.1f} to {high:.1f}; "
        f"of the quickest runs {min(a for a, _ in pairs) - min(b for _, b in pairs):.1f})"
    )


# --- What is imported ----------------------------------------------------------------------------------------


class Import(NamedTuple):
    """The import of a module: microseconds by itself and with what it imports, and how deep in other imports."""

    own: int
    cumulated: int
    depth: int


def modules(folder: Path, *args: str, plugins: bool) -> list[str]:
    """Return the modules of a run, in the order in which their imports ended."""
    code = "import sys, pytest; pytest.main(sys.argv[1:]); print(); print(*sys.modules)"
    ran = python(folder, "-c", code, *COMMAND[2:], *args, plugins=plugins)
    return ran.stdout.splitlines()[-1].split()


def imports(folder: Path, before: list[str], brought: list[str]) -> dict[str, Import]:
    """Return what the imports of the modules ``brought`` take after those of ``before``, each at its quickest.

    They are in the order in which their imports end.
    """
    found: dict[str, Import] = {}
    for _ in range(IMPORT_ROUNDS):
        ran = python(folder, "-X", "importtime", "-c", IMPORTS, " ".join(before), " ".join(brought), plugins=True)
        for name, taken in parsed(ran.stderr.partition(MARK)[2]):
            found[name] = min(taken, found.get(name, taken))
    return found


def python(folder: Path, *args: str, plugins: bool) -> subprocess.CompletedProcess[str]:
    environment = os.environ | ({} if plugins else {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"})
    command = [sys.executable, *args]
    return subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True)


def parsed(report: str) -> Iterator[tuple[str, Import]]:
    for line in report.splitlines():
        if line.startswith("import time:"):
            own, cumulated, name = line.removeprefix("import time:").split("|")
            yield name.strip(), Import(int(own), int(cumulated), len(name) - len(name.lstrip()))


def importers(name: str, found: dict[str, Import]) -> list[str]:
    """Return what imports a module, and what imports that, and so on: they end later, and are less deep."""
    names = list(found)
    depth, chain = found[name].depth, []
    for later in names[names.index(name) + 1 :]:
        if found[later].depth < depth:
            depth = found[later].depth
            chain.append(later)
    return chain


def report_imports(label: str, folder: Path, args: tuple[str, ...], without: tuple[str, ...], plugins: bool) -> None:
    before = modules(folder, *without, plugins=plugins)
    brought = [name for name in modules(folder, *args, plugins=plugins) if name not in before]
    found = imports(folder, before, brought)
    heavy = sorted(HEAVY.intersection(brought))
    print(
        f"{label}: {len(brought)} modules, {sum(taken.own for taken in found.values()) / 1e3:.1f} ms of imports; "
        f"heavy: {', '.join(heavy) or 'none'}"
    )
    for name in heavy:
        print(f"  {name} is imported by {', by '.join(importers(name, found))}")
    for name, taken in found.items():
        print(f"{taken.own:>8} us, with what it imports {taken.cumulated:>6} us   {name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "test_empty.py").write_text("def test_empty():\n    pass\n")
        pair(folder, False)  # to warm up
        pairs = [pair(folder, bool(number % 2)) for number in range(rounds)]
        report("by the clock", [(a.clock, b.clock) for a, b in pairs])
        report("processor time", [(a.cpu, b.cpu) for a, b in pairs])
        helped = [(python_takes(folder, *HELP), python_takes(folder, "-c", "pass")) for _ in range(rounds)]
        report("connex --help", [(a.clock, b.clock) for a, b in helped], "beyond Python's own start")
        report_imports("beside other plugins", folder, (), WITHOUT, plugins=True)
        report_imports("alone", folder, ALONE, (), plugins=False)


if __name__ == "__main__":
    main()
