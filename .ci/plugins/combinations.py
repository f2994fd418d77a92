"""The combinations with other plugins, as data: to try another one, add an entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

INI = {"asyncio_mode": "auto", "asyncio_default_fixture_loop_scope": "function"}

TESTS = 22
"""Tests of the project itself."""

RECORDINGS = 18
"""Files that recording the project writes."""

SKIPS = frozenset({"test_nothing_is_recorded"})
"""Tests of the project that are skipped while it is recorded."""

VERDICTS = {
    "test_another_request": "CassetteMismatch",
    "test_another_message": "CassetteMismatch",
    "test_a_client_that_tries_for_ever": "CassetteMismatch",
    "test_less_is_asked": "CassetteUnplayed",
    "test_nothing_is_recorded": "CassetteMissing",
}
"""Tests of the project that must fail from their recording, each with the one verdict that must be the reason."""


@dataclass(frozen=True)
class Combination:
    """How the project is run, and what beside it must come of that.

    Attributes:
        name: What the table calls it.
        packages: What is installed besides pytest-connex, in an environment that has nothing else.
        options: Of pytest, while recording and while replaying.
        ini: Settings of pytest, besides ``INI``.
        python: Options of the interpreter.
        extra: The folder below ``extra/`` that is laid over the project; by default the one of this name, if any.
        tests: How many tests that adds.
        recordings: How many files recording them writes.
        verdicts: Which of them must fail from their recording, and with what.
        skips: Which of them are skipped while recording, or fail there as expected.
        times: How often each test of the project is run, under a name of its own.
        refused: What a run must say that refuses to start, if it must.
    """

    name: str
    packages: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    ini: Mapping[str, str] = field(default_factory=dict)
    python: tuple[str, ...] = ()
    extra: str = ""
    tests: int = 0
    recordings: int = 0
    verdicts: Mapping[str, str] = field(default_factory=dict)
    skips: frozenset[str] = frozenset()
    times: int = 1
    refused: str = ""


_MISMATCH = "CassetteMismatch"
_DEV = ("-X", "dev", "-W", "error")
_SESSION_LOOPS = {
    "asyncio_default_fixture_loop_scope": "session",
    "asyncio_default_test_loop_scope": "session",
}

COMBINATIONS = (
    # No other plugin, run in other ways.
    Combination("alone"),
    Combination("dev", python=_DEV),
    Combination("asyncio-strict", ini={"asyncio_mode": "strict"}),
    Combination("asyncio-session", ini=_SESSION_LOOPS),
    Combination("asyncio-debug", ini={"asyncio_debug": "true"}),
    Combination("importlib", options=("--import-mode=importlib",), ini={"pythonpath": "."}),
    Combination("plain-asserts", options=("--assert=plain",)),
    Combination("no-capture", options=("-s",)),
    Combination("live-logs", options=("-o", "log_cli=true", "--log-cli-level=DEBUG")),
    Combination("no-cacheprovider", options=("-p", "no:cacheprovider")),
    Combination("junit", options=("--junitxml=junit.xml",)),
    # pytest-recording's own options and cassettes.
    Combination("vcr", tests=1),
    Combination("block-network", options=("--block-network",)),
    Combination("record-mode-none", options=("--record-mode=none",)),
    Combination("allowed-hosts", options=("--block-network", "--allowed-hosts=127.0.0.1")),
    # In many processes.
    Combination("xdist", ("pytest-xdist",), ("-n2",)),
    Combination("xdist-loadfile", ("pytest-xdist",), ("-n2", "--dist=loadfile")),
    Combination("xdist-worksteal", ("pytest-xdist",), ("-n2", "--dist=worksteal")),
    Combination("xdist-dev", ("pytest-xdist",), ("-n2",), python=_DEV),
    Combination("xdist-randomly", ("pytest-xdist", "pytest-randomly"), ("-n2",)),
    Combination("xdist-html", ("pytest-xdist", "pytest-html"), ("-n2", "--html=report.html")),
    Combination("xdist-sugar", ("pytest-xdist", "pytest-sugar"), ("-n2",)),
    Combination(
        "xdist-rerunfailures",
        ("pytest-xdist", "pytest-rerunfailures"),
        ("-n2", "--reruns=1"),
        extra="second-try",
        tests=2,
        recordings=2,
    ),
    # It does not work with pytest 9 by itself.
    Combination("forked", ("pytest-forked", "pytest<9"), ("--forked",)),
    # In another order, a part of it, more than once.
    Combination("randomly", ("pytest-randomly",), ("-p", "randomly", "-p", "no:cacheprovider")),
    Combination("random-order", ("pytest-random-order",), ("--random-order",)),
    Combination("reverse", ("pytest-reverse",), ("--reverse",)),
    Combination("order", ("pytest-order",), tests=2, recordings=2),
    Combination("dependency", ("pytest-dependency",), tests=2, recordings=2),
    Combination("split", ("pytest-split",), ("--splits=1", "--group=1")),
    Combination("repeat", ("pytest-repeat",), ("--count=2",), times=2),
    Combination(
        "rerunfailures",
        ("pytest-rerunfailures",),
        ("--reruns=2",),
        extra="second-try",
        tests=2,
        recordings=2,
    ),
    Combination(
        "flaky",
        ("flaky",),
        ("--force-flaky", "--max-runs=2", "--no-flaky-report"),
        extra="second-try",
        tests=2,
        recordings=2,
    ),
    Combination(
        "retry",
        ("pytest-retry",),
        ("--retries=1",),
        extra="second-try",
        tests=2,
        recordings=2,
    ),
    Combination("testmon", ("pytest-testmon",), ("--testmon-noselect",)),
    # What guards a run.
    Combination("timeout", ("pytest-timeout",), ("--timeout=60",)),
    Combination("timeout-thread", ("pytest-timeout",), ("--timeout=60", "--timeout-method=thread")),
    Combination("socket", ("pytest-socket",), ("--disable-socket", "--allow-unix-socket", "--allow-hosts=127.0.0.1")),
    Combination("fail-slow", ("pytest-fail-slow",), ("--fail-slow=60s",)),
    Combination("typeguard", ("typeguard",), ("--typeguard-packages=market",)),
    # What reports.
    Combination("cov", ("pytest-cov",), ("--cov=market", "--cov-branch")),
    Combination("cov-xdist", ("pytest-cov", "pytest-xdist"), ("--cov=market", "-n2")),
    Combination("html", ("pytest-html",), ("--html=report.html", "--self-contained-html")),
    Combination("json-report", ("pytest-json-report",), ("--json-report",)),
    Combination("reportlog", ("pytest-reportlog",), ("--report-log=log.jsonl",)),
    Combination("allure", ("allure-pytest",), ("--alluredir=allure",)),
    Combination("sugar", ("pytest-sugar",)),
    Combination("instafail", ("pytest-instafail",), ("--instafail",)),
    Combination("icdiff", ("pytest-icdiff",)),
    Combination("clarity", ("pytest-clarity",)),
    Combination("pretty", ("pytest-pretty",)),
    # What tests use.
    Combination("mock", ("pytest-mock",), tests=1, recordings=1),
    Combination("httpx", ("pytest-httpx",), tests=2, recordings=2),
    Combination("respx", ("respx",), tests=2, recordings=1),
    Combination("responses", ("responses",), tests=1, recordings=1),
    Combination("requests-mock", ("requests-mock",), tests=1, recordings=1),
    # It does not work with aiohttp 3.14 by itself.
    Combination("aioresponses", ("aioresponses", "aiohttp<3.14"), tests=1, recordings=1),
    Combination("httpserver", ("pytest-httpserver",), tests=1, recordings=1),
    Combination("time-machine", ("time-machine",), tests=2, recordings=2),
    Combination("freezegun", ("freezegun",), tests=2, recordings=2),
    Combination("aiohttp", ("pytest-aiohttp",), tests=2, recordings=1),
    Combination("anyio", ("anyio",), tests=1, recordings=1),
    Combination(
        "django", ("pytest-django", "django"), ini={"DJANGO_SETTINGS_MODULE": "site_settings"}, tests=2, recordings=2
    ),
    Combination("subtests", tests=1, recordings=1),
    Combination("subtests-plugin", ("pytest-subtests", "pytest<9"), extra="subtests", tests=1, recordings=1),
    Combination("env", ("pytest-env",), ini={"env": "WANTED_STATUS=healthy"}, tests=1, recordings=1),
    Combination("dotenv", ("pytest-dotenv",), ini={"env_files": "wanted.env"}, tests=1, recordings=1),
    Combination("syrupy", ("syrupy",), tests=1, recordings=1),
    Combination("inline-snapshot", ("inline-snapshot",), tests=1, recordings=1),
    Combination("hypothesis", ("hypothesis",), tests=2, recordings=2),
    Combination("lazy-fixtures", ("pytest-lazy-fixtures",), tests=1, recordings=1),
    # It does not work with pytest 9 by itself.
    Combination("cases", ("pytest-cases", "pytest<9"), tests=2, recordings=2),
    Combination("check", ("pytest-check",), tests=1, recordings=1),
    Combination("benchmark", ("pytest-benchmark",), tests=1, recordings=1),
    Combination("describe", ("pytest-describe",), tests=1, recordings=1),
    # Who runs tests, and what is made of a failure.
    # It does not work with pytest-asyncio's mode "auto" by itself.
    Combination(
        "trio",
        ("pytest-trio",),
        ini={"asyncio_mode": "strict"},
        tests=4,
        recordings=4,
        verdicts={
            "test_another_request_on_trio": _MISMATCH,
            "test_another_request_of_a_session_on_trio": _MISMATCH,
        },
    ),
    Combination(
        "anyio-trio",
        ("anyio[trio]",),
        tests=4,
        recordings=4,
        verdicts={
            "test_another_request_on_anyio": _MISMATCH,
            "test_another_request_of_a_session_on_anyio": _MISMATCH,
        },
    ),
    Combination(
        "twisted",
        ("pytest-twisted", "twisted"),
        tests=4,
        recordings=4,
        verdicts={
            "test_another_request_on_twisted": _MISMATCH,
            "test_another_request_of_a_session_on_twisted": _MISMATCH,
        },
    ),
    Combination(
        "bdd",
        ("pytest-bdd",),
        tests=2,
        recordings=2,
        verdicts={"test_another_scenario": _MISMATCH},
    ),
    Combination("doctest", options=("--doctest-modules",), tests=1, recordings=1),
    Combination(
        "unittest",
        tests=4,
        recordings=4,
        verdicts={
            "test_another_request_of_unittest": _MISMATCH,
            "test_another_message_of_unittest": _MISMATCH,
        },
    ),
    Combination(
        "xfail",
        tests=2,
        recordings=2,
        verdicts={"test_expected_to_fail": _MISMATCH, "test_strictly_expected_to_fail": _MISMATCH},
        skips=frozenset({"test_expected_to_fail", "test_strictly_expected_to_fail"}),
    ),
    Combination(
        "background",
        tests=1,
        verdicts={"test_a_task_that_reads": "CassetteMissing"},
        skips=frozenset({"test_a_task_that_reads"}),
    ),
    Combination("parallel", ("pytest-parallel", "py"), ("--workers=2",)),
    Combination("parallel-threads", ("pytest-parallel", "py"), ("--tests-per-worker=2",), refused="pytest-parallel"),
    Combination("looptime", ("looptime",), tests=2, recordings=1),
    Combination("looptime-connected", ("looptime",), refused="the clock of looptime does not wait for connections"),
    Combination("freezer", ("pytest-freezer",), tests=2, recordings=2),
)
