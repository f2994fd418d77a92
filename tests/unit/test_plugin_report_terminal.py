"""The terminal section, line by line."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_connex.cassette.session import Account
from pytest_connex.plugin.report.terminal import TerminalSection

ROOT = Path("/project")


class Screen:
    """Takes what a section writes, in place of pytest's terminal reporter."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.red: list[str] = []

    def section(self, title: str) -> None:
        self.lines.append(f"= {title} =")

    def line(self, text: str, red: bool = False) -> None:
        (self.red if red else self.lines).append(text)


@pytest.fixture
def section() -> TerminalSection:
    return TerminalSection(ROOT, "refusal")


def shown(section: TerminalSection) -> Screen:
    screen = Screen()
    section.pytest_terminal_summary(screen)
    return screen


def report(mode: str = "recorded", when: str = "teardown", **files: Any) -> pytest.TestReport:
    """The report of a test that read, wrote, missed or removed some files."""
    made = pytest.TestReport("test_x.py::test_y", ("test_x.py", 1, "test_y"), {}, "passed", None, when)
    made.connex = {"mode": mode, **vars(Account(**files))}
    return made


def test_what_was_kept_is_listed_with_its_source_and_how_to_replace_it(section):
    kept = {f"{ROOT}/cassettes/b.yaml": "live", f"{ROOT}/cassettes/a.yaml": "live", f"{ROOT}/c.yaml": "import"}
    section.pytest_runtest_logreport(report("sandbox", kept=kept))
    assert shown(section).lines[2:] == [
        "recordings: 0 read, 0 written, 0 missing",
        "  kept, recorded from import: c.yaml",
        "  kept, recorded from live: cassettes/a.yaml",
        "  kept, recorded from live: cassettes/b.yaml",
        "what is kept is not replaced from the sandbox unasked: record it with --connex-live "
        "--connex-record=rewrite, or from the sandbox on purpose with --connex-sandbox --connex-record=replace-live",
    ]


def test_a_run_without_connex_shows_nothing(section):
    screen = shown(section)
    assert (screen.lines, screen.red) == ([], [])


def test_a_report_of_another_test_does_not_count(section):
    section.pytest_runtest_logreport(pytest.TestReport("t", ("t", 1, "t"), {}, "passed", None, "teardown"))
    assert shown(section).lines == []


@pytest.mark.parametrize("when", ["setup", "call"])
def test_a_test_counts_at_its_teardown_only(section, when):
    section.pytest_runtest_logreport(report(when=when))
    assert shown(section).lines == []


def test_a_test_counts_in_its_mode(section):
    section.pytest_runtest_logreport(report())
    assert shown(section).lines == ["= connex =", "tests: 1 recorded", "recordings: 0 read, 0 written, 0 missing"]


def test_modes_are_counted_apart_and_in_the_order_of_their_names(section):
    for mode in ("sandbox", "live", "recorded", "live"):
        section.pytest_runtest_logreport(report(mode))
    assert shown(section).lines[1] == "tests: 2 live, 1 recorded, 1 sandbox"


def test_files_are_counted_by_what_became_of_them(section):
    section.pytest_runtest_logreport(report(read=["/a", "/b", "/c"], written=["/d", "/e"], missing=["/f"]))
    assert shown(section).lines[2] == "recordings: 3 read, 2 written, 1 missing"


def test_a_file_that_two_tests_report_counts_once(section):
    section.pytest_runtest_logreport(report(read=["/a", "/b"]))
    section.pytest_runtest_logreport(report(read=["/b", "/c"]))
    assert shown(section).lines[2] == "recordings: 3 read, 0 written, 0 missing"


def test_what_was_written_and_missed_is_listed_in_order_and_what_was_read_is_not(section):
    section.pytest_runtest_logreport(report(read=["/project/r"], written=["/project/w2"], missing=["/project/m"]))
    section.pytest_runtest_logreport(report(written=["/project/w1"]))
    assert shown(section).lines[3:] == ["  written: w1", "  written: w2", "  missing: m"]


def test_removed_files_are_counted_and_listed_where_there_are_any(section):
    section.pytest_runtest_logreport(report(written=["/project/w"], removed=["/project/r"]))
    assert shown(section).lines[2:] == [
        "recordings: 0 read, 1 written, 0 missing, 1 removed",
        "  written: w",
        "  removed: r",
    ]


@pytest.mark.parametrize(
    ("path", "shown_as"),
    [
        ("/project/cassettes/test_it/test_ws.ws.jsonl", "cassettes/test_it/test_ws.ws.jsonl"),
        ("/project-of-another/test_ws.ws.jsonl", "/project-of-another/test_ws.ws.jsonl"),
        ("/elsewhere/project/test_ws.ws.jsonl", "/elsewhere/project/test_ws.ws.jsonl"),
    ],
)
def test_paths_are_shown_from_the_rootdir(section, path, shown_as):
    section.pytest_runtest_logreport(report(missing=[path]))
    assert shown(section).lines[3:] == [f"  missing: {shown_as}"]


# --- A run that a worker refused -------------------------------------------------------------------------


def worker(**output: str) -> SimpleNamespace:
    return SimpleNamespace(workeroutput=output)


def test_the_refusal_of_a_worker_is_shown_as_an_error(section):
    section.pytest_testnodedown(worker(refusal="--connex-live: CONNEX_WS_URL not set"))
    screen = shown(section)
    assert (screen.red, screen.lines) == (["ERROR: --connex-live: CONNEX_WS_URL not set"], [])


def test_the_same_refusal_of_two_workers_is_shown_once(section):
    for _ in range(2):
        section.pytest_testnodedown(worker(refusal="not set"))
    assert shown(section).red == ["ERROR: not set"]


@pytest.mark.parametrize("node", [worker(), worker(other="x"), SimpleNamespace()], ids=["none", "other", "crashed"])
def test_a_worker_that_refused_nothing_leaves_the_refusal_of_another(section, node):
    section.pytest_testnodedown(worker(refusal="not set"))
    section.pytest_testnodedown(node)
    assert shown(section).red == ["ERROR: not set"]


def test_a_refused_run_ends_as_a_usage_error(section):
    session = SimpleNamespace(exitstatus=pytest.ExitCode.NO_TESTS_COLLECTED)
    section.pytest_testnodedown(worker(refusal="not set"))
    section.pytest_sessionfinish(session)
    assert session.exitstatus == pytest.ExitCode.USAGE_ERROR


def test_a_run_that_was_not_refused_keeps_its_exit_status(section):
    session = SimpleNamespace(exitstatus=pytest.ExitCode.TESTS_FAILED)
    section.pytest_testnodedown(worker())
    section.pytest_sessionfinish(session)
    assert session.exitstatus == pytest.ExitCode.TESTS_FAILED
