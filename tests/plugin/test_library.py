"""Looking after recordings: ``connex cassettes``, and what a run says of unused and of stale ones."""

from __future__ import annotations

import os
import re
import shlex
from contextlib import chdir
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import pytest
import yaml
from click.testing import Result

from ..unit.commands import run
from .conftest import BOTH, INI, OTHERS, Project

WS, HTTP = "cassettes/test_it/test_ws.ws.jsonl", "cassettes/test_it/test_rest.yaml"
FOREIGN = "interactions: []\nversion: 1\n"


def connex(project: Project, *args: str) -> Result:
    """Run a command, for which the pytest that it starts loads no other plugins either."""
    lean = shlex.join(f"-pno:{name}" for name in OTHERS)
    with chdir(project.path), mock.patch.dict(os.environ, PYTEST_ADDOPTS=lean):
        return run("cassettes", *args)


def files(project: Project) -> list[str]:
    folder = project.path / "cassettes"
    return sorted(str(path.relative_to(project.path)) for path in folder.rglob("*") if path.is_file())


def put_foreign(project: Project) -> str:
    path = project.ws.with_name("test_theirs.yaml")
    path.write_text(FOREIGN)
    return str(path.relative_to(project.path))


def aged(path: Path, days: int) -> None:
    """Make a recording as old as that."""
    moment = (datetime.now(UTC) - timedelta(days=days)).isoformat(timespec="seconds").replace("+00:00", "Z")
    changed, count = re.subn(r"(recorded_at\W+)[0-9T:-]+Z", rf"\g<1>{moment}", path.read_text())
    assert count == 1
    path.write_text(changed)


def only(name: str) -> str:
    """The module of the recorded tests with one of them left."""
    at = BOTH.index("async def test_ws")
    return BOTH[:at] if name == "test_rest" else BOTH[at:]


# --- connex cassettes ------------------------------------------------------------------------------------


def test_recordings_are_listed(recorded):
    aged(recorded.ws, 40)
    put_foreign(recorded)
    ran = connex(recorded, "ls")
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert [line.split() for line in ran.stdout.splitlines()] == [
        ["0", "d", "1", str(recorded.http.stat().st_size), "sandbox", HTTP, "test_it.py::test_rest"],
        ["40", "d", "2", str(recorded.ws.stat().st_size), "sandbox", WS, "test_it.py::test_ws"],
    ]


def test_a_damaged_recording_is_listed_as_that(recorded):
    recorded.ws.write_text("")
    ran = connex(recorded, "ls")
    assert (ran.exit_code, len(ran.stdout.splitlines())) == (1, 1)
    assert ran.stderr.startswith(f"damaged: {WS}:1: not the header of a connex-ws recording: ")


@pytest.mark.parametrize("command", ["ls", "check"])
def test_another_folder_is_named(recorded, command):
    (recorded.path / "cassettes").rename(recorded.path / "elsewhere")
    ran = connex(recorded, command)
    assert (ran.exit_code, ran.stdout, ran.stderr) == (
        1,
        "",
        "connex cassettes: cassettes is not a folder; name the folder of the recordings with --dir\n",
    )
    ran = connex(recorded, command, "--dir", "elsewhere")
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert ("elsewhere/test_it/test_ws.ws.jsonl" in ran.stdout) == (command == "ls")


def test_a_recording_is_shown(recorded):
    ran = connex(recorded, "show", WS)
    lines = [line.split(maxsplit=2)[-1] for line in ran.stdout.splitlines()[1:]]
    assert ran.exit_code == 0
    assert ran.stdout.startswith("test_it.py::test_ws: WebSocket, from sandbox, 20")
    assert lines[:3] == ["dial wss://ws.connex.invalid/", "open", '-> {"action": "ping", "id": 7, "note": "one"}']
    assert lines[-1] == "closed by the client with 1000"


def test_what_cannot_be_shown_is_refused(recorded):
    ran = connex(recorded, "show", "cassettes/nowhere.ws.jsonl")
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert ran.stderr == (
        "connex show: cassettes/nowhere.ws.jsonl: the recording cannot be read: No such file or directory\n"
    )


