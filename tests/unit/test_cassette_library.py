"""A folder of recordings: what is there, what each says of itself, and whether it can be trusted."""

from __future__ import annotations

import gzip
import io
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from pytest_connex.cassette.auditing import audit
from pytest_connex.cassette.events import Closed, Late, Left
from pytest_connex.cassette.library import (
    Summary,
    recorded_at,
    recordings_in,
    source_of,
    summarize,
    transcript,
)
from pytest_connex.errors import CassetteError, SecretFound
from pytest_connex.secrets.redaction import Redactor

from .conftest import Tape, write_tape

MOMENT = datetime(2026, 11, 23, 15, tzinfo=UTC)
SECRET = "s3cr3t/with+special=chars=="
REDACTOR = Redactor({SECRET: "connex-recorded-secret"}, ("secret", "token"))

HTTP = """\
connex:
  generator: pytest-connex 0.1.0
  interactions: 2
  recorded_at: '2026-11-23T15:00:00Z'
  source: live
  test: tests/test_x.py::test_z
interactions:
- request:
    body: null
    headers: {}
    method: GET
    uri: https://rest.connex.invalid/v1/status
  response:
    body:
      string: '{"status": "healthy"}'
    headers: {}
    status: {code: 200, message: OK}
- request:
    body: '{"n": 1}'
    headers: {}
    method: POST
    uri: https://rest.connex.invalid/v1/order
  response:
    body:
      string: ''
    headers: {}
    status: {code: 429, message: Slow down}
version: 1
"""
FOREIGN = HTTP[HTTP.index("interactions:\n") :]


@pytest.fixture
def http(tmp_path: Path) -> Path:
    path = tmp_path / "test_z.yaml"
    path.write_text(HTTP)
    return path


@pytest.fixture
def websocket(tmp_path: Path, tape: Tape) -> Path:
    tape.connection(("sent", "one"), ("received", "1"), ("received", b"\x00\xff"))
    tape.rejected(tape.dial(), 429, {"Retry-After": "2"}, "slow down")
    tape.refused(tape.dial())
    tape.opened(tape.dial(subprotocols=["v1"]), subprotocol="v1").sent(4, b"\x01").closed(
        4, "server", 1012, "restart"
    )
    return write_tape(tmp_path / "test_y.ws.jsonl", tape)


def transcript_of(path: Path) -> str:
    out = io.StringIO()
    transcript(path, out)
    return out.getvalue()


# --- What is there ---------------------------------------------------------------------------------------


