"""A project of somebody else's, with one test file, for the tests of the plugin."""

from __future__ import annotations

import importlib
import pkgutil
import shutil
from collections.abc import Iterable
from hashlib import sha256
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import pytest_connex
from pytest_connex.config import VARIABLES

# For the runs within this process: they forget the modules that they load themselves, which takes time, and a C
# extension, as PyYAML's, does not bear being loaded twice.
for _module in pkgutil.walk_packages(pytest_connex.__path__, "pytest_connex."):
    try:
        importlib.import_module(_module.name)
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.startswith("pytest_connex"):
            raise  # what is for a library that is not here, as trio, is loaded by nobody

OTHERS = {plugin.name for plugin in entry_points(group="pytest11")} - {"asyncio", "connex", "recording"}
"""The plugins that are installed here, but for the one under test and those that it needs."""

_OF_A_BUILD = ("CI", "BUILD_NUMBER")
"""Where these are set, pytest shortens no line of its summary."""

INI = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
"""

BOTH = """
import requests

def test_rest(connex_config):
    response = requests.get(
        connex_config.rest_url + "/v1/status",
        headers={"X-CONNEX-API-KEY": connex_config.api_key, "X-CONNEX-API-SECRET": connex_config.api_secret},
    )
    assert response.json()["status"] == "healthy"

async def test_ws(connex_config, connex_connect):
    async with connex_connect(connex_config.ws_url) as ws:
        await ws.send('{"action": "ping", "id": 7, "note": "one"}')
        assert '"pong"' in await ws.recv()
"""


class Project:
    """Runs pytest in a folder of its own, which begins without any Connex variable.

    Args:
        pytester: Runs it.
        shelf: The folder with what was recorded once for several projects.
    """

    def __init__(self, pytester: pytest.Pytester, shelf: Path) -> None:
        self.pytester = pytester
        self.path = pytester.path
        self._shelf = shelf
        pytester.makeini(INI)

    def test(self, source: str) -> None:
        self.pytester.makepyfile(test_it=source)

    def ini(self, lines: str) -> None:
        self.pytester.makeini(f"{INI}{lines}\n")

    def run(self, *args: str) -> pytest.RunResult:
        return self.pytester.runpytest_inprocess("-p", "no:randomly", "-p", "no:cacheprovider", *args)

    def run_apart(self, *args: str, beside: Iterable[str] = (), timeout: float = 60) -> pytest.RunResult:
        """Run pytest in a process of its own.

        Args:
            args: Its arguments.
            beside: Which other plugins are loaded, of those that are installed here; the others take time.
            timeout: Seconds after which it is given up.
        """
        others = [f"-pno:{name}" for name in OTHERS - set(beside)]
        return self.pytester.runpytest_subprocess(*others, *args, timeout=timeout)

    def run_distributed(self, *args: str, workers: int = 2) -> pytest.RunResult:
        """Run pytest in so many processes, which are slow to start."""
        return self.run_apart(f"-n{workers}", *args, beside=("xdist", "xdist.looponfail"))

    def record(self, *args: str) -> pytest.RunResult:
        result = self.run("--connex-sandbox", "--connex-record=rewrite", *args)
        assert result.ret == 0, result.stdout.str()
        return result

    def test_recorded(self, source: str) -> None:
        """Begin with ``source`` and its recordings, which are made when it is asked for the first time."""
        self.test(source)
        folder, kept = self.path / "cassettes", self._shelf / sha256(source.encode()).hexdigest()
        if kept.exists():
            shutil.copytree(kept, folder)
        else:
            self.record()
            shutil.copytree(folder, kept)

    @property
    def ws(self) -> Path:
        return self.path / "cassettes" / "test_it" / "test_ws.ws.jsonl"

    @property
    def http(self) -> Path:
        return self.path / "cassettes" / "test_it" / "test_rest.yaml"


def live_at(monkeypatch: pytest.MonkeyPatch, rest_url: str, ws_url: str, key: str, secret: str) -> None:
    """Have live runs find Connex there."""
    for name, value in zip(VARIABLES, (rest_url, ws_url, key, secret), strict=True):
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shelf")


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, shelf: Path) -> Project:
    for name in (*VARIABLES, *_OF_A_BUILD):
        monkeypatch.delenv(name, raising=False)
    return Project(pytester, shelf)


@pytest.fixture
def recorded(project: Project) -> Project:
    """A project whose two tests are recorded."""
    project.test_recorded(BOTH)
    return project


@pytest.fixture
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a line of the summary hold a test and its verdict."""
    monkeypatch.setenv("COLUMNS", "400")
