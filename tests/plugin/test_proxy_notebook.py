"""The research notebook, unmodified, through the proxy: against the sandbox, from its recording, and live.

A kernel is a process of its own, so its cells run in one, with the environment that the proxy gives; and they run
in the process of the test, whose environment leads to the proxy too.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from pytest_connex.config import REST_URL

from ..unit.test_notebook import ADDED, NOTEBOOK, cells
from .conftest import Project

PROCESSES = ["another", "this"]

TEST = """
import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

@pytest.mark.parametrize("process", ["another", "this"])
def test_it(connex_config, connex_proxy, process, capfd):
    if process == "another":
        subprocess.run([sys.executable, "notebook.py"], env=connex_proxy.env(), timeout=60, check=True)
    else:
        runpy.run_path("notebook.py")
    assert connex_proxy.requests == 1
    assert connex_proxy.frames >= 7  # sent: two; received: an answer to each, and three of the order book
    [result] = [line for line in capfd.readouterr().out.splitlines() if line.startswith("RESULT ")]
    Path(f"{connex_config.mode}-{process}.json").write_text(result.removeprefix("RESULT "), "utf-8")
"""

WITHOUT_NETWORK = (
    "unshare",
    "-n",
    "sh",
    "-c",
    'ip link set lo up && [ "$(wc -l < /proc/net/route)" = 1 ] && exec "$0" "$@"',
)
"""Runs a command where nothing but this machine can be reached; it fails where that cannot be had."""

pytestmark = pytest.mark.skipif(not NOTEBOOK.exists(), reason="the research notebook is not beside this repository")


class Notebook:
    """A project whose test runs the cells twice, in another process and in its own."""

    def __init__(self, project: Project) -> None:
        self._project = project
        (project.path / "notebook.py").write_text(cells() + ADDED, "utf-8")
        project.test(TEST)

    def run(self, *args: str, within: tuple[str, ...] = ()) -> None:
        """Run pytest in a process of its own, within another command."""
        pytester = self._project.pytester
        command = [*within, sys.executable, "-m", "pytest", "-p", "no:randomly", "-p", "no:cacheprovider", *args]
        ran = pytester.run(*command, timeout=60)
        assert ran.ret == 0, ran.stdout.str() + ran.stderr.str()
        ran.assert_outcomes(passed=2)

    def results(self, mode: str, process: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what the two functions of the notebook returned."""
        health, test = json.loads((self._project.path / f"{mode}-{process}.json").read_text("utf-8"))
        return health, test

    def recorded_frames(self, process: str) -> list[str]:
        """Return the messages that a recording holds."""
        path = self._project.path / "cassettes" / "test_it" / f"test_it[{process}].ws.jsonl"
        events = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        return [event["text"] for event in events if event.get("event") == "received"]


@pytest.fixture
def notebook(project: Project) -> Notebook:
    return Notebook(project)


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server in a process of its own, to which the environment leads; gives its REST URL."""
    command = [sys.executable, "-c", "from pytest_connex.cli import app; app()", "sandbox", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            lines = [process.stdout.readline() for _ in range(4)]
            found = dict(re.fullmatch(r"export (\w+)=(\S+)\n", line).groups() for line in lines)
            for name, value in found.items():
                monkeypatch.setenv(name, value)
            yield found[REST_URL]
        finally:
            process.send_signal(signal.SIGINT)
    assert process.returncode == 0


@pytest.fixture(params=["connected", "cut-off"])
def within(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The command within which a recording is played: none, or one that cuts the network off."""
    if request.param == "connected":
        return ()
    if shutil.which("unshare") is None or subprocess.run([*WITHOUT_NETWORK, "true"], check=False).returncode:
        pytest.skip("this machine does not allow unshare -n, or has no ip to set up its loopback interface")
    return WITHOUT_NETWORK


def assert_worked(health: dict[str, Any], test: dict[str, Any]) -> None:
    assert (health["status_code"], health["payload"]["status"]) == (200, "healthy")
    assert (test["status"], test["attempts"], len(test["orderbook_messages"])) == ("success", 1, 3)
    assert [frame["parsed"]["event"] for frame in test["control_frames"]] == ["authenticated", "subscribed"]


def test_the_cells_reach_the_sandbox(notebook):
    notebook.run("--connex-sandbox")

    for process in PROCESSES:
        assert_worked(*notebook.results("sandbox", process))


def test_the_cells_see_what_was_recorded_from_the_sandbox(notebook, within):
    notebook.run("--connex-sandbox", "--connex-record=rewrite")
    notebook.run(within=within)

    for process in PROCESSES:
        health, test = notebook.results("recorded", process)
        assert_worked(health, test)
        seen = [frame["raw"] for frame in [*test["control_frames"], *test["orderbook_messages"]]]
        assert seen == [shown(text) for text in notebook.recorded_frames(process)[:5]]
        assert health["payload"] == notebook.results("sandbox", process)[0]["payload"]


def test_the_cells_reach_a_live_server(notebook, live):
    notebook.run("--connex-live")

    for process in PROCESSES:
        health, test = notebook.results("live", process)
        assert_worked(health, test)
        assert health["url"] != f"{live}/v1/status"


def shown(text: str, limit: int = 2048) -> str:
    """Return what the notebook keeps of a message."""
    return text if len(text) <= limit else f"{text[:limit]}... (+{len(text) - limit} chars)"
