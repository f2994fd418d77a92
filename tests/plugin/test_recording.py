"""When recordings are written, and what never gets into them or into a report."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import BOTH, Project

LOUD = """
import logging, pytest

async def test_ws(connex_config, connex_ws, connex_rest, record_property):
    secret, key = connex_config.api_secret, connex_config.api_key
    record_property("secret", secret)
    print("printed", secret, key.encode().hex())
    logging.getLogger("mine").error("logged %s", secret)
    logging.getLogger("mine").debug("%s", secret.encode())
    assert (await connex_ws.ping(1)).id == 1
    assert connex_rest.get("/v1/status").status_code == 200
    {ending}
"""


def everything_below(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file())


@pytest.fixture
def credentials() -> tuple[str, str]:
    """Those of the sandbox with the default seed."""
    from pytest_connex.sandbox.exchange import Exchange

    made = Exchange(7).new_credentials()
    return made.api_key, made.api_secret


def test_once_leaves_what_is_there(recorded):
    before = everything_below(recorded.path / "cassettes")
    recorded.test(BOTH + "\nasync def test_new(connex_ws):\n    await connex_ws.ping(1)\n")
    result = recorded.run("--connex-sandbox", "--connex-record")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["recordings: 0 read, 1 written, 0 missing"])
    (recorded.ws.parent / "test_new.ws.jsonl").unlink()
    assert everything_below(recorded.path / "cassettes") == before


def test_a_run_that_does_not_record_touches_nothing(recorded):
    before = everything_below(recorded.path / "cassettes")
    recorded.run("--connex-sandbox").assert_outcomes(passed=2)
    assert everything_below(recorded.path / "cassettes") == before


def test_a_failing_test_leaves_the_old_recordings(recorded):
    before = everything_below(recorded.path / "cassettes")
    recorded.test(BOTH.replace('"pong"', '"gong"').replace('"healthy"', '"ill"'))
    recorded.run("--connex-sandbox", "--connex-record=rewrite").assert_outcomes(failed=2)
    assert everything_below(recorded.path / "cassettes") == before


def test_a_failing_teardown_leaves_the_old_recording(recorded):
    before = recorded.ws.read_bytes()
    recorded.test(
        BOTH
        + """
import pytest

@pytest.fixture(autouse=True)
def broken():
    yield
    raise ValueError("broken")
"""
    )
    recorded.run("--connex-sandbox", "--connex-record=rewrite").assert_outcomes(passed=2, errors=2)
    assert recorded.ws.read_bytes() == before
    assert [file.name for file in recorded.ws.parent.iterdir() if file.suffix == ".tmp"] == []


def test_a_file_no_longer_produced_is_removed(recorded):
    recorded.test("def test_ws(connex_rest):\n    connex_rest.get('/v1/status')\n")
    recorded.record()
    assert not recorded.ws.exists()
    assert (recorded.ws.parent / "test_ws.yaml").exists()


def test_two_recordings_agree_but_for_times_and_nonces(recorded):
    def normalised() -> list[str]:
        import re

        text = everything_below(recorded.path / "cassettes").decode()
        text = re.sub(r'"at":[0-9.e-]+|recorded_at.*|X-RateLimit-\w+:\n +- .*|\d{13}', "", text)
        return [line for line in text.splitlines() if "GMT" not in line]

    first = normalised()
    recorded.record()
    assert [a for a, b in zip(first, normalised(), strict=True) if a != b and "format" not in a] == []


def test_a_recording_says_where_it_came_from(recorded):
    assert '"source":"sandbox"' in recorded.ws.read_text().splitlines()[0]
    assert "  source: sandbox\n" in recorded.http.read_text()
    assert "127.0.0.1" not in everything_below(recorded.path / "cassettes").decode()


@pytest.mark.parametrize("ending", ["pass", "assert secret == 'x', secret", "raise ValueError(secret)"])
def test_no_secret_reaches_a_file_a_log_or_a_report(project: Project, credentials, ending):
    project.test(LOUD.format(ending=ending))
    result = project.run_apart(
        "--connex-sandbox",
        "--connex-record=rewrite",
        "--showlocals",
        "--log-level=DEBUG",
        "--log-cli-level=DEBUG",
        "--log-file=all.log",
        "--junitxml=report.xml",
        "-o",
        "junit_logging=all",
        "-rA",
    )
    assert result.ret == (0 if ending == "pass" else 1)
    written = everything_below(project.path).replace(project.path.joinpath("test_it.py").read_bytes(), b"")
    seen = written.decode("utf-8", "replace") + result.stdout.str() + result.stderr.str()
    for value in credentials:
        assert value not in seen
        assert value.encode().hex() not in seen
    assert "printed ***" in seen
    assert "logged ***" in seen


def test_further_secrets_come_from_the_hook(project):
    project.pytester.makeconftest("def pytest_connex_secrets(config):\n    return ['hunter2-hunter2']\n")
    project.test(
        """
        async def test_ws(connex_config, connex_connect):
            async with connex_connect(connex_config.ws_url) as ws:
                await ws.send('{"action": "ping", "id": "hunter2-hunter2"}')
                print(await ws.recv())
        """
    )
    result = project.record("-rA")
    assert "hunter2" not in project.ws.read_text()
    assert "hunter2" not in result.stdout.str()
    assert project.run().ret == 0


def test_a_folder_that_cannot_be_written_fails_the_test_and_says_so(project):
    (project.path / "cassettes").write_text("a file in the way")
    project.test(BOTH)
    result = project.run("--connex-sandbox", "--connex-record")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*CassetteError: *cannot be written*"])


def test_the_plugin_imports_nothing_heavy(project):
    project.test("def test_it(): pass")
    code = (
        "import sys, pytest; pytest.main(['-q', *sys.argv[1:]]);"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    import subprocess
    import sys

    def modules(*args: str) -> set[str]:
        ran = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=True)
        return set(ran.stdout.splitlines()[-1].split())

    assert modules() - modules("-p", "no:connex") <= {"pytest_connex", "ipaddress"}
