"""The judgement of `.ci/plugins`: what a run beside another plugin came to, and what of it falls short."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

FOLDER = Path(__file__).parents[2] / ".ci" / "plugins"
MISMATCH = "E   pytest_connex.errors.CassetteMismatch: another message"
MODULES = ("combinations", "judging")


@pytest.fixture(scope="module")
def matrix() -> Iterator[SimpleNamespace]:
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(FOLDER)
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in MODULES})
        for name in MODULES:
            del sys.modules[name]


def report(nodeid: str, when: str, outcome: str, error: str = "") -> dict[str, str]:
    return {"nodeid": nodeid, "when": when, "outcome": outcome, "error": error}


def as_it_must_be(matrix: SimpleNamespace) -> dict[str, str]:
    """The outcomes of a replay of the project that falls short of nothing."""
    tests = {f"test_it.py::{name}": f"{verdict}: why" for name, verdict in matrix.combinations.VERDICTS.items()}
    for number in range(matrix.combinations.TESTS - len(tests)):
        tests[f"test_it.py::test_{number}"] = "passed"
    return tests


def replay(matrix: SimpleNamespace, tests: dict[str, str], code: int = 1, combination: object = None) -> list[str]:
    run = matrix.judging.Ran(code, "\n".join(tests.values()), tests)
    return list(matrix.judging.of_replay(combination or matrix.combinations.Combination("alone"), run))


def test_at_least_eighty_combinations_are_tried_each_under_a_name_of_its_own(matrix):
    names = [combination.name for combination in matrix.combinations.COMBINATIONS]

    assert len(names) >= 80
    assert len(set(names)) == len(names)


def test_every_folder_of_extra_tests_belongs_to_a_combination(matrix):
    every = matrix.combinations.COMBINATIONS
    folders = {folder.name for folder in (FOLDER / "extra").iterdir()}

    assert folders == {name for entry in every if (name := entry.extra or entry.name) in folders}
    assert {entry.name for entry in every if entry.tests and (entry.extra or entry.name) not in folders} == set()


def test_a_test_that_passed_needs_its_call_and_one_that_failed_any_phase(matrix):
    reports = [
        report("a", "setup", "passed"),
        report("b", "setup", "passed"),
        report("b", "call", "passed"),
        report("b", "teardown", "passed"),
        report("c", "call", "passed"),
        report("c", "teardown", "failed", MISMATCH),
        report("d", "setup", "skipped"),
    ]

    assert matrix.judging.outcomes(reports) == ({"b": "passed", "c": MISMATCH, "d": "skipped"}, [])


def test_a_try_that_is_followed_by_another_counts_as_nothing(matrix):
    reports = [report("a", "call", "rerun"), report("a", "call", "passed")]

    assert matrix.judging.outcomes(reports) == ({"a": "passed"}, [])


def test_a_second_error_of_one_test_is_told(matrix):
    reports = [report("a", "call", "failed", MISMATCH), report("a", "teardown", "failed", "KeyError")]

    assert matrix.judging.outcomes(reports) == ({"a": "KeyError"}, ["a"])


def test_a_run_with_an_internal_error_or_a_warning_about_us_complains(matrix):
    gathered = {"reports": [], "warnings": ["x.py: DeprecationWarning: old", "pytest_connex/a.py: UserWarning: ours"]}
    run = matrix.judging.ran(3, "INTERNALERROR> Traceback", gathered)

    assert run.complaints == (
        "'INTERNALERROR' is in the output",
        "warning 'pytest_connex/a.py: UserWarning: ours'",
    )


def test_a_run_that_was_given_up_complains(matrix):
    assert matrix.judging.ran(None, "", None).complaints == ("it did not end", "pytest wrote no outcomes")


def test_a_replay_as_it_must_be_falls_short_of_nothing(matrix):
    assert replay(matrix, as_it_must_be(matrix)) == []


@pytest.mark.parametrize(
    ("change", "shortcoming"),
    [
        ({"test_it.py::test_0": MISMATCH}, f"test_it.py::test_0: {MISMATCH[4:]}, instead of passed"),
        (
            {"test_it.py::test_another_message": "passed"},
            "test_it.py::test_another_message: passed, instead of CassetteMismatch",
        ),
        (
            {"test_it.py::test_less_is_asked": MISMATCH},
            f"test_it.py::test_less_is_asked: {MISMATCH[4:]}, instead of CassetteUnplayed",
        ),
        ({"test_it.py::one_more": "passed"}, "23 tests instead of 22"),
    ],
)
def test_a_replay_falls_short_of_one_outcome(matrix, change, shortcoming):
    assert shortcoming in replay(matrix, as_it_must_be(matrix) | change)


def test_the_exit_code_of_a_replay_is_that_of_failed_tests(matrix):
    assert replay(matrix, as_it_must_be(matrix), code=0) == ["exit code 0 instead of 1"]


def test_a_verdict_must_be_shown_in_the_output(matrix):
    tests = as_it_must_be(matrix)
    run = matrix.judging.Ran(1, "CassetteMismatch: why\nCassetteMissing: why", tests)
    combination = matrix.combinations.Combination("alone")

    assert list(matrix.judging.of_replay(combination, run)) == ["CassetteUnplayed is not in the output"]


def test_a_recording_must_pass_skip_and_write_what_is_expected(matrix):
    tests = dict.fromkeys(as_it_must_be(matrix), "passed")
    run = matrix.judging.Ran(0, "", tests)
    combination = matrix.combinations.Combination("alone")

    assert list(matrix.judging.of_recording(combination, run, 17)) == [
        "test_it.py::test_nothing_is_recorded: passed, instead of skipped",
        "17 recordings instead of 18",
    ]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (f"test_it.py:3: in test_0\n{MISMATCH}\nE   after which the test raised KeyError: 3", MISMATCH[4:]),
        (
            "  + Exception Group Traceback:\n  | ExceptionGroup: all (1)\n    | RuntimeError: no loop",
            "RuntimeError: no loop",
        ),
        ("001 >>> ask()\nUNEXPECTED EXCEPTION: gaierror(-3)", "UNEXPECTED EXCEPTION: gaierror(-3)"),
        ("running the test EXITED with status 3", "running the test EXITED with status 3"),
        ("passed", "passed"),
    ],
)
def test_an_error_is_told_in_the_line_that_says_most(matrix, error, said):
    assert matrix.judging.gist(error) == said


def test_a_run_that_must_be_refused_says_why_and_runs_nothing(matrix):
    combination = matrix.combinations.Combination("threads", refused="not in threads")
    refused = matrix.judging.Ran(4, "ERROR: not in threads", {})
    went_on = matrix.judging.Ran(0, "", {"test_it.py::test_0": "passed"})
    shortcomings = ["exit code 0 instead of 4", "'not in threads' is not in the output", "test_it.py::test_0 was run"]

    assert list(matrix.judging.of_recording(combination, refused, 0)) == []
    assert list(matrix.judging.of_replay(combination, refused)) == []
    assert list(matrix.judging.of_recording(combination, went_on, 0)) == shortcomings
    assert list(matrix.judging.of_replay(combination, went_on)) == shortcomings


@pytest.mark.parametrize(
    ("nodeid", "name"),
    [
        ("test_rest.py::TestSession::test_symbols", "test_symbols"),
        ("test_rest.py::test_book[a::b]", "test_book"),
        ("documented.py::documented", "documented"),
    ],
)
def test_a_test_is_known_by_its_function(matrix, nodeid, name):
    assert matrix.judging.function(nodeid) == name