def test_good_recordings_are_checked(recorded):
    ran = connex(recorded, "check")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "2 checked, 0 damaged or with secrets\n", "")


def test_a_damaged_recording_and_a_secret_are_told_with_file_and_line(recorded):
    (recorded.path / ".env").write_text("CONNEX_API_SECRET=hunter2-hunter2\n")
    recorded.ws.write_text(recorded.ws.read_text().replace('\\"one\\"', '\\"hunter2-hunter2\\"'))
    recorded.http.write_text(recorded.http.read_text().replace("version: 1\n", ""))
    last = len(recorded.http.read_text().splitlines())
    ran = connex(recorded, "check")
    assert (ran.exit_code, ran.stdout) == (1, "2 checked, 2 damaged or with secrets\n")
    assert ran.stderr.splitlines() == [
        f"{HTTP}:{last}: the recording is truncated: its last line must be the version",
        f"{WS}:4: a secret was left in this line",
    ]


def test_only_the_named_files_are_checked(recorded):
    recorded.ws.write_text("")
    ran = connex(recorded, "check", HTTP)
    assert (ran.exit_code, ran.stdout) == (0, "1 checked, 0 damaged or with secrets\n")
    assert connex(recorded, "check", HTTP, WS).exit_code == 1


def test_the_pre_commit_hook_names_a_command_that_works(recorded):
    [hook] = yaml.safe_load((Path(__file__).parents[2] / ".pre-commit-hooks.yaml").read_text())
    program, *args = shlex.split(hook["entry"])
    given = [name for name in files(recorded) if re.search(hook["files"], name)]
    assert (program, sorted(given)) == ("connex", ["cassettes/test_it/test_rest.yaml", WS])
    assert connex(recorded, *args[1:], *given).stdout == "2 checked, 0 damaged or with secrets\n"
    recorded.ws.write_text("")
    assert (args[0], connex(recorded, *args[1:], *given).exit_code) == ("cassettes", 1)


def test_unused_recordings_are_shown_and_removed_when_asked(recorded):
    foreign = put_foreign(recorded)
    recorded.test(only("test_rest"))
    shown = connex(recorded, "prune")
    assert (shown.exit_code, shown.stdout.splitlines()) == (
        0,
        [WS, "1 recordings are used by no test; remove them with: connex cassettes prune --yes"],
    )
    assert files(recorded) == sorted([WS, HTTP, foreign])
    removed = connex(recorded, "prune", "--yes")
    assert (removed.exit_code, removed.stdout.splitlines()) == (0, [WS, "1 recordings removed"])
    assert files(recorded) == sorted([HTTP, foreign])
    assert connex(recorded, "prune").stdout == "every recording is used\n"


def test_recordings_of_a_module_that_is_gone_are_removed_and_foreign_ones_are_not(recorded):
    foreign = put_foreign(recorded)
    (recorded.path / "test_it.py").unlink()
    ran = connex(recorded, "prune", "--yes")
    assert (ran.exit_code, ran.stdout.splitlines()) == (0, [HTTP, WS, "2 recordings removed"])
    assert files(recorded) == [foreign]


def test_where_not_every_test_is_collected_nothing_is_known(recorded):
    recorded.test(only("test_rest"))
    (recorded.path / "test_broken.py").write_text("import nowhere_to_be_found\n")
    ran = connex(recorded, "prune", "--yes")
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert ran.stderr.startswith(
        "connex prune: pytest could not collect every test, so nothing is known to be unused:\n"
    )
    assert "nowhere_to_be_found" in ran.stderr
    assert files(recorded) == [HTTP, WS]


def test_further_arguments_of_prune_are_pytest_s(recorded):
    (recorded.path / "cassettes").rename(recorded.path / "elsewhere")
    recorded.test(only("test_rest"))
    ran = connex(recorded, "prune", "--connex-cassette-dir=elsewhere", "--yes", "test_it.py")
    assert ran.stdout.splitlines() == ["elsewhere/test_it/test_ws.ws.jsonl", "1 recordings removed"]


# --- Unused recordings in the terminal section -----------------------------------------------------------