def test_recordings_of_every_depth_are_found_in_order_and_other_files_are_not(tmp_path, http, websocket):
    deep = tmp_path / "deep" / "test_a"
    deep.mkdir(parents=True)
    inner = [deep / "test_a.ws.jsonl", deep / "test_a.yaml"]
    inner[0].write_bytes(websocket.read_bytes())
    inner[1].write_text(HTTP)
    (deep / "foreign.yaml").write_text(FOREIGN)
    (deep / "empty.yaml").write_text("")
    (deep / "notes.jsonl").write_text("{}\n")
    (deep / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    assert recordings_in(tmp_path) == [*inner, websocket, http]


def test_a_folder_with_the_name_of_a_recording_is_none(tmp_path):
    (tmp_path / "test_a.yaml").mkdir()
    assert recordings_in(tmp_path) == []


def test_an_empty_folder_holds_none(tmp_path):
    assert recordings_in(tmp_path) == []


# --- What each says of itself ----------------------------------------------------------------------------


def test_a_websocket_recording_says_what_it_is(websocket):
    size = websocket.stat().st_size
    test = "tests/test_x.py::test_y"
    assert summarize(websocket) == Summary(websocket, "WebSocket", MOMENT, "sandbox", test, 4, size)


def test_an_http_recording_says_what_it_is(http):
    assert summarize(http) == Summary(http, "HTTP", MOMENT, "live", "tests/test_x.py::test_z", 2, len(HTTP))


def test_a_foreign_recording_says_nothing_of_itself(http):
    http.write_text(FOREIGN)
    assert summarize(http) == Summary(http, "HTTP", None, "", "", 2, len(FOREIGN))


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_the_moment_is_read_without_reading_the_rest(request, kind):
    path = request.getfixturevalue(kind)
    head = path.read_text().splitlines()[: 5 if kind == "http" else 1]
    path.write_text("\n".join(head))
    assert recorded_at(path) == MOMENT


@pytest.mark.parametrize(
    "text", ["", "recorded_at: 'yesterday'\n", "\n" * 30 + "recorded_at: '2026-11-23T15:00:00Z'\n"]
)
def test_where_the_first_lines_name_no_moment_there_is_none(tmp_path, text):
    path = tmp_path / "test_z.yaml"
    path.write_text(text)
    assert recorded_at(path) is None


def test_a_missing_file_has_no_moment(tmp_path):
    assert recorded_at(tmp_path / "test_z.yaml") is None


def test_a_moment_without_a_zone_is_universal_time(tmp_path):
    path = tmp_path / "test_z.yaml"
    path.write_text("connex:\n  recorded_at: '2026-11-23T15:00:00'\n")
    assert recorded_at(path) == MOMENT


def test_the_age_is_in_days_whatever_the_zone(http):
    now = (MOMENT + timedelta(days=2, hours=12)).astimezone(timezone(timedelta(hours=9)))
    assert summarize(http).age_in_days(now) == 2.5
    http.write_text(FOREIGN)
    assert summarize(http).age_in_days(now) is None


# --- Transcripts -----------------------------------------------------------------------------------------


def test_a_websocket_recording_is_read_line_by_line(websocket):
    assert transcript_of(websocket) == (
        "tests/test_x.py::test_y: WebSocket, from sandbox, 2026-11-23T15:00:00+00:00\n"
        "    0.0000  1  dial wss://ws.connex.invalid/\n"
        "    0.0010  1  open\n"
        "    0.0020  1  -> one\n"
        "    0.0030  1  <- 1\n"
        "    0.0040  1  <- b'\\x00\\xff'\n"
        "    0.0050  1  closed by the client with 1000\n"
        "    0.0060  2  dial wss://ws.connex.invalid/\n"
        "    0.0070  2  rejected with 429 slow down\n"
        "    0.0080  3  dial wss://ws.connex.invalid/\n"
        "    0.0090  3  refused: ConnectionRefusedError: Connection refused\n"
        "    0.0100  4  dial wss://ws.connex.invalid/\n"
        "    0.0110  4  open, v1\n"
        "    0.0120  4  -> b'\\x01'\n"
        "    0.0130  4  closed by the server with 1012 restart\n"
    )


def test_what_a_server_did_not_do_and_what_came_too_late_is_read_too(tape, write):
    conn = tape.dial()
    tape.opened(conn)
    tape.events.append(Closed(conn, 0.002, "network", 1006, "", 0.0015, True, True))
    tape.events.append(Late(conn, 0.003, "hello"))
    tape.events.append(Left(tape.dial(), 0.004))
    assert transcript_of(write(tape)).splitlines()[3:] == [
        "    0.0020  1  closed by the network with 1006, no ping was answered from 0.0015 on, "
        "the server did not answer the close, the connection was reset",
        "    0.0030  1  -> hello (too late: the connection had ended)",
        "    0.0040  2  dial wss://ws.connex.invalid/",
        "    0.0040  2  left before it was answered",
    ]


def test_an_http_recording_is_read_line_by_line(http):
    assert transcript_of(http) == (
        "tests/test_x.py::test_z: HTTP, from live, 2026-11-23T15:00:00+00:00\n"
        "-> GET https://rest.connex.invalid/v1/status\n"
        '<- 200 {"status": "healthy"}\n'
        '-> POST https://rest.connex.invalid/v1/order {"n": 1}\n'
        "<- 429\n"
    )


def test_a_foreign_recording_is_read_too(http):
    http.write_text(FOREIGN)
    assert transcript_of(http).splitlines()[0] == "test_z.yaml: HTTP, from an unknown source, at an unknown time"


# --- Whether it can be trusted ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_a_good_recording_passes(request, kind):
    audit(request.getfixturevalue(kind), REDACTOR)


def test_a_secret_value_is_found_with_its_line(http, websocket):
    websocket.write_text(websocket.read_text().replace('"one"', f'"{SECRET}"'))
    http.write_text(HTTP.replace("/v1/order", f"/v1/order?x={SECRET}"))
    for path, line in ((websocket, 4), (http, 22)):
        with pytest.raises(SecretFound, match="a secret was left in this line") as caught:
            audit(path, REDACTOR)
        assert (caught.value.path, caught.value.line) == (path, line)
        assert SECRET not in str(caught.value)


def test_a_member_that_was_not_replaced_is_found_with_its_line(http, websocket):
    websocket.write_text(websocket.read_text().replace('"one"', '"{\\"token\\":\\"abc\\"}"'))
    http.write_text(HTTP.replace('{"n": 1}', '{"secret": "abc"}'))
    for path, line in ((websocket, 4), (http, 19)):
        with pytest.raises(SecretFound, match="a member that is always replaced holds its value") as caught:
            audit(path, REDACTOR)
        assert (caught.value.path, caught.value.line) == (path, line)


def test_members_that_hold_placeholders_pass(http, websocket):
    placed = '{\\"token\\":\\"connex-recorded-token\\"}'
    websocket.write_text(websocket.read_text().replace('"one"', f'"{placed}"'))
    http.write_text(HTTP.replace('{"n": 1}', '{"secret": "connex-recorded-secret"}'))
    audit(websocket, REDACTOR)
    audit(http, REDACTOR)


@pytest.mark.parametrize("read", [audit, transcript])
def test_a_damaged_recording_is_refused_with_its_line(http, websocket, read):
    websocket.write_text(websocket.read_text().replace('"event":"sent"', '"event":"seen"', 1))
    http.write_text(HTTP.replace("    method: POST\n", ""))
    for path, line in ((websocket, 4), (http, 18)):
        with pytest.raises(CassetteError) as caught:
            read(path, REDACTOR if read is audit else io.StringIO())
        assert type(caught.value) is CassetteError
        assert (caught.value.path, caught.value.line) == (path, line)


def test_a_missing_recording_is_refused(tmp_path):
    for name in ("test_y.ws.jsonl", "test_z.yaml"):
        with pytest.raises(CassetteError, match="No such file"):
            audit(tmp_path / name, REDACTOR)


# --- Where a recording is from -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "source"),
    [
        ("x.yaml", HTTP, "live"),
        ("x.yaml", HTTP.replace("live", "'sandbox'"), "sandbox"),
        ("x.yaml", HTTP.replace("  source: live\n", "").replace("test: tests", "test: tests\n    source: live"), ""),
        ("x.yaml", HTTP.replace("  source: live\n", "").replace("- request:\n", "  source: live\n", 1), ""),
        ("x.yaml", FOREIGN, ""),
        ("x.yaml", "", ""),
        ("x.ws.jsonl", '{"format":"connex-ws","version":1,"source":"live","test":"x"}\n', "live"),
        (
            "x.ws.jsonl",
            '{"format": "connex-ws", "test": "\\"source\\":\\"live\\"", "source": "sandbox"}\n',
            "sandbox",
        ),
        ("x.ws.jsonl", '{"format":"connex-ws","version":1}\n{"event":"sent","source":"live"}\n', ""),
        ("x.ws.jsonl", "", ""),
    ],
)
def test_the_first_lines_say_what_a_recording_was_made_from(tmp_path, name, text, source):
    path = tmp_path / name
    path.write_text(text)
    assert source_of(path) == source


def test_a_recording_that_is_not_there_was_made_from_nothing(tmp_path):
    assert source_of(tmp_path / "x.yaml") == ""


def test_what_binary_messages_hold_is_shown(tmp_path):
    tape = Tape().connection(("sent", gzip.compress(b'{"op": 1}')), ("received", b"[1]"), ("received", b"\x82\xff"))
    lines = transcript_of(write_tape(tmp_path / "test_y.ws.jsonl", tape)).splitlines()
    assert [line.partition("  1  ")[2].partition(" ")[2] for line in lines[3:6]] == [
        '(gzip) {"op": 1}',
        "(bytes) [1]",
        r"b'\x82\xff'",
    ]
