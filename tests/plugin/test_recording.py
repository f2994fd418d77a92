"""When recordings are written, and what never gets into them or into a report."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest
import yaml

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


_TIMES = r'"(at|asked|answered)": ?[0-9.e-]+|recorded_at.*|"X-RateLimit-\w+": \[[^]]*\]|\d{13}'


def test_two_recordings_agree_but_for_times_and_nonces(recorded):
    def normalised() -> list[str]:
        text = everything_below(recorded.path / "cassettes").decode()
        return re.sub(_TIMES, "", text).splitlines()

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


# --- Tests that do not pass as a whole, or do not end ----------------------------------------------------

SUBTESTS = """
import unittest
import pytest

async def test_ws(connex_ws, subtests):
    await connex_ws.ping({number})
    with subtests.test("one"):
        assert {passes}

class TestRest(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def rest(self, connex_rest):
        self.rest = connex_rest

    def test_status(self):
        assert self.rest.get("/v1/status", params={{"number": {number}}}).ok
        with self.subTest("one"):
            assert {passes}
"""


def test_a_failed_subtest_leaves_the_old_recordings(project):
    project.test(SUBTESTS.format(number=1, passes=True))
    project.record()
    before = everything_below(project.path / "cassettes")
    project.test(SUBTESTS.format(number=2, passes=False))
    assert project.run("--connex-sandbox", "--connex-record=rewrite").ret == pytest.ExitCode.TESTS_FAILED
    assert everything_below(project.path / "cassettes") == before
    project.test(SUBTESTS.format(number=2, passes=True))
    project.record()
    assert everything_below(project.path / "cassettes") != before


ENDING_BY_SIGNAL = """
import os
import signal

async def test_ws(connex_config, connex_connect):
    async with connex_connect(connex_config.ws_url) as ws:
        await ws.send('{{"action": "ping", "id": 8}}')
        await ws.recv()
        os.kill(os.getpid(), signal.{signal})
        await ws.recv()
"""


def left_beside(recording: Path) -> list[str]:
    return sorted(file.name for file in recording.parent.iterdir() if file.suffix == ".tmp")


def test_ctrl_c_leaves_the_old_recording_and_nothing_beside_it(recorded):
    before = recorded.ws.read_bytes()
    recorded.test(ENDING_BY_SIGNAL.format(signal="SIGINT"))
    result = recorded.run_apart("--connex-sandbox", "--connex-record=rewrite", timeout=30)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert (recorded.ws.read_bytes(), left_beside(recorded.ws)) == (before, [])


def test_a_killed_run_leaves_the_old_recording_and_the_next_one_sweeps(recorded):
    before = recorded.ws.read_bytes()
    recorded.test(ENDING_BY_SIGNAL.format(signal="SIGKILL"))
    result = recorded.run_apart("--connex-sandbox", "--connex-record=rewrite", timeout=30)
    assert result.ret == -signal.SIGKILL
    assert (recorded.ws.read_bytes(), len(left_beside(recorded.ws))) == (before, 1)
    recorded.test(BOTH)
    recorded.record()
    assert left_beside(recorded.ws) == []


# --- Which files there are -------------------------------------------------------------------------------


def test_what_is_removed_is_listed(recorded):
    recorded.test("async def test_rest(connex_ws):\n    await connex_ws.ping(1)\n")
    recorded.record().stdout.fnmatch_lines(
        [
            "recordings: 0 read, 1 written, 0 missing, 1 removed",
            "  written: cassettes/test_it/test_rest.ws.jsonl",
            "  removed: cassettes/test_it/test_rest.yaml",
        ]
    )
    assert not recorded.http.exists()


def test_classes_within_classes_have_recordings_of_their_own(project):
    project.test(
        """
        class TestA:
            async def test_ws(self, connex_ws): await connex_ws.send({"action": "ping", "note": "a"})

            class TestIn:
                async def test_ws(self, connex_ws): await connex_ws.send({"action": "ping", "note": "a in"})

        class TestB:
            class TestIn:
                async def test_ws(self, connex_ws): await connex_ws.send({"action": "ping", "note": "b in"})
        """
    )
    project.record()
    files = sorted(file.name.partition(".test_ws")[0] for file in (project.path / "cassettes" / "test_it").iterdir())
    assert files == ["TestA", "TestA.TestIn", "TestB.TestIn"]
    project.run().assert_outcomes(passed=3)


STREAMING = """
async def test_ws(connex_ws, connex_rest):
    assert connex_rest.get("/v1/orderbook/binance/ETHUSDT").ok
    await connex_ws.ping(1)
    await connex_ws.subscribe("ETH/USDT", depth=5)
    for _ in range(3):
        await connex_ws.recv()
"""


def test_two_recordings_of_a_stream_agree_up_to_the_last_message_sent(project):
    def recorded() -> tuple[list[tuple[str, str]], list[object]]:
        project.record()
        lines = [json.loads(line) for line in project.ws.read_text().splitlines()[1:-1]]
        last = max(index for index, line in enumerate(lines) if line["event"] == "sent")
        events = [line for index, line in enumerate(lines) if index <= last or line["event"] != "received"]
        said = [(event["event"], re.sub(r"\d{13}", "", event.get("text", ""))) for event in events]
        [interaction] = yaml.safe_load(project.ws.with_name("test_ws.yaml").read_text())["interactions"]
        body = re.sub(r"\d{13}", "", interaction["response"]["body"]["string"])
        return said, [interaction["request"], interaction["response"]["status"], body]

    project.test(STREAMING)
    first = recorded()
    assert [kind for kind, _ in first[0]].count("sent") == 3
    assert recorded() == first


# --- Secrets ---------------------------------------------------------------------------------------------

SAYING = """
async def test_ws(connex_config, connex_connect):
    async with connex_connect(connex_config.ws_url) as ws:
        await ws.send('{"action": "ping", "id": "hunter2-hunter2"}')
        print(await ws.recv())
"""


@pytest.mark.parametrize("values", ["['hunter2-hunter2']", "[None, 'hunter2-hunter2', '']", "('hunter2-hunter2',)"])
def test_the_hook_of_a_nested_conftest_counts(project, values):
    nested = project.pytester.mkdir("deep")
    (nested / "conftest.py").write_text(f"def pytest_connex_secrets(config):\n    return {values}\n")
    (nested / "test_it.py").write_text(SAYING)
    result = project.record("-rP")
    recording = project.path / "cassettes" / "deep" / "test_it" / "test_ws.ws.jsonl"
    assert "hunter2" not in recording.read_text()
    assert "hunter2" not in result.stdout.str()
    project.run().assert_outcomes(passed=1)


@pytest.mark.parametrize("value", ["'hunter2-hunter2'", "[7]"])
@pytest.mark.parametrize("mode", [[], ["--connex-sandbox", "--connex-record"]], ids=["recorded", "recording"])
def test_a_hook_that_gives_no_list_of_strings_is_a_usage_error(project, value, mode):
    project.pytester.makeconftest(f"def pytest_connex_secrets(config):\n    return {value}\n")
    project.test(BOTH)
    result = project.run_apart(*mode)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: pytest_connex_secrets must return a list of strings; unset values may be None"]
    )


def test_the_secret_of_the_environment_reaches_no_recording_of_the_sandbox(project, monkeypatch):
    monkeypatch.setenv("CONNEX_API_SECRET", "s3cr3t/of+the=shell")
    project.test(
        """
        import json, os

        async def test_ws(connex_config, connex_connect, connex_rest):
            secret = os.environ["CONNEX_API_SECRET"]
            connex_rest.get("/v1/status", params={"note": secret}, headers={"X-Note": secret})
            async with connex_connect(connex_config.ws_url) as ws:
                await ws.send(json.dumps({"action": "ping", "id": secret}))
                print(await ws.recv())
        """
    )
    result = project.record("-rP")
    written = everything_below(project.path / "cassettes").decode() + result.stdout.str()
    assert "s3cr3t" not in written
    project.run().assert_outcomes(passed=1)
