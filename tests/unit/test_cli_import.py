"""``connex import`` and ``connex export``: captures of other tools become recordings, and recordings become HAR."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_connex.cassette.events import Received, Sent
from pytest_connex.cassette.http_file import read_http
from pytest_connex.cassette.store import Recording
from pytest_connex.cli import app
from pytest_connex.config import API_KEY, API_SECRET, VARIABLES, WS_URL

from .conftest import Tape, write_tape
from .replaying import replay

DATA = Path(__file__).parents[2].parent / "shared" / "data"
KEY, SECRET = "a-key-of-some-length", "a-secret-of-some-length"
LINES = """\
wss://connex.example/v5?a=b <-> 1652459224.5300605
wss://connex.example/v5?a=b <- 1652459225.2987883: {"op":"subscribe"}
1652459225.5037491: {"price": 1.10}
1652459226.0: {"price": 1.20}
"""
BADLY_ENDED = [
    [1, {"event": "dial", "conn": 1, "at": 0.0, "url": "wss://connex.example/"}],
    [2, {"event": "open", "conn": 1, "at": 0.0}],
    [3, {"event": "closed", "conn": 1, "at": 0.0, "by": "server", "code": 999}],
]


class Ran:
    """One command: its exit code, and what it said."""

    def __init__(self, code: int, said: str) -> None:
        self.code = code
        self.said = said


@pytest.fixture
def connex(tmp_path, monkeypatch, capsys) -> Callable[..., Ran]:
    """Run a command in the test's folder."""
    monkeypatch.chdir(tmp_path)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)

    def run(*args: str) -> Ran:
        code = app(args, standalone_mode=False) or 0
        out, err = capsys.readouterr()
        return Ran(code, out + err)

    return run


def har(*messages: dict[str, Any], http: tuple[dict[str, Any], ...] = (), **entry: Any) -> str:
    websocket = {
        "_resourceType": "websocket",
        "_webSocketMessages": [{"type": "receive", "opcode": 1, "time": 1652459226.0, **each} for each in messages],
        "startedDateTime": "2022-05-13T16:27:04Z",
        "request": {"method": "GET", "url": "wss://connex.example/v5/x", "headers": []},
        "response": {"status": 101},
        **entry,
    }
    return json.dumps({"log": {"entries": [*http, websocket]}})


def exchange(url: str = "https://connex.example/v1/status", **response: Any) -> dict[str, Any]:
    return {
        "startedDateTime": "2022-05-13T16:27:04Z",
        "request": {
            "method": "GET",
            "url": url,
            "headers": [
                {"name": ":authority", "value": "connex.example"},
                {"name": "X-CONNEX-API-KEY", "value": "somebody's key"},
                {"name": "Cookie", "value": "session=1"},
            ],
        },
        "response": {
            "status": 200,
            "statusText": "OK",
            "headers": [{"name": "Content-Encoding", "value": "gzip"}, {"name": "X-A", "value": "b"}],
            "content": {"size": 18, "text": '{"status": "good"}'},
            **response,
        },
    }


def messages(path: Path) -> list[str | bytes]:
    return [
        event.payload
        for connection in Recording(path).connections
        for _, event in connection.events()
        if isinstance(event, Sent | Received)
    ]


# --- Lines -----------------------------------------------------------------------------------------------


async def test_lines_become_a_recording_that_replays(connex, tmp_path):
    (tmp_path / "capture.ws.txt").write_text(LINES)
    ran = connex("import", "capture.ws.txt", "--origin", "wss://connex.example")
    assert (ran.code, ran.said.splitlines()) == (
        0,
        [
            "recorded capture.ws.jsonl: 1 connection, 3 messages",
            "recorded as lost (1006): 1 connection, because the capture does not say how they ended",
            "CONNEX_API_KEY and CONNEX_API_SECRET are not both set: nothing but what is always secret could be "
            "replaced",
        ],
    )
    tape = tmp_path / "capture.ws.jsonl"
    recording = Recording(tape)
    assert (recording.header.source, recording.header.recorded_at) == ("import", "2022-05-13T16:27:04Z")
    assert recording.connections[0].dial.url == "wss://ws.connex.invalid/v5?a=b"
    assert await replay(tape) == [
        ("sent", '{"op":"subscribe"}'),
        ("received", '{"price": 1.10}'),
        ("received", '{"price": 1.20}'),
    ]
    assert connex("cassettes", "check", "capture.ws.jsonl").code == 0