def unused(result: pytest.RunResult) -> list[str]:
    return [line.split()[-1] for line in result.outlines if line.startswith("  unused: ")]


@pytest.mark.parametrize("distributed", [False, True], ids=["here", "distributed"])
def test_unused_recordings_are_listed(recorded, distributed):
    put_foreign(recorded)
    recorded.test(only("test_rest"))
    result = recorded.run_distributed(workers=1) if distributed else recorded.run()
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "recordings: 1 read, 0 written, 0 missing",
            "1 recordings are used by no test: connex cassettes prune",
            f"  unused: {WS}",
        ]
    )
    assert unused(result) == [WS]


@pytest.mark.parametrize("args", [["test_it.py::test_rest"], ["-k", "rest"], ["--deselect", "test_it.py::test_ws"]])
def test_a_run_of_some_tests_says_nothing_of_the_others(recorded, args):
    result = recorded.run(*args)
    result.assert_outcomes(passed=1, deselected=0 if "::" in args[0] else 1)
    assert unused(result) == []


@pytest.mark.parametrize("distributed", [False, True], ids=["here", "distributed"])
def test_a_run_of_named_tests_says_nothing_of_recordings_that_are_unused(recorded, distributed):
    recorded.test(only("test_rest"))
    name = "test_it.py::test_rest"
    assert unused(recorded.run_distributed(name, workers=1) if distributed else recorded.run(name)) == []


def test_another_module_says_nothing_of_a_module_that_was_not_collected(recorded):
    recorded.test(only("test_rest"))
    recorded.pytester.makepyfile(test_other=only("test_rest"))
    assert unused(recorded.run("test_other.py", "--connex-sandbox")) == []


def test_recordings_of_a_module_that_is_gone_are_unused(recorded):
    (recorded.path / "test_it.py").rename(recorded.path / "test_renamed.py")
    assert unused(recorded.run("--connex-sandbox")) == [HTTP, WS]


# --- Stale recordings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["cli", "ini"])
def test_a_stale_recording_is_listed(recorded, where):
    aged(recorded.ws, 31)
    aged(recorded.http, 29)
    if where == "ini":
        recorded.ini("connex_max_age = 30")
    result = recorded.run(*(["--connex-max-age=30"] if where == "cli" else []))
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["recordings: 2 read, 0 written, 0 missing, 1 stale", f"  stale: {WS}"])


@pytest.mark.parametrize("where", ["cli", "ini"])
def test_a_stale_recording_fails_where_that_is_asked(recorded, where):
    aged(recorded.ws, 29)
    aged(recorded.http, 31)
    options = ["--connex-max-age=30", "--connex-stale-cassette=fail"]
    if where == "ini":
        recorded.ini("connex_max_age = 30\nconnex_stale_cassette = fail")
        options = []
    result = recorded.run(*options)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            f"*CassetteStale: {HTTP}: recorded 31 days ago, and connex_max_age is 30 days",
            "*record it: pytest --connex-sandbox --connex-record=rewrite test_it.py::test_rest*",
            f"  stale: {HTTP}",
        ]
    )


def test_the_command_line_wins_over_the_ini(recorded):
    recorded.ini("connex_max_age = 1\nconnex_stale_cassette = fail")
    aged(recorded.ws, 10)
    recorded.run("--connex-max-age=20").assert_outcomes(passed=2)
    result = recorded.run("--connex-stale-cassette=warn")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines([f"  stale: {WS}"])


def test_no_recording_is_stale_where_no_age_is_given(recorded):
    aged(recorded.ws, 4000)
    result = recorded.run("--connex-stale-cassette=fail")
    result.assert_outcomes(passed=2)
    result.stdout.no_fnmatch_line("  stale: *")


# --- Renamed tests ---------------------------------------------------------------------------------------


def hints(result: pytest.RunResult) -> list[str]:
    lines = [line.removeprefix("E   ").strip() for line in result.outlines]
    return [line for line in lines if line.startswith("did you rename a test?")]


