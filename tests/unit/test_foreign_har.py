"""HAR, as browsers and Playwright write it, and as we do."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_connex.cassette.events import (
    Closed,
    Dial,
    Event,
    Open,
    Payload,
    Received,
    Refused,
    Rejected,
    Sent,
)
from pytest_connex.cassette.recorder import Recorder
from pytest_connex.cassette.store import Recording
from pytest_connex.errors import CassetteError
from pytest_connex.foreign.har import looks_like_har, read_har, write_har
from pytest_connex.foreign.traffic import Exchange, Lost, Traffic
from pytest_connex.foreign.transcription import Transcription
from pytest_connex.secrets.redaction import Redactor

from .conftest import URL, Tape, write_tape

REST = "https://rest.connex.invalid"
FILE = Path("capture.har")
BASE = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
EPOCH = BASE.timestamp()


def entry(*messages: dict[str, Any], url: str = "wss://connex.example/ws", status: int = 101, **more: Any) -> dict:
    return {
        "_resourceType": "websocket",
        "_webSocketMessages": list(messages),
        "startedDateTime": "2026-11-24T12:00:00.500Z",
        "time": 2000,
        "request": {"method": "GET", "url": url, "headers": []},
        "response": {"status": status, "statusText": "", "headers": [], "content": {"size": 0}},
        **more,
    }


def message(kind: str, at: float, data: str, opcode: int = 1) -> dict[str, Any]:
    return {"type": kind, "time": EPOCH + at, "opcode": opcode, "data": data}


def document(*entries: dict[str, Any]) -> bytes:
    return json.dumps({"log": {"version": "1.2", "entries": entries}}).encode()


def read(*entries: dict[str, Any]) -> list[Traffic]:
    return list(read_har(document(*entries), FILE))


# --- Reading ---------------------------------------------------------------------------------------------


def test_messages_of_a_browser_are_what_they_were():
    data = '{"price": 1.10, "é": "\\u00e9"}\r\n'
    binary = base64.b64encode(b"\x00\xff").decode()
    traffic = read(
        entry(message("send", 1.0, "hello"), message("receive", 1.5, data), message("receive", 2.0, binary, 2))
    )
    assert traffic == [
        Dial(1, EPOCH + 0.5, "wss://connex.example/ws"),
        Open(1, EPOCH + 0.5),
        Sent(1, EPOCH + 1.0, "hello"),
        Received(1, EPOCH + 1.5, data),
        Received(1, EPOCH + 2.0, None, b"\x00\xff"),
        Lost(1, EPOCH + 2.5),
    ]


def test_handshakes_keep_headers_and_subprotocols():
    asked = [{"name": "Origin", "value": "https://a.example"}, {"name": "Sec-WebSocket-Protocol", "value": "v2, v1"}]
    answered = [{"name": "X-Served-By", "value": "a"}, {"name": "sec-websocket-protocol", "value": "v1"}]
    made = entry()
    made["request"]["headers"], made["response"]["headers"] = asked, answered
    dial, opened, _ = read(made)
    assert (dial.subprotocols, dial.headers["Origin"]) == (["v2", "v1"], "https://a.example")
    assert (opened.subprotocol, opened.headers["X-Served-By"]) == ("v1", "a")


def test_connections_are_merged_by_time():
    traffic = read(
        entry(message("receive", 3.0, "b"), url="wss://connex.example/b", startedDateTime="2026-11-24T12:00:02Z"),
        entry(message("receive", 1.0, "a"), message("receive", 4.0, "c"), url="wss://connex.example/a"),
    )
    assert [item.url for item in traffic if isinstance(item, Dial)] == [
        "wss://connex.example/a",
        "wss://connex.example/b",
    ]
    assert [item.text for item in traffic if isinstance(item, Received)] == ["a", "b", "c"]


def test_times_that_run_backwards_keep_the_order_of_the_capture():
    traffic = read(entry(message("receive", 2.0, "first"), message("receive", 1.0, "second"), time=None))
    assert [item.text for item in traffic if isinstance(item, Received)] == ["first", "second"]
    assert [item.at for item in traffic] == sorted(item.at for item in traffic)


def test_a_message_before_the_noted_beginning_moves_the_beginning():
    traffic = read(entry(message("receive", 0.25, "a")))
    assert [item.at - EPOCH for item in traffic[:3]] == [0.25, 0.25, 0.25]


def test_errors_and_control_frames_are_no_messages():
    frames = [message("receive", 1.0, "", opcode) for opcode in (8, 9, 10)]
    traffic = read(entry(*frames, message("error", 1.0, "net::ERR", -1), message("receive", 1.0, "a")))
    assert [item.text for item in traffic if isinstance(item, Received)] == ["a"]


def test_handshakes_that_failed_are_rejected_or_refused():
    rejected = entry(status=429)
    rejected["response"]["content"] = {"text": "slow down"}
    rejected["response"]["headers"] = [{"name": "Retry-After", "value": "1"}]
    assert read(rejected)[1] == Rejected(1, EPOCH + 0.5, 429, {"Retry-After": "1"}, "slow down")
    [_, refused] = read(entry(status=0))
    assert (refused.error, refused.message) == (
        "ConnectionAbortedError",
        "the capture holds no answer to the handshake",
    )


@pytest.mark.parametrize("mark", ["_webSocketMessages", "_resourceType", "url"])
def test_one_mark_is_enough_to_be_a_websocket(mark):
    made = entry(url="https://connex.example/ws")
    for name in ("_webSocketMessages", "_resourceType"):
        if name != mark:
            del made[name]
    if mark == "url":
        made["request"]["url"] = "wss://connex.example/ws"
    assert read(made)[0] == Dial(1, EPOCH + 0.5, "wss://connex.example/ws")


def test_http_comes_first_with_its_bodies():
    http = {
        "startedDateTime": "2026-11-24T13:00:00+01:00",
        "request": {
            "method": "POST",
            "url": "https://connex.example/v1/orders",
            "headers": [{"name": "A", "value": "1"}],
            "postData": {"mimeType": "application/json", "text": "{}"},
        },
        "response": {
            "status": 201,
            "statusText": "Created",
            "headers": [{"name": "B", "value": "2"}],
            "content": {"size": 2, "text": base64.b64encode(b"\xff\x00").decode(), "encoding": "base64"},
        },
    }
    form = json.loads(json.dumps(http))
    form["request"]["postData"] = {"params": [{"name": "a", "value": "b c"}]}
    form["response"]["content"] = {"size": 7}
    first, second, *_ = read(entry(), http, form)
    assert first == Exchange(
        EPOCH,
        "POST",
        "https://connex.example/v1/orders",
        (("A", "1"),),
        b"{}",
        201,
        "Created",
        (("B", "2"),),
        b"\xff\x00",
    )
    assert (second.request_body, second.body) == (b"a=b+c", None)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "capture.har:1: not a HAR: Input data was truncated"),
        (b'{"log":\n{"entries": [}}', "capture.har:2: not a HAR: JSON is malformed"),
        (b'{"log": {}}', "capture.har:1: not a HAR: Object missing required field `entries`"),
        (b"[]", "capture.har:1: not a HAR: Expected `object`, got `array`"),
        (document(), "capture.har: none of the 0 entries of this HAR is of a WebSocket"),
        (
            document({"startedDateTime": "2026-11-24T12:00:00Z", "request": {"url": "https://a.example/"}}),
            "capture.har: none of the 1 entries of this HAR is of a WebSocket. Browsers save its messages when",
        ),
        (document(entry(), {}), "capture.har: entry 2: Object missing required field `request`"),
        (
            document(entry({"type": "receive", "data": "a"})),
            "capture.har: entry 1: Object missing required field `time` - at `$._webSocketMessages[0]`",
        ),
        (document(entry(message("both", 1.0, "a"))), "capture.har: entry 1: Invalid enum value 'both'"),
        (document(entry(message("send", 1.0, "a", 3))), "capture.har: entry 1: 3 is no opcode of a message"),
        (document(entry(message("send", 1.0, "a", 2))), "capture.har: entry 1: a binary message is not base64"),
        (
            document(entry(message("send", 1e13, "a"))),
            "capture.har: entry 1: 10001795521600.0 is no time",
        ),
        (document(entry(message("send", 1.0, "a"), time=1e308)), "capture.har: entry 1: 1e+305 is no time"),
        (
            document(
                entry(
                    _connex={
                        "events": [
                            [1, {"event": "dial", "conn": 1, "at": 0.0, "url": "wss://a.example/"}],
                            [2, {"event": "closed", "conn": 1, "at": 1e308, "by": "server", "code": 1000}],
                        ]
                    }
                )
            ),
            "capture.har: entry 1: 1e+308 is no time",
        ),
        (document(entry(message("send", 1.0, "\ud800"))), "capture.har:1: not a HAR: JSON is malformed"),
        (document(entry(startedDateTime="soon")), "capture.har: entry 1: Invalid isoformat string: 'soon'"),
        (document(entry(url="nonsense")), "capture.har: entry 1: not the URL of a WebSocket"),
        (document(entry(url="wss://[::1/")), "capture.har: entry 1: Invalid IPv6 URL"),
        (
            document(entry(_connex={"events": [[1, {"event": "open", "conn": 1, "at": 0.0}]]})),
            "capture.har: entry 1: the first of the events in _connex is no dial",
        ),
    ],
)
def test_what_cannot_be_read_is_named(data, said):
    with pytest.raises(CassetteError) as caught:
        list(read_har(data, FILE))
    assert str(caught.value).startswith(said)


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.text() | st.floats(), st.lists).map(json.dumps).map(str.encode)
)
def test_any_bytes_are_read_or_one_error_says_why(data):
    with pytest.raises(CassetteError):
        list(read_har(data, FILE))


@pytest.mark.parametrize(
    ("head", "is_one"), [(b'{"log":', True), (b"\xef\xbb\xbf \n{", True), (b"12:3:", False), (b"", False)]
)
def test_the_beginning_tells_the_format(head, is_one):
    assert looks_like_har(head) is is_one


def test_a_byte_order_mark_is_passed_over():
    assert len(list(read_har(b"\xef\xbb\xbf" + document(entry()), FILE))) == 3


# --- Writing ---------------------------------------------------------------------------------------------


def export(path: Path, http: dict[str, Any] | None = None) -> bytes:
    return b"\n".join(write_har(Recording(path), http, "pytest-connex 0.1.0", BASE))


def reread(har: bytes) -> list[Event]:
    events: list[Event] = []
    recorder = Recorder(events.append, events.extend, Redactor({}), lambda url: url)
    transcription = Transcription(recorder, lambda exchange: None)
    for item in read_har(har, FILE):
        transcription.take(item)
    recorder.finish()
    assert transcription.lost == 0
    return events


def test_a_recording_is_shown_as_other_tools_expect_it(tape, write):
    conn = tape.dial(subprotocols=["v1"])
    tape.opened(conn, subprotocol="v1").sent(conn, "a").received(conn, b"\x00\xff").closed(
        conn, "server", 1012, "restart"
    )
    [shown] = json.loads(export(write(tape)))["log"]["entries"]
    assert shown["_resourceType"] == "websocket"
    assert shown["startedDateTime"] == "2026-11-24T12:00:00.000000+00:00"
    assert shown["request"]["url"] == URL
    assert shown["request"]["headers"] == [{"name": "Sec-WebSocket-Protocol", "value": "v1"}]
    assert (shown["response"]["status"], shown["response"]["statusText"]) == (101, "Switching Protocols")
    assert [(m["type"], m["opcode"], m["data"]) for m in shown["_webSocketMessages"]] == [
        ("send", 1, "a"),
        ("receive", 2, "AP8="),
    ]
    assert [m["time"] for m in shown["_webSocketMessages"]] == [EPOCH + 0.002, EPOCH + 0.003]
    assert (shown["time"], shown["timings"]) == (4.0, {"send": 0, "wait": 1.0, "receive": 3.0})


def test_http_is_shown_beside_it(tape, write):
    tape.connection(("received", "a"))
    http = {
        "interactions": [
            {
                "request": {
                    "method": "POST",
                    "uri": "https://rest.connex.invalid/a?b=c",
                    "headers": {"A": ["1"]},
                    "body": "x",
                },
                "response": {
                    "status": {"code": 200, "message": "OK"},
                    "headers": {"Content-Type": ["text/plain"], "B": ["2", "3"]},
                    "body": {"string": b"\xff"},
                },
            }
        ]
    }
    [shown, _] = json.loads(export(write(tape), http))["log"]["entries"]
    assert shown["request"]["queryString"] == [{"name": "b", "value": "c"}]
    assert shown["request"]["postData"] == {"mimeType": "x-unknown", "text": "x"}
    assert shown["response"]["content"] == {"size": 1, "mimeType": "text/plain", "text": "/w==", "encoding": "base64"}
    assert [field["value"] for field in shown["response"]["headers"]] == ["text/plain", "2", "3"]
    [exchange, *_] = read_har(export(write(tape), http), FILE)
    assert (exchange.url, exchange.request_body, exchange.body) == (
        "https://rest.connex.invalid/a?b=c",
        b"x",
        b"\xff",
    )


_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
_PAYLOADS = _TEXT | st.binary()
_ENDS = st.sampled_from([("server", 1012), ("client", 1000), ("client", 1006), ("network", 1006), ("server", 4001)])


@st.composite
def tapes(draw: st.DrawFn) -> Tape:
    """Recordings of connections that overlap, with many events at the same time."""
    tape = Tape()
    clock = 0.0

    def at() -> float:
        nonlocal clock
        clock = round(clock + draw(st.sampled_from([0.0, 0.0, 0.000001, 0.25, 3.5])), 6)
        return clock

    tape.at = at
    alive: list[int] = []
    for _ in range(draw(st.integers(1, 25))):
        action = draw(st.sampled_from(["dial", "refuse", "reject", "end", "sent", "received", "received"]))
        if action in ("refuse", "reject") or action == "dial" or not alive:
            conn = tape.dial(URL + draw(st.sampled_from(["", "a?b=c"])), draw(st.sampled_from([[], ["v1", "v2"]])))
            if not tape.events[:-1]:
                tape.events[-1] = Dial(1, 0.0, tape.events[-1].url, tape.events[-1].subprotocols)
                clock = 0.0
            if action == "refuse":
                tape.refused(conn, draw(st.sampled_from(["ConnectionRefusedError", "gaierror"])), None)
            elif action == "reject":
                tape.rejected(conn, draw(st.sampled_from([403, 503])), {"Retry-After": "1"}, draw(_TEXT))
            else:
                tape.opened(conn, subprotocol=draw(st.sampled_from([None, "v1"])), headers={"X-Served-By": "a"})
                alive.append(conn)
        elif action == "end":
            tape.closed(
                alive.pop(draw(st.integers(0, len(alive) - 1))), *draw(_ENDS), draw(st.text("ab", max_size=9))
            )
        else:
            getattr(tape, action)(draw(st.sampled_from(alive)), draw(_PAYLOADS))
    for conn in alive:
        tape.closed(conn, *draw(_ENDS))
    return tape


def content(event: Event) -> tuple[type[Event], int, Payload | None, Event]:
    payload = event.payload if isinstance(event, Sent | Received) else None
    return type(event), event.conn, payload, event


@given(tapes())
def test_what_is_exported_is_imported_as_it_was(tape):
    with TemporaryDirectory() as folder:
        path = write_tape(Path(folder) / "tape.ws.jsonl", tape)
        again = reread(export(path))
    assert [content(event)[:3] for event in again] == [content(event)[:3] for event in tape.events]
    assert again == tape.events  # times, close codes, headers and refusals, too


def test_all_kinds_of_events_survive():
    tape = Tape()
    first = tape.dial()
    second = tape.dial()
    tape.opened(second).refused(first).received(second, "a").closed(second, "server", 1012, "restart")
    assert {Dial, Open, Refused, Received, Closed} == {type(event) for event in tape.events}
    with TemporaryDirectory() as folder:
        assert reread(export(write_tape(Path(folder) / "tape.ws.jsonl", tape))) == tape.events


@pytest.mark.parametrize(
    "end",
    [
        Closed(1, 3.0, "client", 1011, "keepalive ping timeout", no_pong_since=2.0, no_close=True, pongs=2),
        Closed(1, 3.0, "client", 1000, no_close=True, hung_up=True),
    ],
    ids=["no pong", "hung up"],
)
def test_what_the_server_did_not_answer_survives(tape, write, end):
    tape.opened(tape.dial())
    tape.events.append(end)
    assert reread(export(write(tape)))[-1] == end