def test_a_url_that_is_not_connex_stays_and_that_is_said(connex, tmp_path, monkeypatch):
    (tmp_path / "capture.txt").write_text(LINES)
    monkeypatch.setenv(WS_URL, "wss://somewhere.example")
    ran = connex("import", "capture.txt", "-o", "tape")
    assert (
        "kept as they are: URLs of wss://connex.example:443; --origin URL says which of them was Connex" in ran.said
    )
    assert Recording(tmp_path / "tape.ws.jsonl").connections[0].dial.url == "wss://connex.example/v5?a=b"


def test_the_configured_url_becomes_the_one_of_recordings(connex, tmp_path, monkeypatch):
    (tmp_path / "capture.txt").write_text(LINES)
    monkeypatch.setenv(WS_URL, "wss://connex.example/v5?a=b")
    assert "kept as they are" not in connex("import", "capture.txt", "-o", "tape").said
    assert Recording(tmp_path / "tape.ws.jsonl").connections[0].dial.url == "wss://ws.connex.invalid/"


@pytest.mark.parametrize("name", ["binance_spot.ws.txt", "okx_swap.ws.txt"])
async def test_real_traffic_is_imported_to_the_byte_and_replays(connex, tmp_path, name):
    if not (DATA / name).exists():
        pytest.skip("the captured exchange traffic is not beside this repository")
    assert connex("import", str(DATA / name), "-o", "tape").code == 0
    lines = (DATA / name).read_bytes().splitlines()[1:]
    texts = [line.partition(b": ")[2].decode() for line in lines if line]
    assert messages(tmp_path / "tape.ws.jsonl") == texts
    assert [text for _, text in await replay(tmp_path / "tape.ws.jsonl")] == texts
    assert connex("cassettes", "check", "tape.ws.jsonl").code == 0


def test_real_http_answers_alone_are_no_recording_of_a_websocket(connex, tmp_path):
    file = DATA / "binance_spot.http.txt"
    if not file.exists():
        pytest.skip("the captured exchange traffic is not beside this repository")
    ran = connex("import", str(file), "-o", "tape")
    assert ran.code == 2
    assert "binance_spot.http.txt: there is no WebSocket in it" in ran.said
    assert list(tmp_path.iterdir()) == []


# --- HAR -------------------------------------------------------------------------------------------------


async def test_a_har_becomes_a_recording_that_replays(connex, tmp_path):
    said = '{"é": 1.10}\n'
    (tmp_path / "capture.har").write_text(
        har(
            {"type": "send", "data": "hello"},
            {"data": said},
            {"data": base64.b64encode(b"\x00\xff").decode(), "opcode": 2},
        )
    )
    ran = connex("import", "capture.har", "--origin", "wss://connex.example/v5")
    assert "recorded capture.ws.jsonl: 1 connection, 3 messages\n" in ran.said
    tape = tmp_path / "capture.ws.jsonl"
    assert Recording(tape).connections[0].dial.url == "wss://ws.connex.invalid/x"
    assert await replay(tape) == [("sent", "hello"), ("received", said), ("received", b"\x00\xff")]
    assert connex("cassettes", "check", "capture.ws.jsonl").code == 0


def test_http_of_connex_is_recorded_beside_it_and_other_http_left_out_with_a_count(connex, tmp_path):
    others = (
        exchange("https://elsewhere.example/"),
        exchange("https://[::1/"),
        exchange(status=0),
        exchange(content={"size": 5}),
    )
    (tmp_path / "capture.har").write_text(har(http=(exchange(), *others)))
    ran = connex("import", "capture.har", "-o", "tape", "--rest-origin", "https://connex.example")
    assert "recorded tape.yaml: 1 request\n" in ran.said
    assert (
        "left out: 4 HTTP requests, because they go elsewhere than to CONNEX_REST_URL or --rest-origin, or have no "
        "whole answer in the capture\n"
    ) in ran.said
    data = read_http(tmp_path / "tape.yaml")
    assert (data["connex"]["source"], data["connex"]["recorded_at"]) == ("import", "2022-05-13T16:27:04Z")
    [interaction] = data["interactions"]
    assert interaction["request"]["uri"] == "https://rest.connex.invalid/v1/status"
    assert interaction["request"]["headers"] == {
        "X-CONNEX-API-KEY": ["connex-recorded-x-connex-api-key"],
        "Cookie": ["session=connex-recorded-session"],
    }
    assert interaction["response"]["headers"] == {"X-A": ["b"]}
    assert interaction["response"]["body"]["string"] == '{"status": "good"}'
    assert connex("cassettes", "check", "tape.ws.jsonl", "tape.yaml").code == 0


