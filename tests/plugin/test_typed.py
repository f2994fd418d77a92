"""Only a person goes live and records: where the two switches may stand, and what becomes of them elsewhere."""

from __future__ import annotations

import pytest

from .conftest import INI, Project
from .test_options import refused

SANDBOX = "def test_it(connex_rest):\n    assert connex_rest.get('/v1/status').ok\n"
TOML = 'asyncio_mode = "auto"\nasyncio_default_fixture_loop_scope = "function"\naddopts = '
FILES = {
    "pytest.ini": INI + "addopts = {}\n",
    "tox.ini": INI + "addopts = {}\n",
    "setup.cfg": INI.replace("[pytest]", "[tool:pytest]") + "addopts = {}\n",
    "pyproject.toml": f'[tool.pytest.ini_options]\n{TOML}"{{}}"\n',
    "other/other.ini": INI + "addopts = {}\n",
}


def write(project: Project, file: str, addopts: str) -> list[str]:
    """Put ``addopts`` into a configuration file, the only one there is.

    Returns:
        The arguments with which pytest reads it.
    """
    (project.path / "tox.ini").unlink()
    path = project.path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(FILES[file].format(addopts))
    return ["-c", file, "--rootdir=."] if path.parent != project.path else []


@pytest.fixture
def sandboxed(project: Project) -> Project:
    project.test(SANDBOX)
    return project


@pytest.mark.parametrize("file", FILES)
def test_a_file_does_not_go_live(project, monkeypatch, file):
    monkeypatch.setenv("CONNEX_REST_URL", "https://gateway.example")
    project.test("def test_it():\n    pass\n")
    refused(
        project.run(*write(project, file, "-v --connex-live")),
        f"ERROR: --connex-live is in addopts of {file}, and only a person goes live or records: take it out of "
        "there, and type: pytest --connex-live",
    )


@pytest.mark.skipif(pytest.version_tuple < (9,), reason="pytest 9 introduced this table")
def test_a_list_in_a_file_does_not_go_live(project):
    project.test(SANDBOX)
    write(project, "pyproject.toml", "")
    (project.path / "pyproject.toml").write_text(f'[tool.pytest]\n{TOML}["-v", "--connex-live"]\n')
    refused(project.run(), "--connex-live is in addopts of pyproject.toml")


@pytest.mark.parametrize(
    ("addopts", "args", "said"),
    [
        (
            "--connex-sandbox --connex-record",
            [],
            "--connex-record=once is in addopts of tox.ini,*type: pytest --connex-sandbox --connex-record=once",
        ),
        (
            "--connex-record=rewrite",
            ["--connex-sandbox"],
            "--connex-record=rewrite is in addopts of*type: pytest --connex-sandbox --connex-record=rewrite",
        ),
        ("-o addopts=-v --connex-record", ["--connex-sandbox"], "--connex-record=once is in addopts of tox.ini"),
        ("@more.txt", [], "--connex-live and --connex-record=rewrite are in addopts of tox.ini"),
        ("--connex-record=rewrite", ["--connex-live"], "*type: pytest --connex-live --connex-record=rewrite"),
    ],
)
def test_a_file_does_not_record(sandboxed, addopts, args, said):
    (sandboxed.path / "more.txt").write_text("--connex-live\n--connex-record=rewrite\n")
    sandboxed.ini(f"addopts = {addopts}")
    refused(sandboxed.run(*args), said)
    assert not (sandboxed.path / "cassettes").exists()


def test_the_controller_of_a_distributed_run_refuses_it_once(sandboxed):
    sandboxed.ini("addopts = --connex-sandbox --connex-record")
    result = sandboxed.run_distributed()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.stderr.str().count("--connex-record=once is in addopts of tox.ini") == 1


@pytest.mark.parametrize("distributed", [False, True], ids=["alone", "distributed"])
@pytest.mark.parametrize(
    ("environment", "args"),
    [
        ("", ["--connex-sandbox", "--connex-record"]),
        ("--connex-sandbox --connex-record=rewrite", []),
        ("", ["-o", "addopts=--connex-sandbox --connex-record"]),
        ("", ["@typed.txt"]),
    ],
    ids=["command line", "environment", "override", "file of arguments"],
)
def test_what_is_typed_counts_wherever_it_is_typed(sandboxed, monkeypatch, environment, args, distributed):
    (sandboxed.path / "typed.txt").write_text("--connex-sandbox\n--connex-record\n")
    monkeypatch.setenv("PYTEST_ADDOPTS", environment)
    result = sandboxed.run_distributed(*args, workers=1) if distributed else sandboxed.run(*args)
    assert result.ret == 0, result.stderr.str()
    result.stdout.fnmatch_lines(["*written: cassettes/test_it/test_it.yaml"])


def test_what_a_file_says_of_the_sandbox_is_not_refused(sandboxed):
    sandboxed.ini("addopts = --connex-sandbox")
    sandboxed.run("--connex-record").stdout.fnmatch_lines(["*written: cassettes/test_it/test_it.yaml"])


@pytest.mark.parametrize(
    ("line", "switch"),
    [("config.option.connex_live = True", "--connex-live"), ("config.option.connex_record = 'rewrite'", "*=rewrite")],
)
def test_a_conftest_that_sets_a_switch_is_told_of(sandboxed, line, switch):
    sandboxed.pytester.makeconftest(f"def pytest_configure(config):\n    {line}\n")
    refused(
        sandboxed.run(), f"{switch} is set by code of a conftest.py or a plugin, *remove that, and type: pytest --"
    )


# --- What follows --connex-record ------------------------------------------------------------------------


def test_a_path_behind_the_record_switch_is_a_test_path(sandboxed):
    sandboxed.pytester.makepyfile(test_other=SANDBOX)
    sandboxed.run("--connex-sandbox", "--connex-record", "test_it.py").assert_outcomes(passed=1)
    assert [path.name for path in (sandboxed.path / "cassettes").iterdir()] == ["test_it"]


def test_a_mode_behind_the_record_switch_needs_its_equals_sign(sandboxed):
    refused(
        sandboxed.run("--connex-sandbox", "--connex-record", "rewrite"),
        "--connex-record rewrite: type --connex-record=rewrite, with the equals sign",
    )


def test_a_path_that_is_called_like_a_mode_is_a_path(sandboxed):
    folder = sandboxed.path / "rewrite"
    folder.mkdir()
    (folder / "test_deep.py").write_text(SANDBOX)
    sandboxed.run("--connex-sandbox", "--connex-record", "rewrite").stdout.fnmatch_lines(
        ["*written: cassettes/rewrite/test_deep/test_it.yaml"]
    )


@pytest.mark.parametrize("switch", ["--connex-liv", "--connex-rec"])
def test_a_switch_cannot_be_shortened(sandboxed, switch):
    refused(sandboxed.run(switch), f"unrecognized arguments: {switch}")
