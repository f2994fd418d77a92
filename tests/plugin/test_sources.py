"""A recording knows its source: what is advised is for that source, and the sandbox does not replace live unasked."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import BOTH, Project

CHANGED = BOTH.replace("/v1/status", "/v1/symbols").replace('"one"', '"two"')


def say_from(path: Path, source: str) -> str:
    """Have a recording say another source than the sandbox; return its text."""
    text = path.read_text().replace('"source":"sandbox"', f'"source":"{source}"')
    path.write_text(text.replace("source: sandbox", f"source: {source}"))
    return path.read_text()


@pytest.mark.parametrize(
    ("source", "switch"), [("live", "--connex-live"), ("sandbox", "--connex-sandbox"), ("import", "--connex-live")]
)
def test_a_verdict_advises_to_record_where_it_was_recorded(recorded, source, switch):
    say_from(recorded.http, source)
    say_from(recorded.ws, source)
    recorded.test(CHANGED)
    result = recorded.run()
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            f"*record it: pytest {switch} --connex-record=rewrite test_it.py::test_rest",
            f"*record it: pytest {switch} --connex-record=rewrite test_it.py::test_ws",
        ]
    )
    assert "(or --connex-live)" not in result.stdout.str()


@pytest.mark.parametrize("distributed", [False, True], ids=["alone", "distributed"])
def test_the_sandbox_leaves_a_live_recording_alone_and_says_so(recorded, distributed):
    before = say_from(recorded.http, "live"), recorded.ws.stat().st_ino
    run = recorded.run_distributed if distributed else recorded.run
    result = run("--connex-sandbox", "--connex-record=rewrite")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        [
            "recordings: 0 read, 1 written, 0 missing",
            "  written: cassettes/test_it/test_ws.ws.jsonl",
            "  kept, recorded from live: cassettes/test_it/test_rest.yaml",
            "what is kept is not replaced from the sandbox unasked: record it with --connex-live "
            "--connex-record=rewrite, or from the sandbox on purpose with *--connex-record=replace-live",
        ]
    )
    assert recorded.http.read_text() == before[0]
    assert recorded.ws.stat().st_ino != before[1]


def test_the_sandbox_replaces_a_live_recording_on_purpose(recorded):
    say_from(recorded.http, "live")
    result = recorded.run("--connex-sandbox", "--connex-record=replace-live")
    result.assert_outcomes(passed=2)
    assert "source: sandbox" in recorded.http.read_text()
    assert "kept" not in result.stdout.str()


def test_a_failing_test_does_not_replace_a_live_recording_on_purpose_either(recorded):
    before = say_from(recorded.http, "live")
    recorded.test(BOTH.replace('== "healthy"', '== "lovely"'))
    recorded.run("--connex-sandbox", "--connex-record=replace-live").assert_outcomes(failed=1, passed=1)
    assert recorded.http.read_text() == before


def test_a_test_that_runs_from_its_recording_only_is_told_to_lose_that_marker(project: Project):
    project.test(f"import pytest\npytestmark = pytest.mark.connex_recorded\n{BOTH}")
    project.run("-k", "ws").stdout.fnmatch_lines(
        ["*take off its marker connex_recorded and record it: pytest --connex-sandbox --connex-record=rewrite *"]
    )