def test_a_har_without_websocket_entries_says_so(connex, tmp_path):
    (tmp_path / "capture.har").write_text(json.dumps({"log": {"entries": [exchange(), exchange()]}}))
    ran = connex("import", "capture.har", "--rest-origin", "https://connex.example")
    assert ran.code == 2
    assert ran.said.startswith("connex import: capture.har: none of the 2 entries of this HAR is of a WebSocket.")
    assert [path.name for path in tmp_path.iterdir()] == ["capture.har"]


# --- Secrets ---------------------------------------------------------------------------------------------


def test_secrets_are_replaced_wherever_they_are(connex, tmp_path, monkeypatch):
    monkeypatch.setenv(API_KEY, KEY)
    monkeypatch.setenv(API_SECRET, SECRET)
    headers = [{"name": "Authorization", "value": "Bearer x"}, {"name": "Cookie", "value": "a=b"}]
    request = {"url": f"wss://user:{SECRET}@connex.example/?listenKey=abcdef&key={KEY}", "headers": headers}
    (tmp_path / "capture.har").write_text(
        har({"type": "send", "data": f'{{"apiKey": "{KEY}", "signature": "0f"}}'}, {"data": SECRET}, request=request)
    )
    ran = connex("import", "capture.har", "-o", "tape")
    assert (ran.code, "not both set" in ran.said) == (0, False)
    tape = tmp_path / "tape.ws.jsonl"
    assert messages(tape) == [
        '{"apiKey": "connex-recorded-key", "signature": "connex-recorded-signature"}',
        "connex-recorded-secret",
    ]
    dial = Recording(tape).connections[0].dial
    assert dial.url == "wss://connex.example/?listenKey=connex-recorded-listenkey&key=connex-recorded-key"
    assert dial.headers == {"Authorization": "connex-recorded-authorization", "Cookie": "a=connex-recorded-a"}
    assert connex("cassettes", "check", "tape.ws.jsonl").code == 0


@pytest.mark.parametrize(
    ("place", "where"),
    [("websocket", "this line"), ("http", "the answer to GET https://rest.connex.invalid/v1/status")],
)
def test_a_secret_that_cannot_be_replaced_is_refused_and_nothing_written(connex, tmp_path, monkeypatch, place, where):
    monkeypatch.setenv(API_KEY, KEY)
    monkeypatch.setenv(API_SECRET, SECRET)
    hidden = base64.b64encode(gzip.compress(SECRET.encode())).decode()
    text = hidden if place == "websocket" else "harmless"
    body = hidden if place == "http" else "harmless"
    (tmp_path / "capture.har").write_text(har({"data": text}, http=(exchange(content={"text": body}),)))
    ran = connex("import", "capture.har", "-o", "tape", "--rest-origin", "https://connex.example")
    assert ran.code == 2
    assert f"a secret was left in {where}; nothing was written" in ran.said
    assert SECRET not in ran.said
    assert [path.name for path in tmp_path.iterdir()] == ["capture.har"]


# --- What cannot be imported -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "capture: neither a HAR, nor flows of mitmproxy, nor lines of a time and a text; --format says which"),
        ("nonsense\n", "capture: neither a HAR"),
        ('{"log": ', "capture:1: not a HAR"),
        (LINES + "cut off", "capture:5: not a line of this format"),
        (LINES.splitlines()[2] + "\n", "capture:1: no connection is open"),
        (har(_connex={"events": BADLY_ENDED}), "connection 1: 999 is no close code"),
    ],
)
def test_what_cannot_be_read_is_refused_and_nothing_written(connex, tmp_path, content, said):
    (tmp_path / "capture").write_text(content)
    ran = connex("import", "capture", "-o", "tape")
    assert ran.code == 2
    assert ran.said.startswith(f"connex import: {said}")
    assert [path.name for path in tmp_path.iterdir()] == ["capture"]