@pytest.mark.parametrize("name", ["test_rest", "test_ws"])
def test_a_renamed_test_is_told_how_to_move_its_recording(recorded, name):
    recorded.test(BOTH.replace(f"def {name}(", f"def {name}_anew("))
    stem = f"cassettes/test_it/{name}"
    [hint] = hints(recorded.run())
    assert hint == f"did you rename a test? connex cassettes mv {stem} {stem}_anew"
    ran = connex(recorded, *shlex.split(hint)[7:])
    assert (ran.exit_code, ran.stderr) == (0, "")
    recorded.run().assert_outcomes(passed=2)
    assert f"test_it.py::{name}_anew" in connex(recorded, "ls").stdout


def test_a_renamed_module_is_told_how_to_move_its_recordings(recorded):
    (recorded.path / "test_it.py").rename(recorded.path / "test_new.py")
    assert sorted(hints(recorded.run())) == [
        f"did you rename a test? connex cassettes mv cassettes/test_it/{name} cassettes/test_new/{name}"
        for name in ("test_rest", "test_ws")
    ]
    ran = connex(recorded, "mv", "test_it.py", "test_new.py")
    assert (ran.exit_code, sorted(ran.stdout.splitlines())) == (
        0,
        [f"{path} -> {path.replace('test_it', 'test_new')}" for path in (HTTP, WS)],
    )
    recorded.run().assert_outcomes(passed=2)


def test_where_several_recordings_are_unused_all_are_named(recorded):
    recorded.test(BOTH.replace("def test_rest(", "def test_a(").replace("def test_ws(", "def test_b("))
    result = recorded.run("-k", "test_a")
    assert hints(result) == [
        "did you rename a test? connex cassettes mv OLD cassettes/test_it/test_a, where OLD may be:"
    ]
    result.stdout.fnmatch_lines(["*  cassettes/test_it/test_rest", "*  cassettes/test_it/test_ws"])


def test_the_hint_names_another_folder(recorded):
    (recorded.path / "cassettes").rename(recorded.path / "my tapes")
    recorded.test(BOTH.replace("def test_ws(", "def test_b("))
    assert hints(recorded.run("--connex-cassette-dir=my tapes")) == [
        "did you rename a test? connex cassettes mv --dir 'my tapes' 'my tapes/test_it/test_ws' "
        "'my tapes/test_it/test_b'"
    ]


@pytest.mark.parametrize(
    "source", [BOTH + "\ndef test_more(connex_rest): connex_rest.get('/v1/status')\n", only("test_rest")]
)
def test_a_test_that_is_new_or_recorded_gets_no_hint(recorded, source):
    recorded.test(source)
    assert hints(recorded.run()) == []


def test_a_run_of_one_test_does_not_guess(recorded):
    recorded.test(BOTH.replace("def test_ws(", "def test_b("))
    result = recorded.run("test_it.py::test_b")
    assert (result.parseoutcomes(), hints(result)) == ({"failed": 1}, [])


def test_a_recording_that_cannot_be_moved_is_told(recorded):
    ran = connex(recorded, "mv", "test_it.py::test_rest", "test_it.py::test_ws")
    assert (ran.exit_code, ran.stderr) == (0, "")  # one is HTTP, the other not
    ran = connex(recorded, "mv", "test_it.py::test_ws", "test_it.py::test_ws")
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert ran.stderr == f"connex mv: {WS}: there is a recording already; nothing was moved\n"


# --- Another rootdir -------------------------------------------------------------------------------------


@pytest.fixture
def monorepo(project: Project) -> Project:
    """Two packages, each with its ini and a test of its own, and none above them."""
    (project.path / "tox.ini").unlink()
    for name in ("a", "b"):
        package = project.path / "packages" / name
        (package / "tests").mkdir(parents=True)
        (package / "pytest.ini").write_text(INI)
        (package / "tests" / f"test_{name}.py").write_text(BOTH)
        (package / "tests" / "__init__.py").touch()
        (package / "__init__.py").touch()
    return project


