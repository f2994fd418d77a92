"""The test suite of pytest-recording, with pytest-connex installed and without: each test must end the same way."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from environments import Environments
from judging import gist, outcomes, word
from trial import HERE, clean_environment

_REQUIREMENTS = ("pytest-httpbin", "pytest-mock", "requests", "werkzeug")


def compare(environments: Environments, wheel: Path, checkout: Path, folder: Path, releases: Sequence[str]) -> int:
    """Run the suite of a checkout twice, print what differs, and return the exit code.

    Args:
        environments: Where both environments are made.
        wheel: Of pytest-connex.
        checkout: A checkout of pytest-recording; a copy of it is installed and run.
        folder: Where the copy is, and the reports are written.
        releases: What is installed besides, as pip is told it.
    """
    shutil.rmtree(folder, ignore_errors=True)
    copy = shutil.copytree(checkout, folder / "checkout", ignore=shutil.ignore_patterns(".git", ".venv"))
    name = "-".join(("suite", *releases))
    beside = environments.python(f"{name}-with", (str(copy), *_REQUIREMENTS, *releases), wheel)
    # The same releases in both, those that pytest-connex brings: otherwise it would be these that are compared.
    alone = environments.python(f"{name}-without", (str(copy), *_releases(environments, beside)), None)
    results = {
        "with": _outcomes(beside, copy, folder / "with.json"),
        "without": _outcomes(alone, copy, folder / "without.json"),
    }
    for which, tests in results.items():
        print(f"{which} pytest-connex: {_counts(tests)}")
    return _print_differences(results["with"], results["without"])


def _releases(environments: Environments, python: Path) -> list[str]:
    """Return what is installed beside an interpreter, with versions, but for the two projects themselves."""
    return [
        line
        for line in environments.installed(python)
        if "pytest-connex" not in line and "pytest-recording" not in line
    ]


def _outcomes(python: Path, checkout: Path, report: Path) -> dict[str, str]:
    environment = clean_environment() | {"PYTHONPATH": str(HERE), "OUTCOMES_OF_THE_RUN": str(report)}
    command = [str(python), "-m", "pytest", "-p", "outcomes", "-p", "no:cacheprovider", "-q", "tests"]
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)
    report.with_suffix(".log").write_text(done.stdout + done.stderr)
    if not report.exists():
        raise SystemExit(f"the suite of pytest-recording did not run:\n{done.stdout}{done.stderr}")
    tests, _ = outcomes(json.loads(report.read_text())["reports"])
    return tests


def _ending(outcome: str | None) -> str:
    return "not run" if outcome is None else word(outcome)


def _counts(tests: dict[str, str]) -> str:
    return ", ".join(f"{count} {word}" for word, count in sorted(Counter(map(word, tests.values())).items()))


def _print_differences(beside: dict[str, str], alone: dict[str, str]) -> int:
    every = sorted({*beside, *alone})
    endings = {nodeid: (_ending(beside.get(nodeid)), _ending(alone.get(nodeid))) for nodeid in every}
    for nodeid in every:
        if endings[nodeid] == ("failed", "failed"):
            print(f"{nodeid}: failed in both, which compares nothing: {gist(alone[nodeid])}")
    different = [nodeid for nodeid in every if len(set(endings[nodeid])) > 1]
    for nodeid in different:
        ours, theirs = endings[nodeid]
        print(f"{nodeid}: {ours} with pytest-connex, {theirs} without")
        for outcomes_of_one in (beside, alone):
            print("\n".join(f"    {line}" for line in outcomes_of_one.get(nodeid, "").splitlines()))
    print(f"{len(different)} of {len(every)} tests end in another way")
    return 1 if different else 0