def test_the_format_may_be_said(connex, tmp_path):
    (tmp_path / "capture").write_text("nonsense\n")
    assert "capture:1: not a line of this format" in connex("import", "capture", "--format", "lines").said
    assert "capture:1: not a HAR" in connex("import", "capture", "--format", "har").said
    (tmp_path / "empty").write_text("\n")
    assert "empty: there is nothing in it" in connex("import", "empty", "--format", "lines").said


def test_a_file_that_is_not_there_is_named(connex):
    ran = connex("import", "none.har")
    assert (ran.code, ran.said) == (2, "connex import: none.har: it cannot be read: No such file or directory\n")


def test_settings_that_cannot_be_used_are_refused(connex, tmp_path, monkeypatch):
    (tmp_path / "capture.txt").write_text(LINES)
    assert "CONNEX_WS_URL must be a URL" in connex("import", "capture.txt", "--origin", "nonsense").said
    monkeypatch.setenv(API_KEY, "short")
    assert "fewer than 8 characters" in connex("import", "capture.txt").said


def test_a_recording_is_not_replaced_unless_asked(connex, tmp_path):
    (tmp_path / "capture.txt").write_text(LINES)
    (tmp_path / "tape.yaml").write_text("mine")
    ran = connex("import", "capture.txt", "-o", "tape.ws.jsonl")
    assert (ran.code, ran.said) == (2, "connex import: tape.yaml exists: add --rewrite to replace it\n")
    ran = connex("import", "capture.txt", "-o", "tape.ws.jsonl", "--rewrite")
    assert ran.code == 0
    assert "removed tape.yaml, which was of another recording\n" in ran.said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["capture.txt", "tape.ws.jsonl"]


# --- Export ------------------------------------------------------------------------------------------------


def test_what_is_exported_is_imported_as_it_was(connex, tmp_path):
    (tmp_path / "capture.har").write_text(har({"data": "a"}, {"data": "AP8=", "opcode": 2}, http=(exchange(),)))
    urls = ("--origin", "wss://connex.example", "--rest-origin", "https://connex.example")
    connex("import", "capture.har", "-o", "tape", *urls)
    ran = connex("export", "tape.ws.jsonl", "--har")
    assert (ran.code, ran.said) == (0, "written tape.har: 1 connection, 1 request\n")
    ran = connex("import", "tape.har", "-o", "again")
    assert "lost" not in ran.said
    assert (tmp_path / "again.ws.jsonl").read_text() == (tmp_path / "tape.ws.jsonl").read_text()
    assert (tmp_path / "again.yaml").read_text() == (tmp_path / "tape.yaml").read_text()


def test_an_export_needs_a_format_and_replaces_nothing_unasked(connex, tmp_path):
    write_tape(tmp_path / "tape.ws.jsonl", Tape())
    ran = connex("export", "tape.ws.jsonl")
    assert (ran.code, ran.said) == (2, "connex export: say in which format: --har is the one there is\n")
    (tmp_path / "out.har").write_text("mine")
    ran = connex("export", "tape", "--har", "-o", "out.har")
    assert (ran.code, ran.said) == (2, "connex export: out.har exists: add --rewrite to replace it\n")
    assert connex("export", "tape", "--har", "-o", "out.har", "--rewrite").code == 0
    assert json.loads((tmp_path / "out.har").read_text())["log"]["entries"] == []


def test_an_export_of_a_secret_is_refused_and_nothing_written(connex, tmp_path, monkeypatch):
    monkeypatch.setenv(API_KEY, KEY)
    monkeypatch.setenv(API_SECRET, SECRET)
    tape = Tape()
    write_tape(tmp_path / "tape.ws.jsonl", tape.connection(("received", SECRET)))
    ran = connex("export", "tape", "--har")
    assert ran.code == 2
    assert "a secret was left in this line; nothing was written" in ran.said
    assert [path.name for path in tmp_path.iterdir()] == ["tape.ws.jsonl"]


def test_an_export_of_what_is_damaged_is_refused(connex, tmp_path):
    (tmp_path / "tape.ws.jsonl").write_text("nonsense\n")
    assert connex("export", "tape", "--har").said.startswith("connex export: tape.ws.jsonl:1: ")
