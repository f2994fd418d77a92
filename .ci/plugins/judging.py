"""What a run of pytest came to, and what of it falls short of what a combination must come to. Runs nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from combinations import RECORDINGS, SKIPS, TESTS, VERDICTS, Combination

_USAGE_ERROR = 4

_RAISED = re.compile(r"((\w+\.)*\w*(Error|Exception)|UNEXPECTED EXCEPTION): .*")
"""What a traceback ends with that pytest does not mark: that of an exception group, or of a doctest."""

_FAULTS = (
    "INTERNALERROR",
    "was never retrieved",
    "was never awaited",
    "Exception ignored in",
    "cannot reuse already",
)
"""What no output may hold."""

_LOST = ("PytestUnraisableExceptionWarning", "PytestUnhandledThreadExceptionWarning", "connex")
"""What no warning may hold."""


@dataclass(frozen=True)
class Ran:
    """A run of pytest.

    Attributes:
        code: Its exit code, None if it was given up.
        output: What it printed.
        tests: The outcome of each test: "passed", "skipped", or the error of the phase that failed.
        complaints: What is wrong with it whatever was expected.
    """

    code: int | None
    output: str
    tests: Mapping[str, str]
    complaints: tuple[str, ...] = ()

    def counts(self) -> str:
        """Return how many tests passed, failed and were skipped, in that order."""
        count = Counter(map(word, self.tests.values()))
        return " ".join(
            f"{count[outcome]} {outcome}" for outcome in ("passed", "failed", "skipped") if count[outcome]
        )


def ran(code: int | None, output: str, gathered: Mapping[str, Any] | None) -> Ran:
    """Return what a run came to.

    Args:
        code: Its exit code, None if it was given up.
        output: What it printed.
        gathered: What ``outcomes.py`` wrote of it, None if it did not come to that.
    """
    complaints = [f"{fault!r} is in the output" for fault in _FAULTS if fault in output]
    if code is None:
        complaints.append("it did not end")
    if gathered is None:
        return Ran(code, output, {}, (*complaints, "pytest wrote no outcomes"))
    complaints += [f"warning {line!r}" for line in gathered["warnings"] if any(lost in line for lost in _LOST)]
    tests, twice = outcomes(gathered["reports"])
    complaints += [f"{nodeid} has more than one error" for nodeid in twice]
    return Ran(code, output, tests, tuple(complaints))


def outcomes(reports: Sequence[Mapping[str, str]]) -> tuple[dict[str, str], list[str]]:
    """Return the outcome of each test, and the tests with more than one error.

    The report of a try that is followed by another is neither passed, failed nor skipped, and counts as nothing.
    """
    tests: dict[str, str] = {}
    twice = []
    for report in reports:
        nodeid, outcome = report["nodeid"], report["outcome"]
        if outcome == "failed":
            if word(tests.get(nodeid, "passed")) == "failed":
                twice.append(nodeid)
            tests[nodeid] = report["error"] or "failed without a word"
        elif outcome == "skipped" or (outcome == "passed" and report["when"] == "call"):
            tests.setdefault(nodeid, outcome)
    return tests, twice


def of_recording(combination: Combination, run: Ran, recordings: int) -> Iterator[str]:
    """Say what of a run that recorded falls short, with the number of files that it wrote."""
    if combination.refused:
        yield from _of_refusal(combination, run)
        return
    yield from _of_any(combination, run, 0)
    skips = SKIPS | combination.skips
    for nodeid, outcome in run.tests.items():
        expected = "skipped" if function(nodeid) in skips else "passed"
        if outcome != expected:
            yield f"{nodeid}: {gist(outcome)}, instead of {expected}"
    expected_files = RECORDINGS * combination.times + combination.recordings
    if recordings != expected_files:
        yield f"{recordings} recordings instead of {expected_files}"


def of_replay(combination: Combination, run: Ran) -> Iterator[str]:
    """Say what of a run from recordings falls short."""
    if combination.refused:
        yield from _of_refusal(combination, run)
        return
    yield from _of_any(combination, run, 1)
    verdicts = {**VERDICTS, **combination.verdicts}
    for nodeid, outcome in run.tests.items():
        verdict = verdicts.get(function(nodeid))
        if verdict is None and outcome != "passed":
            yield f"{nodeid}: {gist(outcome)}, instead of passed"
        if verdict is not None and not re.search(rf"\b{verdict}: ", outcome):
            yield f"{nodeid}: {gist(outcome)}, instead of {verdict}"
    for verdict in sorted(set(verdicts.values())):
        if f"{verdict}: " not in run.output:
            yield f"{verdict} is not in the output"


def function(nodeid: str) -> str:
    """Return the name of the function of a test."""
    return nodeid.partition("[")[0].rpartition("::")[2]


def word(outcome: str) -> str:
    """Return an outcome without the error that it may be."""
    return outcome if outcome in ("passed", "skipped") else "failed"


def gist(outcome: str) -> str:
    """Return an outcome, or the line of an error that says most: the first that pytest marks, or what was raised."""
    marked = [line for line in outcome.splitlines() if line.startswith("E  ")]
    raised = [found[0] for found in _RAISED.finditer(outcome)]
    says = [*marked[:1], *raised[-1:], *outcome.splitlines()[:1]]
    return says[0].removeprefix("E").strip()[:200] if says else outcome


def _of_refusal(combination: Combination, run: Ran) -> Iterator[str]:
    if run.code != _USAGE_ERROR:
        yield f"exit code {run.code} instead of {_USAGE_ERROR}"
    if combination.refused not in run.output:
        yield f"{combination.refused!r} is not in the output"
    yield from (f"{nodeid} was run" for nodeid in run.tests)


def _of_any(combination: Combination, run: Ran, code: int) -> Iterator[str]:
    yield from run.complaints
    if run.code != code:
        yield f"exit code {run.code} instead of {code}"
    expected = TESTS * combination.times + combination.tests
    if len(run.tests) != expected:
        yield f"{len(run.tests)} tests instead of {expected}"
