"""The command line: what serves, as processes of its own."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time

import pytest
import requests

from pytest_connex import __version__

from .commands import run

COMMAND = [sys.executable, "-c", "from pytest_connex.cli import app; app()"]


def test_the_help_imports_nothing_heavy():
    """What a command works with is imported when it is run; what typer imports by itself is not counted."""
    code = "import sys, typer; before = {*sys.modules}; import pytest_connex.cli; print(*{*sys.modules} - before)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = {name.partition(".")[0] for name in ran.stdout.split()}
    assert "pytest_connex" in imported
    assert not imported & {"asyncio", "ssl", "websockets", "aiohttp", "requests", "vcr", "yaml", "msgspec", "pytest"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_sandbox_prints_where_it_is_serves_and_exits_with_zero(number):
    with subprocess.Popen(
        [*COMMAND, "sandbox", "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            lines = [process.stdout.readline() for _ in range(4)]
            values = dict(re.fullmatch(r"export (\w+)=(\S+)\n", line).groups() for line in lines)
            headers = {
                "X-CONNEX-API-KEY": values["CONNEX_API_KEY"],
                "X-CONNEX-API-SECRET": values["CONNEX_API_SECRET"],
            }
            answer = requests.get(values["CONNEX_REST_URL"] + "/v1/status", headers=headers, timeout=10)
        finally:
            process.send_signal(number)
        assert process.wait(timeout=10) == 0

    assert list(values) == ["CONNEX_REST_URL", "CONNEX_WS_URL", "CONNEX_API_KEY", "CONNEX_API_SECRET"]
    assert answer.json()["status"] == "healthy"
    assert process.stdout.closed


def test_the_sandbox_speaks_a_dialect_and_has_a_limit_and_a_clock(tmp_path):
    (tmp_path / "mine.py").write_text(
        'from pytest_connex import Dialect\nclass Mine(Dialect): status_path, key_header = "/v2/status", "X-KEY"\n'
    )
    options = ["--dialect", "mine:Mine", "--rate-limit", "2", "--clock-skew=-3600"]
    with subprocess.Popen(
        [*COMMAND, "sandbox", "--port", "0", *options],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            lines = [process.stdout.readline() for _ in range(4)]
            values = dict(re.fullmatch(r"export (\w+)=(\S+)\n", line).groups() for line in lines)
            headers = {"X-KEY": values["CONNEX_API_KEY"], "X-CONNEX-API-SECRET": values["CONNEX_API_SECRET"]}
            url = values["CONNEX_REST_URL"] + "/v2/status"
            answers = [requests.get(url, headers=headers, timeout=10) for _ in range(3)]
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 0

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert abs(answers[0].json()["timestamp"] / 1000 + 3_600 - time.time()) < 600
    assert 0 < int(answers[2].headers["Retry-After"]) <= 60


def test_a_port_in_use_is_refused_with_what_to_do():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ran = run("sandbox", "--port", port)
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert ran.stderr.startswith(f"connex sandbox: cannot listen on 127.0.0.1:{port}:")
    assert "Choose another port, or 0 for a free one" in ran.stderr


def test_a_host_that_others_reach_needs_to_be_asked_for():
    ran = run("sandbox", "--host", "0.0.0.0")
    assert ran.exit_code == 2
    assert "0.0.0.0 can be reached by other machines: add --expose" in ran.stderr


@pytest.mark.parametrize(
    "args", [("--interval", "0"), ("--interval", "-1"), ("--port", "70000"), ("--seed", "x"), ("--rate-limit", "0")]
)
def test_a_value_that_cannot_be_used_is_refused(args):
    ran = run("sandbox", *args)
    assert ran.exit_code == 2
    assert args[0] in ran.stderr


def test_the_version_is_printed():
    assert run("--version").stdout == f"pytest-connex {__version__}\n"
