"""Try pytest-connex beside other plugins, each in an environment of its own, and print a table.

A small project is recorded from the sandbox and replayed without a network. Which tests pass, which fail with which
verdict, and which recordings are written must be exactly as without another plugin.

    python .ci/plugins/run.py                            # all; exit code 1 if something falls short
    python .ci/plugins/run.py --only xdist --only html   # some, by name
    python .ci/plugins/run.py --with 'pytest<9'          # all with another release of something
    python .ci/plugins/run.py --keep DIR                 # environments, projects and outputs stay there
    python .ci/plugins/run.py --recording-suite PATH     # the tests of pytest-recording, with us and without
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import suite
from combinations import COMBINATIONS, Combination
from environments import Environments, InstallationFailed, version
from trial import Result, tried, without_network

_SHOWN = 6
"""Lines that are shown of what is wrong with one combination."""

_OF_THE_PROJECT = ("aiohttp",)
"""What the tests of the project need themselves."""

_ROW = "{:<18} {:<26} {:<22} {:<22} {}"


def main() -> int:
    """Run what the command line asks for, and return the exit code."""
    given = _arguments()
    with _workplace(given.keep) as folder:
        environments = Environments(folder)
        wheel = environments.prepare()
        if given.recording_suite is not None:
            return suite.compare(environments, wheel, given.recording_suite, folder / "suite", given.beside)
        return _print_table(_chosen(given), _trier(environments, wheel, folder, given.beside), given.jobs)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], metavar="NAME")
    parser.add_argument("--with", action="append", default=[], dest="beside", metavar="REQUIREMENT")
    parser.add_argument("--keep", type=Path, metavar="DIR")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="how many combinations are tried at once")
    parser.add_argument("--recording-suite", type=Path, metavar="PATH")
    given = parser.parse_args()
    names = [combination.name for combination in COMBINATIONS]
    unknown = set(given.only) - set(names)
    if unknown:
        parser.error(f"no combination is called {', '.join(sorted(unknown))}; there are: {', '.join(names)}")
    return given


def _chosen(given: argparse.Namespace) -> list[Combination]:
    return [combination for combination in COMBINATIONS if not given.only or combination.name in given.only]


@contextlib.contextmanager
def _workplace(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept.resolve()
        return
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def _trier(
    environments: Environments, wheel: Path, folder: Path, beside: list[str]
) -> Callable[[Combination], tuple[str, Result]]:
    def in_an_environment(combination: Combination) -> tuple[str, Result]:
        """Return the version of the first plugin, and what came of the combination."""
        packages = (*combination.packages, *beside)
        try:
            name = "-".join(sorted(packages)) or "nothing-else"
            python = environments.python(name, (*packages, *_OF_THE_PROJECT), wheel)
        except InstallationFailed as exc:
            return "", Result("", "", (f"not installed: {exc}",))
        package = combination.packages[0] if combination.packages else "pytest"
        result = tried(combination, python, folder / "projects" / combination.name)
        return f"{package} {version(python, package)}", result

    return in_an_environment


def _print_table(
    combinations: list[Combination], trier: Callable[[Combination], tuple[str, Result]], jobs: int
) -> int:
    isolation = "without a network" if without_network() else "blocked by the plugin only: no unshare on this machine"
    print(f"Python {sys.version.split()[0]}, replayed {isolation}")
    print(_ROW.format("combination", "plugin", "recorded", "replayed", "result"))
    short = 0
    with ThreadPoolExecutor(jobs) as pool:
        for combination, (shown, result) in zip(combinations, pool.map(trier, combinations), strict=True):
            verdict = "ok" if not result.shortcomings else "falls short"
            print(_ROW.format(combination.name, shown, result.recorded, result.replayed, verdict), flush=True)
            for line in result.shortcomings[:_SHOWN]:
                print(f"    {line}", flush=True)
            if (more := len(result.shortcomings) - _SHOWN) > 0:
                print(f"    and {more} more", flush=True)
            short += bool(result.shortcomings)
    print(f"{len(combinations) - short} of {len(combinations)} combinations ok")
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
