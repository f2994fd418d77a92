"""``connex capture`` against the sandbox and servers that do as a test says; interrupted, as a process of its own."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import os
import pty
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from click.testing import Result
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection

from pytest_connex.cassette.events import Closed, Open, Received
from pytest_connex.cassette.store import Recording

from .commands import run, variables
from .replaying import replay
from .upstream import server as listening

COMMAND = [sys.executable, "-c", "from pytest_connex.cli import app; app()"]
BOOK = '{"type":"update","bids":[["1.10","2"]],"asks":[]}'
OPEN = ("--no-credentials", "--timeout", "20")


@contextmanager
def server(script: Callable[[ServerConnection], None], **options: Any) -> Iterator[dict[str, str]]:
    """A server that hears the subscription and then does as ``script`` says."""

    def converse(ws: ServerConnection) -> None:
        ws.recv()
        script(ws)

    with listening(converse, **options) as url:
        yield {"CONNEX_WS_URL": url}


def until_closed(ws: ServerConnection) -> None:
    for _ in ws:
        pass


def environment(**environ: str) -> dict[str, str]:
    """The environment of this process, but for what is set for Connex."""
    return {name: value for name, value in os.environ.items() if not name.startswith("CONNEX_")} | environ


def capture(*args: str, folder: Path, **environ: str) -> tuple[int, str]:
    ran = connex("capture", "-o", "tape.ws.jsonl", *args, folder=folder, **environ)
    assert ran.stdout == ""
    return ran.exit_code, ran.stderr


def connex(*args: str, folder: Path, **environ: str) -> Result:
    with chdir(folder), mock.patch.dict(os.environ, environment(**environ), clear=True):
        return run(*args)


def received(path: Path) -> list[str | bytes]:
    return [
        event.payload
        for connection in Recording(path).connections
        for _, event in connection.events()
        if isinstance(event, Received)
    ]


def books(path: Path) -> int:
    return sum("bids" in json.loads(message) for message in received(path))


def closing(path: Path) -> Closed | None:
    [connection] = Recording(path).connections
    return connection.closing


def test_as_many_frames_as_asked_for_are_recorded_and_replay(sandbox, tmp_path):
    args = ("--symbol", "ETH/USDT", "--depth", "5", "--frames", "4")
    code, said = capture(*args, folder=tmp_path, **variables(sandbox))
    tape = tmp_path / "tape.ws.jsonl"
    assert (code, said) == (0, "recorded tape.ws.jsonl: 4 frames\n")
    assert [path.name for path in tmp_path.iterdir()] == ["tape.ws.jsonl"]
    recording = Recording(tape)
    assert (recording.header.source, recording.header.test) == ("live", "connex capture")
    assert recording.connections[0].dial.url == "wss://ws.connex.invalid/"
    assert (books(tape), closing(tape).by, closing(tape).code) == (4, "client", 1000)
    text = tape.read_text()
    assert sandbox.api_key not in text
    assert sandbox.api_secret not in text

    seen = [message for kind, message in asyncio.run(replay(tape)) if kind == "sent"]
    assert [json.loads(message)["action"] for message in seen] == ["authenticate", "subscribe"]
    assert json.loads(seen[1]) == {"action": "subscribe", "channel": "orderbook", "symbol": "ETH/USDT", "depth": 5}


def test_what_it_records_passes_the_check(sandbox, tmp_path):
    capture("--frames", "2", folder=tmp_path, **variables(sandbox))
    ran = connex("cassettes", "check", "tape.ws.jsonl", folder=tmp_path, **variables(sandbox))
    assert (ran.exit_code, ran.stdout) == (0, "1 checked, 0 damaged or with secrets\n")


def test_of_a_burst_no_frame_too_many_is_kept(tmp_path):
    def burst(ws: ServerConnection) -> None:
        ws.send('{"event":"subscribed"}')
        for _ in range(500):
            ws.send(BOOK)
        until_closed(ws)

    with server(burst) as environ:
        code, said = capture("--frames", "10", *OPEN, folder=tmp_path, **environ)
    assert (code, said) == (0, "recorded tape.ws.jsonl: 10 frames\n")
    assert received(tmp_path / "tape.ws.jsonl") == ['{"event":"subscribed"}', *[BOOK] * 10]


def test_text_is_kept_to_the_byte_and_binary_messages_too(tmp_path):
    strange = '{ "bids":[], "asks" : [],\t"price": 1.10000000000000000001, "é": "\\u00e9"}\r\n'

    def speak(ws: ServerConnection) -> None:
        ws.send(b"\x00\xff")
        ws.send(strange)
        until_closed(ws)

    with server(speak) as environ:
        assert capture("--frames", "1", *OPEN, folder=tmp_path, **environ)[0] == 0
    assert received(tmp_path / "tape.ws.jsonl") == [b"\x00\xff", strange]


def test_headers_that_come_more_than_once_are_kept(tmp_path):
    def served_twice(ws: ServerConnection, request: Request, response: Response) -> None:
        for name in ("a", "b"):
            response.headers["X-Served-By"] = name

    def speak(ws: ServerConnection) -> None:
        ws.send(BOOK)
        until_closed(ws)

    with server(speak, process_response=served_twice) as environ:
        assert capture("--frames", "1", *OPEN, folder=tmp_path, **environ)[0] == 0
    [connection] = Recording(tmp_path / "tape.ws.jsonl").connections
    assert isinstance(connection.answer, Open)
    assert connection.answer.headers == {"X-Served-By": ["a", "b"]}


def test_a_connection_that_is_lost_is_recorded_as_it_was(tmp_path):
    def lose(ws: ServerConnection) -> None:
        ws.send(BOOK)
        ws.socket.shutdown(socket.SHUT_RDWR)  # closing alone waits for the thread that reads

    with server(lose) as environ:
        code, said = capture("--frames", "3", *OPEN, folder=tmp_path, **environ)
    tape = tmp_path / "tape.ws.jsonl"
    assert (code, said) == (
        1,
        "recorded tape.ws.jsonl: 1 frame\nconnex capture: 1 of 3 frames: the connection was lost\n",
    )
    assert (books(tape), closing(tape).by, closing(tape).code) == (1, "network", 1006)


def test_a_close_of_the_server_is_recorded_as_it_was(tmp_path):
    def close(ws: ServerConnection) -> None:
        ws.send(BOOK)
        ws.close(1012, "restart")

    with server(close) as environ:
        code, said = capture("--frames", "3", *OPEN, folder=tmp_path, **environ)
    ended = closing(tmp_path / "tape.ws.jsonl")
    assert code == 1
    assert "1 of 3 frames: the connection was closed by the server with 1012 restart\n" in said
    assert (ended.by, ended.code, ended.reason) == ("server", 1012, "restart")


def test_silence_ends_it_and_other_messages_are_no_frames(tmp_path):
    def speak(ws: ServerConnection) -> None:
        ws.send(BOOK)
        ws.send('{"event":"heartbeat"}')
        until_closed(ws)

    with server(speak) as environ:
        code, said = capture("--frames", "2", "--no-credentials", "--timeout", "0.5", folder=tmp_path, **environ)
    assert code == 1
    assert "connex capture: 1 of 2 frames: no order-book frame within 0.5 s\n" in said
    assert received(tmp_path / "tape.ws.jsonl") == [BOOK, '{"event":"heartbeat"}']


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("times", [1, 2])
def test_a_signal_keeps_what_arrived_and_the_terminal_shows_how_much(tmp_path, number, times):
    def speak(ws: ServerConnection) -> None:
        for _ in range(3):
            ws.send(BOOK)
        until_closed(ws)

    ours, theirs = pty.openpty()
    with server(speak) as environ:
        command = [*COMMAND, "capture", "-o", "tape", "--frames", "1000", *OPEN]
        with subprocess.Popen(
            command, stderr=theirs, cwd=tmp_path, env=environment(**environ, TERM="xterm")
        ) as process:
            os.close(theirs)
            said = b""
            try:
                while b" 3/1000" not in said:
                    said += os.read(ours, 4096)
            finally:
                for _ in range(times):
                    process.send_signal(number)
            said += rest_of(ours)
            assert process.wait(timeout=20) == 1
    assert b"recorded tape.ws.jsonl: 3 frames" in said
    assert b"3 of 1000 frames: interrupted" in said
    assert [path.name for path in tmp_path.iterdir()] == ["tape.ws.jsonl"]
    tape = tmp_path / "tape.ws.jsonl"
    assert (received(tape), closing(tape).by, closing(tape).code) == ([BOOK] * 3, "client", 1000)


def rest_of(terminal: int) -> bytes:
    said = b""
    try:
        while more := os.read(terminal, 4096):
            said += more
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(terminal)
    return said


def test_a_recording_is_not_replaced_unless_asked(sandbox, tmp_path):
    tape = tmp_path / "tape.ws.jsonl"
    tape.write_text("mine")
    code, said = capture("--frames", "1", folder=tmp_path, **variables(sandbox))
    assert (code, said) == (2, "connex capture: tape.ws.jsonl exists: add --rewrite to replace it\n")
    assert tape.read_text() == "mine"
    assert capture("--frames", "1", "--rewrite", folder=tmp_path, **variables(sandbox))[0] == 0
    assert books(tape) == 1


def test_without_a_connection_the_old_recording_stays(sandbox, tmp_path):
    tape = tmp_path / "tape.ws.jsonl"
    tape.write_text("mine")
    gone = {**variables(sandbox), "CONNEX_WS_URL": "ws://127.0.0.1:1/"}
    code, said = capture("--rewrite", folder=tmp_path, **gone)
    assert code == 1
    assert said.startswith(
        "nothing was recorded\nconnex capture: 0 of 100 frames: no connection to ws://127.0.0.1:1/"
    )
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("tape.ws.jsonl", "mine")]


def test_rejected_credentials_are_told_and_recorded(sandbox, tmp_path):
    wrong = {**variables(sandbox), "CONNEX_API_SECRET": "not-the-secret-of-it"}
    code, said = capture(folder=tmp_path, **wrong)
    [answer] = received(tmp_path / "tape.ws.jsonl")
    assert code == 1
    assert "0 of 100 frames: Connex answered invalid_signature" in said
    assert json.loads(answer)["event"] == "error"


@pytest.mark.parametrize("more", [0, 3000])
def test_a_secret_that_cannot_be_replaced_is_refused_and_nothing_written(tmp_path, more):
    secret = "a-secret-that-must-not-leak"
    hidden = base64.b64encode(gzip.compress(secret.encode())).decode()

    def leak(ws: ServerConnection) -> None:
        ws.send('{"event":"subscribed"}')  # the authentication was heard; the subscription follows
        ws.recv()
        for message in (json.dumps({"bids": [], "asks": [], "blob": hidden}), *[BOOK] * more):
            ws.send(message)
        until_closed(ws)

    with server(leak) as environ:
        keys = {"CONNEX_API_KEY": "a-key-for-it", "CONNEX_API_SECRET": secret}
        wanted = ("--frames", "1") if not more else ("--frames", "100000")  # it does not wait for them
        code, said = capture(*wanted, "--timeout", "500", folder=tmp_path, **environ, **keys)
    assert code == 2
    assert "a secret was left in this line; nothing was written" in said
    assert secret not in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("args", "changed", "said"),
    [
        ((), {"CONNEX_API_SECRET": ""}, "CONNEX_API_SECRET not set: they are needed to keep them out"),
        ((), {"CONNEX_API_SECRET": "short"}, "fewer than 8 characters"),
        ((), {"CONNEX_WS_URL": ""}, "Missing Connex configuration: CONNEX_WS_URL"),
        ((), {"CONNEX_WS_URL": "ws://connex.example"}, "use wss://"),
        (("--timeout", "0"), {}, "ws_timeout must be a number of seconds above zero"),
        (("--frames", "0"), {}, "--frames"),
        (("--depth", "0"), {}, "--depth"),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(sandbox, tmp_path, args, changed, said):
    code, heard = capture(*args, folder=tmp_path, **{**variables(sandbox), **changed})
    assert code == 2
    assert said in heard
    assert list(tmp_path.iterdir()) == []


def test_the_settings_may_stand_in_a_file(sandbox, tmp_path):
    lines = (f"{name}={value}\n" for name, value in variables(sandbox).items())
    (tmp_path / ".env").write_text("".join(lines))
    assert capture("--frames", "1", folder=tmp_path) == (0, "recorded tape.ws.jsonl: 1 frame\n")
