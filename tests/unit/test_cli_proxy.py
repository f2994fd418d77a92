"""``connex proxy`` as a process of its own, used through the clients of requests and websockets."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from unittest import mock

import pytest
import requests
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from .commands import run, variables

COMMAND = [sys.executable, "-c", "from pytest_connex.cli import app; app()", "proxy"]
SUBSCRIBE = '{"action": "subscribe", "channel": "orderbook", "symbol": "ETH/USDT", "depth": 5}'


class Process:
    """One proxy: the variables it printed, and what it said when it was over."""

    def __init__(self, popen: subprocess.Popen[str], lines: int) -> None:
        self._popen = popen
        found = (re.fullmatch(r"export (\w+)=(\S+)\n", popen.stdout.readline()) for _ in range(lines))
        self.exports = dict(match.groups() for match in found)

    def get(self, path: str, **headers: str) -> requests.Response:
        return requests.get(self.exports["CONNEX_REST_URL"] + path, headers=headers, timeout=10)

    def converse(self, count: int) -> list[str]:
        with connect(self.exports["CONNEX_WS_URL"]) as ws:
            ws.send(SUBSCRIBE)
            return [ws.recv(10) for _ in range(count)]

    def stop(self, number: int = signal.SIGINT, times: int = 1) -> tuple[int, str]:
        for _ in range(times):
            self._popen.send_signal(number)
        _, said = self._popen.communicate(timeout=20)
        return self._popen.returncode, said


@contextmanager
def proxy(*args: str, folder: Path, lines: int = 4, **environ: str) -> Iterator[Process]:
    popen = subprocess.Popen(
        [*COMMAND, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder, env=environ
    )
    try:
        yield Process(popen, lines)
    finally:
        if popen.poll() is None:
            popen.kill()
            popen.communicate()


def refused(*args: str, folder: Path, **environ: str) -> str:
    with chdir(folder), mock.patch.dict(os.environ, environ, clear=True):
        ran = run("proxy", *args)
    assert (ran.exit_code, ran.stdout) == (2, "")
    return ran.stderr


def authentication(key: str, secret: str) -> dict[str, str]:
    return {"X-CONNEX-API-KEY": key, "X-CONNEX-API-SECRET": secret}


def test_what_is_recorded_from_one_program_answers_another(sandbox, tmp_path):
    headers = authentication(sandbox.api_key, sandbox.api_secret)
    with proxy("--record", "tape", folder=tmp_path, **variables(sandbox)) as process:
        urls = ["CONNEX_REST_URL", "CONNEX_WS_URL"]
        assert list(process.exports) == [*urls, "NO_PROXY", "no_proxy"]  # the keys stay the program's own
        status = process.get("/v1/status", **headers)
        frames = process.converse(4)
        code, said = process.stop()
    assert (code, status.status_code, len(frames)) == (0, 200, 4)
    assert "requests: 1, frames: 5" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tape.ws.jsonl", "tape.yaml"]
    for path in tmp_path.iterdir():
        text = path.read_text()
        assert "source" in text
        assert '"proxy"' in text or "source: proxy" in text
        assert sandbox.api_key not in text
        assert sandbox.api_secret not in text

    with proxy("--replay", "tape.ws.jsonl", folder=tmp_path, lines=6) as process:
        exports = process.exports
        keys = authentication(exports["CONNEX_API_KEY"], exports["CONNEX_API_SECRET"])
        again = process.get("/v1/status", **keys)
        assert process.converse(4) == frames
        code, said = process.stop()
    assert (code, again.text) == (0, status.text)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_loses_nothing(sandbox, tmp_path, number):
    with proxy("--record", "tape", folder=tmp_path, **variables(sandbox)) as process:
        process.converse(3)
        code, said = process.stop(number, times=2)
    assert code == 0
    assert f"recorded {tmp_path / 'tape.ws.jsonl'}" in said
    assert [path.name for path in tmp_path.iterdir()] == ["tape.ws.jsonl"]


def test_it_passes_on_without_files(sandbox, tmp_path):
    urls = ("--upstream-rest", sandbox.rest_url, "--upstream-ws", sandbox.ws_url)
    with proxy(*urls, folder=tmp_path) as process:
        status = process.get("/v1/status", **authentication(sandbox.api_key, sandbox.api_secret))
        frames = process.converse(2)
        code, said = process.stop()
    assert (code, status.status_code, len(frames)) == (0, 200, 2)
    assert int(said.rpartition("frames: ")[2]) >= 3  # the sandbox goes on until it hears of the end
    assert list(tmp_path.iterdir()) == []


def test_one_upstream_is_enough_and_the_other_says_so(sandbox, tmp_path):
    with proxy("--upstream-ws", sandbox.ws_url, folder=tmp_path) as process:
        answer = process.get("/v1/status")
        assert len(process.converse(2)) == 2
        process.stop()
    assert (answer.status_code, answer.text) == (502, "no upstream for REST is configured\n")


def test_a_header_that_is_named_must_hold_what_it_held(sandbox, tmp_path):
    headers = authentication(sandbox.api_key, sandbox.api_secret)
    with proxy("--record", "tape", folder=tmp_path, **variables(sandbox)) as process:
        process.get("/v1/status", **headers, **{"X-Account": "main"})
        process.stop()
    with proxy("--replay", "tape", "--match-header", "X-Account", folder=tmp_path, lines=6) as process:
        missed = process.get("/v1/status", **headers, **{"X-Account": "other"})
        served = process.get("/v1/status", **headers, **{"X-Account": "main"})
        process.stop()
    assert (missed.status_code, served.status_code) == (501, 200)
    assert "headers: x-account: expected main, actual other" in missed.text


def test_what_is_not_recorded_is_told_and_the_next_client_is_served(sandbox, tmp_path):
    with proxy("--record", "tape", folder=tmp_path, **variables(sandbox)) as process:
        process.get("/v1/status", **authentication(sandbox.api_key, sandbox.api_secret))
        process.stop()
    with proxy("--replay", "tape", folder=tmp_path, lines=6) as process:
        missed = process.get("/v1/other")
        with pytest.raises(InvalidStatus) as caught:
            process.converse(1)
        served = process.get("/v1/status", **authentication(sandbox.api_key, sandbox.api_secret))
        code, said = process.stop()
    assert (missed.status_code, served.status_code, code) == (501, 200, 1)
    assert caught.value.response.status_code == 501
    assert "GET https://rest.connex.invalid/v1/other is not recorded" in missed.text
    assert "GET https://rest.connex.invalid/v1/status" in missed.text
    assert "record it: connex proxy --record tape --rewrite" in missed.text
    assert "no WebSocket is recorded" in said


def test_faults_happen_and_are_listed(sandbox, tmp_path):
    faults = ("--fault", "answer:status=503,retry_after=2", "--fault", "duplicate:frame=1")
    with proxy(*faults, folder=tmp_path, **variables(sandbox)) as process:
        answer = process.get("/v1/status")
        frames = process.converse(3)
        _, said = process.stop()
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
    assert frames[0] == frames[1] != frames[2]
    assert "GET /v1/status: answered with 503" in said
    assert "connection 1: duplicate at message 1" in said


def test_a_recording_is_not_replaced_unless_asked(sandbox, tmp_path):
    (tmp_path / "tape.yaml").write_text("mine")
    said = refused("--record", "tape", folder=tmp_path, **variables(sandbox))
    assert said == "connex proxy: tape.yaml exists: add --rewrite to replace it\n"
    assert (tmp_path / "tape.yaml").read_text() == "mine"


def test_a_recording_needs_the_credentials_to_keep_them_out(sandbox, tmp_path):
    urls = ("--upstream-rest", sandbox.rest_url, "--upstream-ws", sandbox.ws_url, "--record", "tape")
    said = refused(*urls, folder=tmp_path)
    assert "CONNEX_API_KEY and CONNEX_API_SECRET not set" in said
    assert "--no-credentials" in said
    with proxy(*urls, "--no-credentials", folder=tmp_path) as process:
        assert len(process.converse(2)) == 2
        assert process.stop()[0] == 0


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "there is nothing to pass on to: give --upstream-rest and --upstream-ws"),
        (("--replay", "none"), "there is no recording none.ws.jsonl or none.yaml"),
        (("--replay", "a", "--record", "b"), "--record and --replay exclude each other"),
        (("--upstream-rest", "http://connex.example"), "use https://"),
        (("--upstream-ws", "nonsense"), "CONNEX_WS_URL must be a URL"),
        (("--host", "0.0.0.0", "--replay", "a"), "can be reached by other machines: add --expose"),
        (("--upstream-ws", "ws://127.0.0.1:1/", "--fault", "explode"), "there is no fault 'explode'"),
        (("--upstream-ws", "ws://127.0.0.1:1/", "--fault", "drop_after"), "drop_after needs one of frames"),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(tmp_path, args, said):
    assert said in refused(*args, folder=tmp_path)


def test_a_damaged_recording_is_refused_with_its_line(tmp_path):
    (tmp_path / "tape.ws.jsonl").write_text('{"format": "connex-ws", "version": 2}\n')
    assert "tape.ws.jsonl:1: " in refused("--replay", "tape", folder=tmp_path)
    (tmp_path / "tape.ws.jsonl").unlink()
    (tmp_path / "tape.yaml").write_text("interactions: [")
    assert "tape.yaml:2: not YAML" in refused("--replay", "tape", folder=tmp_path)


def test_a_real_key_is_not_shown_while_replaying(sandbox, tmp_path):
    with proxy("--record", "tape", folder=tmp_path, **variables(sandbox)) as process:
        process.get("/v1/status", **authentication(sandbox.api_key, sandbox.api_secret))
        process.stop()
    with proxy("--replay", "tape", folder=tmp_path, lines=6, **variables(sandbox)) as process:
        missed = process.get(f"/v1/other?key={sandbox.api_key}")
        _, said = process.stop()
    assert missed.status_code == 501
    assert sandbox.api_key not in missed.text + said