RUNS = {
    "in the package": ("packages/a", []),
    "in its tests": ("packages/a/tests", []),
    "from the top": (".", ["packages/a"]),
    "one test from the top": (".", ["packages/a/tests/test_a.py::test_ws", "packages/a/tests/test_a.py::test_rest"]),
    "with --rootdir": (".", ["--rootdir=.", "packages/a"]),
    "with another ini": (".", ["-c", "other.ini", "packages/a"]),
    "with a package before": (".", ["packages/b", "packages/a"]),
}


def run_in(project: Project, monkeypatch: pytest.MonkeyPatch, place: str, args: list[str]) -> pytest.RunResult:
    (project.path / "other.ini").write_text(INI)
    with monkeypatch.context() as patched:
        patched.chdir(project.path / place)
        return project.run("--import-mode=importlib", *args)


@pytest.mark.parametrize("recorded", ["in the package", "from the top", "with --rootdir", "with a package before"])
def test_recordings_are_found_with_another_rootdir(monorepo, monkeypatch, recorded):
    place, args = RUNS[recorded]
    made = run_in(monorepo, monkeypatch, place, ["--connex-sandbox", "--connex-record=once", *args])
    assert made.ret == 0, made.stdout.str()
    for place, args in RUNS.values():
        result = run_in(monorepo, monkeypatch, place, [*args, "-k", "test_a"])
        assert result.parseoutcomes()["passed"] == 2, result.stdout.str()
        assert unused(result) == []


def test_the_recordings_of_the_rootdir_come_first_and_then_the_closest(monorepo, monkeypatch):
    for place, args in (RUNS["in the package"], RUNS["with --rootdir"]):
        run_in(monorepo, monkeypatch, place, ["--connex-sandbox", "--connex-record=rewrite", *args, "-k", "test_ws"])
        if place != ".":
            (monorepo.path / "packages/a/cassettes").rename(monorepo.path / "packages/a/aside")
    (monorepo.path / "packages/a/aside").rename(monorepo.path / "packages/a/cassettes")
    top, package = (monorepo.path / folder / "cassettes" for folder in (".", "packages/a"))
    spoilt = top / "packages/a/tests/test_a/test_ws.ws.jsonl"
    spoilt.write_text(spoilt.read_text().replace("one", "two"))
    assert (package / "tests/test_a/test_ws.ws.jsonl").exists()
    passed, failed = (
        run_in(monorepo, monkeypatch, *RUNS[name][:1], [*RUNS[name][1], "-k", "test_ws"]).parseoutcomes()
        for name in ("in the package", "with --rootdir")
    )
    assert (passed.get("passed"), failed.get("failed")) == (1, 1)
    other = run_in(monorepo, monkeypatch, "packages", ["--rootdir=.", "a", "-k", "test_ws"])
    assert other.parseoutcomes().get("passed") == 1


def test_a_recording_is_made_again_where_it_is(monorepo, monkeypatch):
    for name in ("in the package", "with --rootdir"):
        place, args = RUNS[name]
        run_in(monorepo, monkeypatch, place, ["--connex-sandbox", "--connex-record=rewrite", *args])
    found = sorted(str(path.relative_to(monorepo.path)) for path in monorepo.path.rglob("test_ws.ws.jsonl"))
    assert found == ["packages/a/cassettes/tests/test_a/test_ws.ws.jsonl"]


def test_recordings_in_a_folder_that_others_share_are_not_taken_for_orphans(monorepo, monkeypatch):
    shared = monorepo.path / "shared"
    option = f"--connex-cassette-dir={shared}"
    run_in(monorepo, monkeypatch, "packages/a", ["--connex-sandbox", "--connex-record", option])
    assert len(list(shared.rglob("test_*.*"))) == 2
    result = run_in(monorepo, monkeypatch, "packages/b", [option])
    assert unused(result) == []


def test_the_recording_of_another_test_is_never_taken(monorepo, monkeypatch):
    run_in(monorepo, monkeypatch, "packages/a", ["--connex-sandbox", "--connex-record=once"])
    (monorepo.path / "packages/b/tests/test_b.py").rename(monorepo.path / "packages/b/tests/test_a.py")
    result = run_in(monorepo, monkeypatch, ".", ["packages/b"])
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*CassetteMissing: *packages/b/cassettes/tests/test_a/test_*"])
