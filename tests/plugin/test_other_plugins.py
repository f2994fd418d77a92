"""The plugins this one needs, loaded by other names or not at all; and those it cannot run beside."""

from __future__ import annotations

import pytest

from .conftest import BOTH, INI, Project
from .test_options import refused

BY_MODULE = [f"-p{name}.plugin" for name in ("pytest_asyncio", "pytest_connex")]


def test_plugins_are_found_by_their_modules(project: Project, monkeypatch):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    project.test(BOTH)
    recording = project.pytester.runpytest_subprocess(*BY_MODULE, "--connex-sandbox", "--connex-record")
    recording.assert_outcomes(passed=2)
    recording.stdout.fnmatch_lines(["recordings: 0 read, 2 written, 0 missing"])
    project.pytester.runpytest_subprocess(*BY_MODULE).assert_outcomes(passed=2)


@pytest.mark.parametrize("option", ["-p no:recording", "--disable-recording", "-p no:asyncio"])
def test_recordings_need_no_other_plugin(project: Project, option):
    project.test(BOTH)
    project.ini("addopts = --strict-markers -W error -W ignore::pytest.PytestConfigWarning -k rest")
    recording = project.run_apart(*option.split(), "--connex-sandbox", "--connex-record")
    recording.assert_outcomes(passed=1, deselected=1)
    project.run_apart(*option.split()).assert_outcomes(passed=1, deselected=1)


THREADS = """
def pytest_addoption(parser):
    parser.addoption("{}")
"""


@pytest.mark.parametrize(
    ("option", "plugin"), [("--tests-per-worker", "pytest-parallel"), ("--parallel-threads", "pytest-run-parallel")]
)
def test_tests_in_threads_of_one_process_are_refused(recorded, option, plugin):
    recorded.pytester.makeconftest(THREADS.format(option))
    for wanted in ("2", "auto"):
        refused(
            recorded.run(f"{option}={wanted}"),
            f"{option}={wanted} of {plugin} runs tests in threads of one process, where Connex tests would get each "
            "other's recordings: drop it, and spread tests over processes with -n auto of pytest-xdist",
        )
    recorded.run(f"{option}=1").assert_outcomes(passed=2)
    recorded.test("def test_plain():\n    pass\n")
    recorded.run(f"{option}=2").assert_outcomes(passed=1)


# --- A set-up that fails early ---------------------------------------------------------------------------

BROKEN = """
import pytest

@pytest.fixture(scope="session")
def {}():
    raise RuntimeError("not today")
"""


@pytest.mark.parametrize("args", [[], ["--connex-sandbox", "--connex-record=rewrite"]], ids=["recorded", "recording"])
@pytest.mark.parametrize("fixture", ["connex_config", "connex_dialect"])
def test_a_fixture_that_fails_early_is_the_only_error(recorded, fixture, args):
    recorded.pytester.makeconftest(BROKEN.format(fixture))
    result = recorded.run(*args)
    result.assert_outcomes(errors=2)
    assert result.stdout.str().count("E       RuntimeError: not today") == 2
    assert "KeyError" not in result.stdout.str()


ASKS = """
import pytest
import requests

@pytest.fixture
def connex_config(_connex_proxy_of_run):
    requests.get(_connex_proxy_of_run.rest_url + "/v1/status")
"""


def test_a_request_before_the_configuration_is_there_says_so(recorded):
    recorded.pytester.makeconftest(ASKS)
    result = recorded.run("-k", "rest")
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(
        ["E*CassetteError: connex_config is needed for recordings, and the fixture has not been set up"]
    )
    assert "KeyError" not in result.stdout.str()


def test_recordings_that_cannot_be_opened_are_the_only_error(recorded):
    recorded.pytester.makeini(INI)
    recorded.test(f"import pytest\npytestmark = pytest.mark.block_network(allowed_hosts=['*'])\n{BOTH}")
    result = recorded.run()
    result.assert_outcomes(errors=2)
    assert "KeyError" not in result.stdout.str()
